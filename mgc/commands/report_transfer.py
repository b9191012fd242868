"""``mgc report transfer``: report transfer experiments."""

from pathlib import Path

from mgc.core.terminal import print_line, print_text
from mgc.core.writing import writes_folder


@writes_folder("out")
def report_transfer(
    results: list[str],
    out: str,
    published: str | None = None,
    tasks: str = "",
    compare: str = "",
    wandb: bool = False,
    project: str = "mgc",
) -> None:
    """Report a transfer experiment: combinations of layers, baselines, published scores.

    Writes transfer.md, transfer.csv, a bar chart per target and, with --compare, a comparison of
    two combinations by class.

    Example: mgc report transfer results/gtzan --out report --published choi2017 --tasks gtzan

    Args:
        results: Folders written by `mgc transfer`: first the experiment to report, then baselines,
            such as features with random weights.
        out: Folder for the report.
        published: Published scores: choi2017 for those printed in that paper, or a CSV file with
            columns task, layers, score.
        tasks: Names of the published tasks, separated by commas, one per target of the results.
        compare: Two combinations to compare by class, separated by a comma: 12345,5.
        wandb: Whether to log the report to Weights & Biases.
        project: Project in Weights & Biases.

    Raises:
        MgcError: If results are missing or do not match.
    """
    from mgc.errors import MgcError
    from mgc.papers import choi2017
    from mgc.transfer.outcome import Transfer
    from mgc.transfer.report import make_report

    names = [Path(folder).name for folder in results]
    if not names or len(set(names)) < len(names):
        raise MgcError(
            f"Expected result folders with different names, not {', '.join(names) or 'none'}."
        )
    report = make_report(
        {name: Transfer.load(folder) for name, folder in zip(names, results, strict=True)},
        published=published,
        built_in={"choi2017": choi2017.SCORES},
        tasks=[name.strip() for name in tasks.split(",") if name],
        compare=[name.strip() for name in compare.split(",") if name],
    )
    report.save(out)
    if wandb:
        from mgc.runs.tracking import log_results

        plots = [Path(out, f"{name}.png") for name in report.plots]
        log_results(f"transfer {names[0]}", "report", project, {"transfer": report.table}, plots)
    print_text(report.text)
    print_line(f"Written to {out}")
