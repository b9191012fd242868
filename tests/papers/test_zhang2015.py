"""The whole experiment at tiny size, with folds in this process."""

import json
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
from layouts import write_ismir2004

from mgc import registry
from mgc.cli import main
from mgc.core.fingerprint import hash_file
from mgc.core.parquet import write_parquet
from mgc.data.gtzan import GTZAN
from mgc.errors import MgcError
from mgc.evaluation.results import Results
from mgc.evaluation.tested_runs import load_run
from mgc.papers.zhang2015 import study
from mgc.papers.zhang2015.folder import is_fitted
from mgc.papers.zhang2015.reproduce import (
    COMPETITORS,
    check_same_splits,
    reproduce_zhang2015,
    select_options,
)

OVERRIDES = """
    --model.codebook_size 12 --model.units 8 --model.hidden 6 --model.components 4
    --model.segment_frames 2 --model.vectors_per_word 16
    --data.sample_rate 8000 --data.clip_seconds 3 --data.num_workers 0 --data.batch_size 8
    --trainer.max_epochs 1 --trainer.limit_train_batches 2 --trainer.logger false
    --trainer.accelerator cpu --trainer.enable_progress_bar false
"""


@pytest.fixture
def no_plugin(monkeypatch):
    """Hide the models of the plugin mgc-segment-codes."""
    find = registry.find

    def without(kind):
        return {name: claims for name, claims in find(kind).items() if "segment" not in name}

    monkeypatch.setattr(registry, "find", without)


def command(root, *words):
    words = ["--root", str(root), "--features", "MEL", *words]
    return ["reproduce", "zhang2015", *words, "--out", "out", "--", *OVERRIDES.split()]


def figures(system):
    """Return the cells of a system's row in tables.md."""
    lines = Path("out/tables.md").read_text().splitlines()
    (line,) = [line for line in lines if line.startswith(f"| {system} |")]
    return [cell.strip() for cell in line.strip("|").split("|")][1:]


def written(folder):
    return {path: path.stat().st_mtime_ns for path in Path(folder).rglob("*.parquet")}


def test_whole_experiment(folds, no_plugin, tones, capsys):
    words = command(tones, "--folds", "3", "--test_folds", "1")
    main(words)
    names = [Path(fold.folder).parents[1].name for fold in folds]
    assert names == ["kcnn_frozen_MEL", "kcnn_MEL", "kcnn_k1_MEL", "kcnn_table_lr_MEL"]
    printed = capsys.readouterr().out
    shown = [line.split()[2] for line in printed.splitlines() if line.startswith("$ mgc ")]
    machine = ["crossval", "extract", "transfer"]
    assert shown == ["crossval", *machine, *machine, *machine, "report"]
    measures = pd.read_csv("out/figure3/MEL/measures.csv")
    assert measures.iloc[:, 0].tolist() == ["kcnn"]
    assert Path("out/figure3/MEL/projection.png").is_file()
    share = f"MEL: kcnn {measures['same_class_of_test'][0]:.0%} ({measures['same_class'][0]:.0%})."
    assert share in Path("out/tables.md").read_text()
    assert "Skipped sparse_coding, autoencoder, dbn: models are not installed" in printed

    tables = Path("out/tables.md").read_text()
    assert tables.strip() in printed
    assert f"of its 1000 tracks, {tones} has 0 (identified by name and length) among 100." in tables
    assert "(split fold, 1 of 3 folds), 1 run." in tables
    changed = f"Configurations were changed: `{' '.join(OVERRIDES.split())}`"
    assert f"{changed}." in tables
    # Options of a row change no configuration. Its tables move a hundred times as far.
    assert list(folds[-1].overrides)[-1] == "--model.table_lr=2"
    moved = re.findall(r"KCNN \(k = 5\)[^:]*: MEL (\S+) %", tables)
    assert float(moved[1]) > 5 * float(moved[0]) > 0
    assert figures("DBN + SVM")[:2] == ["63.2", ""]
    accuracy = {
        system: Results.load(folder).tracks.eval("label == decision").mean()
        for system, folder in (
            ("KCNN (k = 5) ULT", "out/kcnn_frozen_MEL/test"),
            ("KCNN (k = 5)", "out/kcnn_MEL/test"),
        )
    }
    machines = load_run("out/svm_kcnn_MEL", "svm").test
    accuracy["KCNN (k = 5) + SVM"] = machines.tracks.eval("label == decision").mean()
    for system, value in accuracy.items():
        assert figures(system)[1].startswith(f"{100 * value:.1f} (")
    report = pd.read_csv("out/report/MEL/systems.csv").set_index("system")
    assert report.loc["KCNN (k = 5) + SVM MEL", "published"] == 0.807
    assert len(report) == 6

    # SVMs have the same training and test tracks as the networks.
    data = GTZAN(str(tones), split="fold", folds=3, seed=0)
    data.setup("test")
    features = pd.read_parquet("out/svm_kcnn_MEL/seed0_fold0/features.parquet")
    assert features.set_index("track")["split"].to_dict() == dict(
        zip(data.tracks["track"], data.tracks["split"], strict=True)
    )
    tested = set(Results.load("out/kcnn_MEL/test").tracks["track"])
    assert set(machines.tracks["track"]) == tested
    assert len(machines.tracks) == len(tested)

    # A rerun only computes what is missing.
    before = written("out/svm_kcnn_MEL")
    shutil.rmtree("out/svm_kcnn_k1_MEL")
    main(words)
    assert len(folds) == 4
    assert written("out/svm_kcnn_MEL") == before
    assert len(written("out/svm_kcnn_k1_MEL")) == len(before)


def test_repeats_on_a_given_split(folds, tmp_path):
    root = tmp_path / "ismir2004"
    write_ismir2004(root)
    words = ["--data", "ismir2004", "--systems", "kcnn,kcnn_svm"]
    main(command(root, *words, "--repeats", "2"))
    assert [(fold.seed, fold.folds) for fold in folds] == [(0, 1), (1, 1)]
    results = Results.load("out/kcnn_MEL/test").tracks
    assert len(results) == 2 * results["track"].nunique()
    assert all(track.startswith("development/") for track in results["track"])
    tables = Path("out/tables.md").read_text()
    assert "(split given), 2 runs." in tables
    assert "Standard deviation over our runs" in tables
    assert "of its 1458 tracks" in tables
    assert figures("KCNN (k = 5) + SVM")[0] == "78.29"
    assert "(" in figures("KCNN (k = 5) + SVM")[1]
    assert figures("KCNN (k = 5) ULT")[1] == ""
    with pytest.raises(MgcError, match="out has results with different genres"):
        reproduce_zhang2015(root=str(root), systems="kcnn", out="out")


def test_study_of_hyperparameters(folds, no_plugin, tones, monkeypatch, capsys):
    values = {"window": (5, 9), "k": (1, 5, 10), "units": (500,), "hidden": (300,)}
    monkeypatch.setattr(study, "STUDY", values)
    sizes = ["--model.units 8", "--model.hidden 6"]
    words = command(tones, "--folds", "3", "--test_folds", "1", "--only", "study")
    with pytest.raises(SystemExit):
        main(words)
    assert "--model.units is set by mgc reproduce zhang2015" in capsys.readouterr().err
    assert not Path("out").exists()

    overrides = OVERRIDES.replace(sizes[0], "").replace(sizes[1], "").split()
    words = [*words[: words.index("--") + 1], *overrides]
    main(words)
    names = [Path(fold.folder).relative_to(Path("out").absolute()).parts[:2] for fold in folds]
    assert names == [
        ("kcnn_MEL", "seed0"), ("study", "window_9_MEL"), ("kcnn_k1_MEL", "seed0"),
        ("study", "k_10_MEL"),
    ]  # fmt: skip
    assert "--model.window=9" in folds[1].overrides
    table = pd.read_csv("out/study.csv")
    assert table[["setting", "value"]].to_numpy().tolist() == [
        ["window", 5], ["window", 9], ["k", 1], ["k", 5], ["k", 10]
    ]  # fmt: skip
    assert table["difference"].isna().tolist() == [True, False, False, True, False]
    assert (table["step_ms"] > 0).all()
    assert Path("out/study.png").is_file()
    tables = Path("out/tables.md").read_text()
    assert "| window 9 over window 5 (section 4.4: marginally) |" in tables
    assert f"`{' '.join(overrides)}`." in tables
    # The networks of the tables are those of the study, and its results stay.
    words[words.index("study")] = "tables"
    main([*words[:2], "--systems", "kcnn", *words[2:]])
    assert len(folds) == 4
    assert "window 9 (MEL)" in Path("out/tables.md").read_text()


def test_figure_without_results(tones):
    with pytest.raises(MgcError, match=r"out has no results\. Run .* --only tables"):
        reproduce_zhang2015(root=str(tones), out="out", only="figure3")


def test_model_settings_go_to_models_that_have_them(install, monkeypatch, capsys):
    code = """
import lightning.pytorch as L
class Codes(L.LightningModule):
    def __init__(self, alpha: float = 1.0): ...
"""
    install("codes", code, made_up_codes="codes:Codes")
    monkeypatch.setitem(COMPETITORS, "sparse_coding", "made_up_codes")
    words = ["--model.table_lr", "2", "--model.init_args.alpha=3", "--trainer.max_epochs=1"]
    given = select_options(["sparse_coding", "kcnn"], words)
    assert given == {"sparse_coding": words[2:], "kcnn": [*words[:2], words[3]]}
    assert (
        "--model.table_lr is ignored for sparse_coding: no such setting" in capsys.readouterr().out
    )
    # Unknown settings go to all networks, so that training reports them.
    assert select_options(["kcnn"], ["--model.tabel_lr=2"]) == {"kcnn": ["--model.tabel_lr=2"]}


def test_other_tracks_or_splits_are_refused(tmp_path):
    trained = tmp_path / "kcnn_MEL"
    words = ["--data.root=music", "--model.features=MEL", "--data.split", "fault_filtered"]
    (trained / "test").mkdir(parents=True)
    (trained / "crossval.json").write_text(json.dumps({"folds": 1, "overrides": words}))
    split = ["--trainer.max_epochs", "2", "--data.init_args.split=fault_filtered"]
    # Before the test, any split is accepted.
    check_same_splits(tmp_path, "other", 1, split)
    (trained / "test" / "tracks.parquet").touch()
    check_same_splits(tmp_path, "music", 1, split)
    with pytest.raises(MgcError, match="kcnn_MEL was run with root music, not other"):
        check_same_splits(tmp_path, "other", 1, split)
    with pytest.raises(MgcError, match="folds 1, not 10"):
        check_same_splits(tmp_path, "music", 10, split)
    with pytest.raises(MgcError, match="split fault_filtered, not default"):
        check_same_splits(tmp_path, "music", 1, split[:2])


def test_is_fitted(tmp_path):
    checkpoint = tmp_path / "best.ckpt"
    checkpoint.write_bytes(b"weights")
    place = tmp_path / "seed0_fold0"
    assert not is_fitted(place, str(checkpoint))
    source = {"checkpoint": str(checkpoint), "sha256": hash_file(checkpoint)}
    write_parquet(pd.DataFrame({"track": ["a"]}), place / "predictions.parquet", {"source": source})
    assert is_fitted(place, str(checkpoint))
    assert not is_fitted(place, "other.ckpt")
    checkpoint.write_bytes(b"other weights")
    assert not is_fitted(place, str(checkpoint))
    # Results remain valid when the checkpoint is deleted.
    checkpoint.unlink()
    assert is_fitted(place, str(checkpoint))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--features", "MFCC"], "--features MFCC: unknown 'MFCC'. Choose from MEL, SFM, SCF, ALL"),
        (["--systems", "kcnn,vgg"], "unknown 'vgg'. Choose from sparse_coding"),
        (["--only", "plots"], "--only plots: unknown 'plots'. Choose from tables, figure3, study"),
        (["--systems", "dbn"], "--systems dbn has no installed model"),
        (["--configs", "nowhere"], "nowhere/kcnn_frozen_gtzan.yaml: no such file"),
        (["--", "--model.init_args.features=MEL"], "--model.features is set by mgc reproduce"),
    ],
)
def test_wrong_settings(words, message, no_plugin, tones, capsys):
    with pytest.raises(SystemExit):
        main(["reproduce", "zhang2015", "--root", str(tones), *words])
    assert message in capsys.readouterr().err
    assert not Path("runs").exists()
