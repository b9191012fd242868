"""``mgc compare``: runs side by side."""


def compare(runs: list[str], out: str | None = None) -> None:
    """Set runs side by side: settings that differ, scores with 95 % intervals, paired tests.

    Runs of different models are comparable if they have the same data and split; differences of
    these are told. Where runs were tested on the same tracks, the best one is tested against every
    other (difference with a paired bootstrap interval; for classes McNemar's exact test, adjusted
    to the number of tests). Of runs in W&B the settings and scores are known, so there are no
    paired tests.

    Example: mgc compare runs/mgc/a1b2c3d4 runs/crossval/stft runs/sweep/vgg_gtzan --out comparison

    Args:
        runs: Folders of runs (runs/mgc/ID), cross-validations, fusions, transfer experiments and
            sweeps; or ENTITY/PROJECT for all runs of a project in W&B.
        out: Folder for compare.md, compare.html and compare.csv; by default nothing is written.

    Raises:
        MgcError: If there are not two runs to compare, or W&B does not give them.
    """
    from mgc.reports import comparison

    print(comparison.compare(runs, out).text)
    if out is not None:
        print(f"Written to {out}")
