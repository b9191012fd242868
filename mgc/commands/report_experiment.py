"""``mgc report experiment``: results of several systems, beside published ones."""

from pathlib import Path
from typing import Literal


def report_experiment(
    results: list[str],
    out: str,
    paper: Literal["dieleman2011", "gwardys2014", "senac2017", "zhang2015"] | None = None,
    names: str = "",
    wandb: bool = False,
    project: str = "mgc",
) -> None:
    """Report what systems said of the same data: accuracies, classes, confusion matrices.

    Writes experiment.md, systems.csv, classes.csv and for every system confusion_NAME.csv and .png,
    for several systems confusion_all.csv with all of them in each cell, and plots of the accuracies
    and classes.

    Example: mgc report experiment runs/crossval/stft runs/fused --names net_STFT,FUSION2
    --paper senac2017 --out report

    Args:
        results: Folders of runs, cross-validations or fusions, or of their results; folders that
            mgc transfer wrote of one combination of layers, or folders with one of these a fold.
        out: Folder for the report.
        paper: Published figures to set beside ours: senac2017, gwardys2014, zhang2015 or
            dieleman2011 (genre, artist or key: the classes tell).
        names: Names of the systems, separated by commas; by default those of the folders. A name
            that the paper has stands beside its figure.
        wandb: Whether to log the report to Weights & Biases.
        project: Project in Weights & Biases.

    Raises:
        MgcError: If results are missing or of different tasks.
    """
    from mgc.evaluation.tested_runs import load_runs
    from mgc.papers import load_paper
    from mgc.reports.experiment import make_report

    given = [name.strip() for name in names.split(",") if name]
    report = make_report(load_runs(results, given), load_paper(paper) if paper else None)
    report.save(out)
    if wandb:
        from mgc.runs.tracking import log_results

        tables = {"systems": report.systems, "classes": report.classes.reset_index()}
        pictures = sorted(Path(out).glob("*.png"))
        systems = ", ".join(report.systems["system"])
        log_results(f"experiment {systems}", "report", project, tables, pictures)
    print(report.text)
    print(f"Written to {out}")
