"""Experiment reports on small results."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mgc.cli import main
from mgc.core.parquet import write_parquet
from mgc.data import ismir2004
from mgc.data.gtzan import GENRES
from mgc.errors import MgcError
from mgc.evaluation.results import Results
from mgc.evaluation.tested_runs import Run, load_runs
from mgc.papers import dieleman2011, gwardys2014, senac2017, zhang2015
from mgc.reports.experiment import join_cells, make_report


def system(name: str, wrong: int, labels: tuple[str, ...] = GENRES) -> Run:
    """Return ten tracks per class; the last ``wrong`` are classified as the next class."""
    truth = np.repeat(labels, 10)
    number = np.tile(np.arange(10), len(labels))
    decided = np.where(number >= 10 - wrong, np.roll(truth, -10), truth)
    tracks = pd.DataFrame({"track": [f"{t}.{n}" for t, n in zip(truth, number, strict=True)]})
    tracks["label"], tracks["decision"], tracks["vote"] = truth, decided, truth
    for label in labels:
        tracks[f"probability.{label}"] = (decided == label).astype(float)
    clips = tracks.drop(columns="vote").assign(clip=0, start=0.0)
    return Run(name, Results(clips, tracks, "multiclass", labels, {}))


def test_published_scores() -> None:
    report = make_report([system("FUSION2", 2), system("mine", 5)], senac2017)
    fusion, mine = report.systems.to_dict("records")
    assert fusion["accuracy"] == 0.8
    assert (fusion["published"], fusion["published_half"]) == (0.91, pytest.approx(0.012))
    assert fusion["difference"] == pytest.approx(-0.11)
    assert fusion["low"] < 0.8 < fusion["high"]
    assert np.isnan(mine["published"])
    assert report.classes.loc["rock"].to_dict() == {
        "FUSION2": 0.8,
        "FUSION2 (paper)": 0.76,
        "mine": 0.5,
    }


def test_systems_that_vote_in_the_paper_are_scored_by_votes() -> None:
    (row,) = make_report([system("net_STFT", 2)], senac2017).systems.to_dict("records")
    assert row["accuracy"] == row["accuracy_vote"] == 1.0
    (row,) = make_report([system("net_STFT", 2)]).systems.to_dict("records")
    assert row["accuracy"] == 0.8


def test_matrix_of_several_systems() -> None:
    report = make_report([system("one", 2), system("two", 5), system("three", 0)])
    assert report.cells is not None
    assert report.cells.loc["blues", "blues"] == "(80, 50, 100)"
    assert report.cells.loc["blues", "classical"] == "(20, 50, 0)"
    assert report.cells.loc["blues", "rock"] == ""
    assert "| blues | (80, 50, 100) | (20, 50, 0) |" in report.text


def test_confusion_matrices_of_the_paper() -> None:
    genres = list(senac2017.GENRES)
    cells = join_cells(
        {name: pd.DataFrame(rows, genres, genres) for name, rows in senac2017.CONFUSION.items()}
    )
    assert cells.loc["rock", "country"] == "(4, 9, 2)"
    assert "(87, 100, 98)" in make_report([system("FUSION1", 1)], senac2017).text


def test_published_scores_are_consistent() -> None:
    for rows in senac2017.CONFUSION.values():
        assert [sum(row) for row in rows] == [100] * 10
    for paper, slack in ((senac2017, 0.35), (gwardys2014, 0.0)):
        for name, classes in paper.CLASSES.items():
            mean = sum(classes.values()) / len(classes)
            assert mean == pytest.approx(paper.ACCURACY[name][0], abs=slack + 1e-9)


@pytest.mark.parametrize(("task", "percent"), [("genre", 29.12), ("artist", 35.74), ("key", 83.84)])
def test_the_classes_select_the_task_of_a_paper(task: str, percent: float) -> None:
    labels = dieleman2011.TASKS[task].GENRES
    (row,) = make_report([system("pretrained_30", 2, labels)], dieleman2011).systems.to_dict(
        "records"
    )
    assert row["published"] == pytest.approx(percent / 100)


def test_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for run in (system("one", 1), system("two", 2)):
        run.test.save(tmp_path / run.name / "test")
    folders = [str(tmp_path / name) for name in ("one", "two")]
    names = "--names=svm_original,late fusion"
    main(["report", "experiment", *folders, names, "--paper=gwardys2014", "--out=report"])
    assert "| svm_original | 0.900 |" in capsys.readouterr().out
    assert sorted(path.name for path in Path("report").iterdir()) == [
        "classes.csv",
        "classes.png",
        "confusion_all.csv",
        "confusion_late_fusion.csv",
        "confusion_late_fusion.png",
        "confusion_svm_original.csv",
        "confusion_svm_original.png",
        "experiment.md",
        "systems.csv",
        "systems.png",
    ]
    assert pd.read_csv("report/systems.csv")["published"].tolist()[0] == 0.68
    assert Path("report/classes.png").read_bytes().startswith(b"\x89PNG")
    Path("report/confusion.txt").touch()
    main(["report", "experiment", *folders, "--names=a,b", "--out=report"])
    matrices = sorted(path.stem for path in Path("report").glob("confusion_*.png"))
    assert matrices == ["confusion_a", "confusion_b"]  # without those of the earlier report
    assert Path("report/confusion.txt").exists()


def test_regression_has_no_confusion_matrix(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(40, 2))
    tracks = pd.DataFrame(values, columns=["target.valence", "target.arousal"])
    tracks.insert(0, "track", [str(i) for i in range(40)])
    tracks["prediction.valence"] = values[:, 0] + rng.normal(size=40) / 2
    tracks["prediction.arousal"] = values[:, 1]
    clips = tracks.assign(clip=0, start=0.0)
    results = Results(clips, tracks, "regression", ("valence", "arousal"), {})
    report = make_report([Run("mfcc", results)])
    report.save(tmp_path)
    assert "Intervals: 95 % bootstrap interval over 40 tracks." in report.text
    (row,) = report.systems.to_dict("records")
    assert 0.75 < row["low"] < row["r2"] < row["high"] <= 1
    assert report.classes.loc["arousal", "mfcc"] == 1
    assert "confusion" not in report.text.lower()


def test_different_labels_are_refused() -> None:
    with pytest.raises(MgcError, match="two and one differ in labels"):
        make_report([system("one", 1), system("two", 1, ("a", "b"))])
    with pytest.raises(MgcError, match="--paper senac2017 has the classes blues"):
        make_report([system("two", 1, ("a", "b"))], senac2017)


def test_a_system_must_be_named_as_in_the_paper(tmp_path, capsys) -> None:
    system("", 1).test.save(tmp_path / "fusion1")
    words = ["report", "experiment", str(tmp_path / "fusion1"), "--paper", "senac2017"]
    with pytest.raises(SystemExit) as stopped:
        main([*words, "--out", str(tmp_path / "report")])
    assert stopped.value.code == 2
    assert not (tmp_path / "report").exists()
    (line,) = capsys.readouterr().err.splitlines()
    assert "no scores of fusion1" in line
    assert "--names: net_STFT, net_MUSIC, FUSION1, FUSION2." in line


def transfer_results(folder: Path, wrong: int, layers: str = "hidden", fold: int = 0) -> None:
    """Write the predictions of ``mgc transfer``."""
    tracks = system("", wrong).test.tracks[["track", "label", "decision"]]
    rows = tracks.iloc[fold::2].assign(target="label", layers=layers, fold=pd.NA)
    folder.mkdir(parents=True)
    meta = {"task": "multiclass", "labels": GENRES, "source": {}}
    path = folder / "predictions.parquet"
    write_parquet(rows, path, meta)


def test_results_of_crossval_and_transfer(workdir: Path) -> None:
    """The rows of Zhang et al. (2015) come from mgc crossval and from mgc transfer, by fold."""
    name = "KCNN (k = 5) + SVM ALL"
    for fold in (0, 1):
        transfer_results(workdir / "svm" / f"fold{fold}", wrong=4, fold=fold)
    system("", 2).test.save(workdir / "net")
    words = ["report", "experiment", "net", "svm", "--out", "report", "--paper", "zhang2015"]
    main([*words, "--names", f"KCNN (k = 5) ALL,{name}"])
    systems = pd.read_csv("report/systems.csv").set_index("system")
    assert systems["accuracy"].tolist() == [0.8, 0.6]
    assert systems["published"].tolist() == pytest.approx([0.776, 0.839])
    assert systems.loc[name, "tracks"] == 100


def test_published_scores_of_both_data_sets() -> None:
    labels = ismir2004.GENRES
    (row,) = make_report([system("KCNN (k = 5) ULT SFM", 1, labels)], zhang2015).systems.to_dict(
        "records"
    )
    assert row["published"] == 0.5392
    # Section 4.5 on table 2: k-max pooling gains 7.23 points on average, learning 7.68.
    figures = {name: value for name, (value, _) in zhang2015.TASKS["gtzan"].ACCURACY.items()}
    gains = {
        other: np.mean(
            [figures[f"{best} {f}"] - figures[f"{other} {f}"] for f in zhang2015.FEATURES]
        )
        for best, other in (
            ("KCNN (k = 5) + SVM", "KCNN (k = 1) + SVM"),
            ("KCNN (k = 5)", "KCNN (k = 5) ULT"),
        )
    }
    assert gains["KCNN (k = 1) + SVM"] == pytest.approx(7.23, abs=0.01)
    assert gains["KCNN (k = 5) ULT"] == pytest.approx(7.68, abs=0.01)


def test_predictions_of_several_combinations_of_layers(workdir: Path) -> None:
    transfer_results(workdir / "svm" / "fold0", 4)
    transfer_results(workdir / "svm" / "fold1", 4, layers="pooled")
    with pytest.raises(MgcError, match=r"hidden, pooled.*Run mgc transfer with --layers NAME"):
        load_runs(["svm"])


def test_names_are_escaped() -> None:
    text = make_report([system("a|b", 2), system("<c>", 1)]).text
    assert r"| a\|b | 0.800 |" in text
    assert r"| \<c> | 0.900 |" in text
    assert r"![confusion matrix of a\|b](confusion_a_b.png)" in text
