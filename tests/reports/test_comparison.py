"""Comparison of runs."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from mgc.cli import main
from mgc.errors import MgcError
from mgc.evaluation.paired import ALPHA
from mgc.evaluation.power import POWER, mcnemar_power
from mgc.evaluation.results import Results
from mgc.reports.comparison import (
    ComparedRun,
    compare,
    flatten,
    from_wandb,
    load_runs_to_compare,
    paired_tests,
)

TRACKS = [f"t{i:02}" for i in range(40)]


def results(wrong: int, tracks: list[str] = TRACKS) -> Results:
    """Return results with the first ``wrong`` tracks misclassified."""
    rows = pd.DataFrame({"track": tracks, "split": "test", "label": "a"})
    rows["decision"] = np.where(np.arange(len(rows)) < wrong, "b", "a")
    rows["vote"] = "a"
    rows["probability.a"], rows["probability.b"] = 0.6, 0.4
    clips = rows.drop(columns="vote").assign(clip=0, start=0.0)
    return Results(clips, rows, "multiclass", ("a", "b"), {})


def write_run(
    name: str, wrong: int, lr: float, split: str = "s1", tracks: list[str] = TRACKS
) -> str:
    folder = Path("runs/mgc", name)
    results(wrong, tracks).save(folder / "test")
    model = {"class_path": "mgc.models.vgg.VGGTagger", "init_args": {"lr": lr, "channels": 4}}
    logger = {"class_path": "WandbLogger", "init_args": {"version": name}}
    config = {"model": model, "trainer": {"max_epochs": 3, "logger": logger}}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    about = {"model": "vgg_tagger", "fingerprint": {"tracks": "d1", "split": split}, "git": None}
    best = {"epoch": 2, "metrics": {"val/track_accuracy": 0.5, "val/loss": 1.0}}
    (folder / "run.json").write_text(json.dumps({"fit": about, "best": best}))
    return str(folder)


def test_table_has_differing_settings_and_scores_with_intervals() -> None:
    folders = [write_run("one", 10, 0.1), write_run("two", 2, 0.01)]
    comparison = compare([run for folder in folders for run in load_runs_to_compare(folder)])
    table = comparison.table
    assert list(table.index) == ["one", "two"]
    assert table["model.lr"].tolist() == ["0.1", "0.01"]
    assert not {"model.channels", "trainer.max_epochs", "model"} & set(table)  # all alike
    assert not [name for name in table if name.startswith("trainer.logger")]
    # Wilson's interval of 30 of 40.
    assert table.loc["one", "test/track_accuracy"] == "0.750 (0.598 to 0.858)"
    assert table.loc["one", "test/track_accuracy_vote"].startswith("1.000")
    assert table.loc["one", "val/track_accuracy"] == "0.500"
    assert "In parentheses: 95 % Wilson interval over 40 tracks." in comparison.text
    assert comparison.warnings == []
    (pair,) = comparison.pairs
    assert (pair.best, pair.other) == ("two", "one")
    assert pair.difference is not None
    assert pair.difference.value == pytest.approx(0.2)
    # Eight discordant tracks, all in favour of one run: 2 · 0.5⁸.
    assert pair.test is not None
    assert (pair.test.only_first, pair.test.only_second) == (8, 0)
    assert pair.test.p == pair.adjusted == pytest.approx(2 * 0.5**8)
    assert "95 % paired bootstrap interval over 40 tracks" in comparison.text
    assert "| +0.200     | +0.075 to +0.325" in comparison.text


def test_results_without_settings() -> None:
    folders = [write_run("one", 10, 0.1), write_run("two", 2, 0.1)]
    results(5).save("fused")
    runs = [run for folder in [*folders, "fused"] for run in load_runs_to_compare(folder)]
    comparison = compare(runs)
    assert [name for name in comparison.table if "/" not in name] == []
    assert comparison.table.loc["fused", "test/track_accuracy"].startswith("0.875")
    assert comparison.warnings == ["Data set unknown: fused."]
    assert {pair.other: pair.reason for pair in comparison.pairs} == {"one": "", "fused": ""}


def test_warns_about_different_data_and_splits() -> None:
    folders = [
        write_run("one", 1, 0.1),
        write_run("two", 2, 0.1),
        write_run("other", 3, 0.1, "s2", TRACKS[20:]),
        write_run("alike", 9, 0.1, "s2", TRACKS[20:]),
    ]
    runs = [run for folder in folders for run in load_runs_to_compare(folder)]
    comparison = compare(runs)
    assert comparison.warnings == [
        "Splits differ: same tracks, but a different split in other, alike."
    ]
    pairs = {pair.other: pair for pair in comparison.pairs}
    assert pairs["two"].reason == ""
    assert "not tested" in pairs["other"].reason
    assert "is in one only (20 such tracks)" in pairs["other"].reason
    # Runs of the other split are tested against each other.
    assert pairs["alike"].best == "other"
    assert pairs["alike"].test is not None
    assert pairs["alike"].test.p == pytest.approx(2 * 0.5**6)
    assert comparison.intervals == "95 % Wilson interval over 20 to 40 tracks"
    assert comparison.table["test tracks"].tolist() == ["40", "40", "20", "20"]
    runs[1].data["tracks"] = "d2"
    assert "different tracks or labels in two" in compare(runs).warnings[0]


def test_mcnemar_uses_one_seed() -> None:
    def repeated(wrong: int) -> Results:
        once = results(wrong)
        for name in ("tracks", "clips"):
            rows = getattr(once, name).drop(columns="split").assign(fold=0)
            setattr(once, name, pd.concat([rows.assign(seed=seed) for seed in (0, 1, 2)]))
        return once

    runs = [ComparedRun("a", results=repeated(0)), ComparedRun("b", results=repeated(4))]
    (pair,) = paired_tests(runs)
    assert pair.test is not None
    assert pair.test.p == pytest.approx(2 * 0.5**4)


def test_p_is_adjusted_for_the_number_of_tests() -> None:
    """Two tests: the smaller p is doubled; the run with other test tracks is not counted."""
    found = [
        ComparedRun("best", results=results(0)),
        ComparedRun("close", results=results(4)),
        ComparedRun("far", results=results(8)),
        ComparedRun("other", results=results(0, TRACKS[:20])),
    ]
    adjusted = {pair.other: pair.adjusted for pair in paired_tests(found)}
    assert adjusted == {"other": None, "close": 2 * 0.5**4, "far": 2 * 2 * 0.5**8}


def test_the_table_says_what_the_tests_could_find() -> None:
    comparison = compare({"best": results(0), "close": results(2), "far": results(12)})
    pairs = {pair.other: pair for pair in comparison.pairs}
    for pair, wrong in ((pairs["close"], 2), (pairs["far"], 12)):
        share, alpha = wrong / len(TRACKS), ALPHA / 2
        assert pair.smallest is not None
        assert pair.needed is not None
        power = mcnemar_power(len(TRACKS), pair.smallest, share, alpha)
        assert power == pytest.approx(POWER, abs=0.01)
        assert mcnemar_power(pair.needed, share, share, alpha) >= POWER
    # Two tracks of 40 are no evidence: the test needs more tracks, or a larger difference.
    assert pairs["close"].needed > len(TRACKS) > pairs["far"].needed
    assert "| tracks to find this |" in comparison.text
    assert "smallest to find: the smallest true difference" in comparison.text
    assert "smallest to find: the smallest true difference" in comparison._repr_html_()


def test_equal_runs_need_no_number_of_tracks() -> None:
    (pair,) = compare({"one": results(3), "two": results(3)}).pairs
    assert pair.needed is None
    assert pair.smallest == pytest.approx(0.2, abs=0.02)


def test_a_sweep_holds_several_runs() -> None:
    Path("sweep").mkdir()
    Path("sweep/sweep.json").write_text("{}")
    with pytest.raises(MgcError, match="Sweep sweep has no finished run"):
        load_runs_to_compare("sweep")
    for number, lr in ((10, 0.1), (2, 0.2)):
        folder = write_run(f"s-{number}", number, lr)
        Path(f"sweep/run{number}").mkdir()
        Path(f"sweep/run{number}/result.json").write_text(json.dumps({"run_folder": folder}))
    assert [run.name for run in load_runs_to_compare("sweep")] == ["sweep run2", "sweep run10"]


def wandb_run(name: str, lr: float, **summary: Any) -> SimpleNamespace:
    """Return an object like a run of ``wandb.Api``."""
    about = {"model": "vgg_tagger", "fingerprint": {"tracks": "d", "split": "s"}}
    about["fingerprint"]["sizes"] = {"test": 100}  # type: ignore[index]
    model = {"class_path": "mgc.models.vgg.VGGTagger", "init_args": {"lr": lr}}
    config = {"about": about, "model": model, "model_summary": f"of {name}"}
    return SimpleNamespace(name=name, config=config, summary=summary, job_type="fit")


def test_runs_of_wandb() -> None:
    single = {"test/track_accuracy": 0.5, "best/val/track_accuracy": 0.6, "best/epoch": 3}
    folds = {
        "test/track_accuracy": 0.7,
        "crossval/accuracy/low": 0.6,
        "crossval/accuracy/high": 0.8,
    }
    folds |= {"crossval/accuracy/method": "Wilson", "crossval/accuracy/tracks": 120}
    report = SimpleNamespace(name="report", config={}, summary={}, job_type="report")
    runs = from_wandb([wandb_run("a", 0.1, **single), wandb_run("b", 0.2, **folds), report])
    comparison = compare(runs)
    table = comparison.table
    assert comparison.intervals == "95 % Wilson interval over 100 to 120 tracks"
    # Wilson's interval of 50 of 100.
    assert table["test/track_accuracy"].to_list() == [
        "0.500 (0.404 to 0.596)",
        "0.700 (0.600 to 0.800)",
    ]
    assert table["val/track_accuracy"].to_list() == ["0.600", "-"]
    assert table["model.lr"].to_list() == ["0.1", "0.2"]
    assert "model_summary" not in table


def test_flatten() -> None:
    config = {
        "model": {"class_path": "mgc.models.vgg.VGGTagger", "init_args": {"lr": 1, "x": {"y": 2}}},
        "trainer": {"max_epochs": 3, "default_root_dir": "runs"},
        "optimizer": {"class_path": "torch.optim.Adam"},
    }
    assert flatten(config) == {
        "model": "vgg_tagger",
        "model.lr": 1,
        "model.x.y": 2,
        "trainer.max_epochs": 3,
        "optimizer": "torch.optim.Adam",
    }


def test_the_command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    folders = [write_run(f"run <{number}>", number, number / 10) for number in range(1, 4)]
    main(["compare", *folders, "--out", "out"])
    printed = capsys.readouterr().out
    assert "| test/track_accuracy " in printed
    assert "run \\<1>" in printed
    assert Path("out/compare.md").read_text() in printed
    page = Path("out/compare.html").read_text()
    assert "run &lt;1&gt;" in page
    assert "run <1>" not in page
    assert pd.read_csv("out/compare.csv", index_col="run")["model.lr"].tolist() == [0.1, 0.2, 0.3]

    monkeypatch.setenv("HOME", "nobody")  # without a .netrc
    for words, message in (
        ([folders[0]], "compare expects two or more runs, got 1"),
        (["no/where/at/all", folders[0]], "contains no run. Expected the folder of a run"),
        (["entity/project", folders[0]], "loading it as a W&B project failed: not logged in"),
    ):
        with pytest.raises(SystemExit):
            main(["compare", *words])
        assert message in capsys.readouterr().err
