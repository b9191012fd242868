"""``mgc report experiment``: compare several systems with published results."""

from pathlib import Path
from typing import Literal

from mgc.core.terminal import print_line, print_text
from mgc.core.writing import writes_folder


@writes_folder("out")
def report_experiment(
    results: list[str],
    out: str,
    paper: Literal["dieleman2011", "gwardys2014", "senac2017", "zhang2015"] | None = None,
    names: str = "",
    wandb: bool = False,
    project: str = "mgc",
) -> None:
    """Report systems tested on the same data: accuracies, classes, confusion matrices.

    Writes experiment.md, systems.csv, classes.csv, confusion_NAME.csv and .png per system, and
    plots of accuracies and classes. With several systems, it also writes confusion_all.csv with the
    values of all systems in each cell.

    Example: mgc report experiment runs/crossval/stft runs/fused --names net_STFT,FUSION2
    --paper senac2017 --out report

    Args:
        results: Folders of runs, cross-validations or fusions, or of their results; folders of mgc
            transfer with one combination of layers, or folders with one such folder per fold.
        out: Folder for the report.
        paper: Published results to compare with: senac2017, gwardys2014, zhang2015 or dieleman2011
            (genre, artist or key, according to the classes).
        names: Names of the systems, separated by commas; by default those of the folders. Systems
            named as in the paper are compared with the published values; with --paper, at least one
            must be.
        wandb: Whether to log the report to Weights & Biases.
        project: Project in Weights & Biases.

    Raises:
        MgcError: If results are missing or have different tasks, or no system is named as in the
            paper.
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
        images = sorted(Path(out).glob("*.png"))
        systems = ", ".join(report.systems["system"])
        log_results(f"experiment {systems}", "report", project, tables, images)
    print_text(report.text)
    print_line(f"Written to {out}")
