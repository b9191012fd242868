"""The whole experiment at tiny size, with all runs in this process."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from generate_msd import generate_msd

from mgc.cli import main
from mgc.configurations import find_configuration
from mgc.core.yaml_files import read_yaml
from mgc.evaluation.results import Results
from mgc.experiments import sweep_space
from mgc.papers.dieleman2011 import LEARNING_RATES, TASKS
from mgc.papers.dieleman2011 import reproduce as reproducing
from mgc.papers.dieleman2011.rates import COLUMNS, choose_rates
from mgc.papers.dieleman2011.reproduce import check_options, select_options
from mgc.papers.dieleman2011.tables import list_claims, make_table

OVERRIDES = (
    "--model.maps 4 --data.batch_size 60 --trainer.logger false --trainer.accelerator cpu "
    "--trainer.enable_progress_bar false --trainer.enable_model_summary false"
)

SYSTEMS = ["naive_bayes", "logistic", "matched_2", "pretrained_2", "matched_1", "pretrained_1"]


@pytest.fixture(scope="module")
def msd(tmp_path_factory):
    root = tmp_path_factory.mktemp("msd")
    generate_msd(root, tracks=144, artists=20, beats=24)
    return root


def reproduce(root, *words):
    options = "--genre_tracks 0 --artist_tracks 0 --key_tracks 10 --epochs 1,2 --out out"
    main(["reproduce", "dieleman2011", "--root", str(root), *options.split(), *words])


@pytest.fixture
def two_rates(monkeypatch):
    """Sweep the first two learning rates only."""
    points = sweep_space._points
    monkeypatch.setattr(sweep_space, "_points", lambda parameter: points(parameter)[:2])


def test_whole_experiment(folds, sweep_runs, two_rates, msd, capsys, workdir):
    reproduce(msd, "--", *OVERRIDES.split())
    assert [Path(fold.folder).parents[1].name for fold in folds] == ["naive_bayes"]
    trained = [Path(run.folder).parent.name for run in sweep_runs]
    assert trained == ["pretrained"] + ["logistic"] * 2 + ["networks"] * 4
    shown = [line for line in capsys.readouterr().out.splitlines() if line.startswith("$ mgc ")]
    assert [line.split()[2] for line in shown] == (
        ["data", "sweep", "crossval", "sweep", "test", "sweep"] + ["test"] * 4
    )
    assert shown[1].startswith("$ mgc sweep conv_dbn_pretrain --out=out/pretrained --jobs=1 -- --")
    assert (msd / "beats" / "index.parquet").is_file()

    # Pretraining leaves out the tracks of the task, and ends with the joint layer.
    config = read_yaml("out/pretrained/run0/config.yaml")
    assert config["data"]["init_args"]["key_tracks"] == 10
    assert config["data"]["init_args"]["genre_tracks"] == 0
    assert config["trainer"]["max_epochs"] == 2
    # Networks start from it; naive Bayes does not have their options.
    config = read_yaml("out/key/networks/run3/config.yaml")["model"]["init_args"]
    assert Path(config["weights"]) == workdir / "out/pretrained/run0/last_epoch.ckpt"
    assert (config["start"], config["maps"]) == ("matched", 4)

    # A system is tested with the rate that is best on validation tracks.
    rates = pd.read_csv("out/rates.csv")
    assert rates["system"].value_counts().to_dict() == dict.fromkeys(SYSTEMS[1:], 2)
    for system, rows in rates.groupby("system"):
        tested = Results.load(f"out/key/{system}/test").source["checkpoint"]
        assert tested == rows.loc[rows["validation accuracy"].idxmax(), "checkpoint"]
        epochs = 1 if system == "logistic" or system.endswith("2") else 0
        assert tested.endswith(f"epoch_{epochs}.ckpt")

    scores = pd.read_csv("out/scores.csv").set_index(["row", "column"])
    assert set(scores["tracks"]) == {0, 12}
    assert scores.loc[("naive Bayes", "key"), "ours"] > 0.5
    assert scores.loc[("naive Bayes", "key"), "published"] == pytest.approx(0.7374)
    assert np.isnan(scores.loc[("naive Bayes", "genre"), "ours"])
    claims = pd.read_csv("out/claims.csv").set_index("claim")
    assert claims.loc["Logistic regression over naive Bayes on key", "tracks"] == 12
    tables = Path("out/tables.md").read_text()
    assert "144 tracks of the Million Song Dataset without those that" in tables
    assert "key 12 test tracks of 12 classes" in tables
    assert "| windowed logistic regression | 5e-06 | | 5e-05 | | 5e-05 | 0" in tables
    assert "Configurations were changed: `--model.maps 4 " in tables
    systems = pd.read_csv("out/key/report/systems.csv")
    assert systems["system"].tolist() == SYSTEMS

    # A rerun trains and tests nothing.
    before = Path("out/key/logistic/test/tracks.parquet").stat().st_mtime_ns
    reproduce(msd, "--", *OVERRIDES.split())
    assert len(folds) + len(sweep_runs) == 8
    assert Path("out/key/logistic/test/tracks.parquet").stat().st_mtime_ns == before
    assert "$ mgc test" not in capsys.readouterr().out


def test_baselines_with_normalised_timbre(monkeypatch):
    commands = []
    monkeypatch.setattr(
        reproducing, "run_command", lambda *words, **options: commands.append((words, options))
    )
    for name in ("read_rates", "test_best"):
        monkeypatch.setattr(reproducing, name, lambda *arguments: None)
    setup = reproducing.Setup(Path("out"), {"key": ["--data.root=msd"]}, [], [20, 30], 2, 1)
    for normalised in (False, True):
        reproducing.train_baselines(setup, "key", normalised)
    outputs = [options["out"] for _, options in commands]
    assert [Path(out).name for out in outputs] == [
        "naive_bayes", "logistic", "naive_bayes_normalised", "logistic_normalised",
    ]  # fmt: skip
    given = ["--data.normalise_timbre=true" in words for words, _ in commands]
    assert given == [False, False, True, True]
    # As in the paper, the configurations have timbre as it is.
    for model in ("naive_bayes", "beat_logistic"):
        settings = read_yaml(find_configuration(f"{model}_key"))
        assert settings["data"]["init_args"]["normalise_timbre"] is False


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--only", "nets"], "--only nets: unknown 'nets'. Choose from pretraining,"),
        (["--tasks", "mood"], "--tasks mood: unknown 'mood'. Choose from genre,"),
        (["--only", "report"], "out has no results."),
        (["--only", "networks"], "pretrained has no pretrained layers."),
        (["--epochs", "0"], "--epochs 0: expected different numbers of epochs"),
        (["--epochs", "20,x"], "--epochs 20,x: expected different numbers of epochs"),
        (["--", "--model.start=matched"], "--model.start is set by mgc reproduce dieleman2011"),
        (["--", "--model.filters=3"], "--model.filters: no model or data set of dieleman2011"),
    ],
)
def test_errors(words, message, msd, capsys, workdir):
    with pytest.raises(SystemExit) as stopped:
        reproduce(msd, *words)
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err
    assert not Path("out").exists()


@pytest.mark.parametrize(
    ("config", "kept"),
    [
        ("conv_dbn_pretrain", ["--model.maps", "8", "--model.lr_binary=1", "--trainer.devices=2"]),
        ("conv_dbn_genre", ["--model.maps", "8", "--data.source=x", "--trainer.devices=2"]),
        ("beat_logistic_key", ["--trainer.devices=2"]),
    ],
)
def test_options_are_for_the_models_that_have_them(config, kept):
    words = ["--model.maps", "8", "--model.lr_binary=1", "--data.source=x", "--trainer.devices=2"]
    check_options(words)
    assert select_options(words, config) == kept


def test_the_highest_of_equally_good_rates_is_chosen():
    rows = [
        ("key", "logistic", 0.005, 0.4, "a"),
        ("key", "logistic", 0.0005, 0.5, "b"),
        ("key", "logistic", 0.00005, 0.5, "c"),
        ("genre", "logistic", 0.005, 0.1, "d"),
    ]
    chosen = choose_rates(pd.DataFrame(rows, columns=list(COLUMNS)))
    assert chosen["checkpoint"].tolist() == ["b", "d"]


def test_published_scores():
    table = make_table({})
    assert len(table.published) == 18
    assert table.published["20 epochs, conv. MLP with pretraining", "key"][0] == pytest.approx(
        0.8451
    )
    for paper in TASKS.values():
        assert paper.ACCURACY.keys() - LEARNING_RATES.keys() == {"naive_bayes"}


def test_claims_have_the_order_of_the_published_table():
    published = make_table({}).published
    for claim in list_claims():
        for better, worse in claim.pairs:
            assert published[better][0] > published[worse][0]
