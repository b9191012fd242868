"""``mgc compare``: compare runs."""

from mgc.core.terminal import print_line, print_text


def compare(runs: list[str], out: str | None = None) -> None:
    """Compare runs: settings that differ, scores with 95 % intervals, paired tests.

    Runs of different models are comparable if they have the same data and split; the command warns
    if they do not. If runs were tested on the same tracks, the best one is tested against every
    other: paired bootstrap interval of the difference and, for classes, McNemar's exact test,
    corrected for the number of tests. W&B stores no predictions, so its runs have no paired tests.

    Example: mgc compare runs/mgc/a1b2c3d4 runs/crossval/stft runs/sweep/vgg_gtzan --out comparison

    Args:
        runs: Folders of runs (runs/mgc/ID), cross-validations, fusions, transfer experiments and
            sweeps; or ENTITY/PROJECT for all runs of a project in W&B.
        out: Folder for compare.md, compare.html and compare.csv; by default nothing is written.

    Raises:
        MgcError: If there are fewer than two runs, or W&B cannot be read.
    """
    from mgc.reports import comparison

    print_text(comparison.compare(runs, out).text)
    if out is not None:
        print_line(f"Written to {out}")
