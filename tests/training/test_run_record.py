"""Record of a run: provenance and best epoch."""

import importlib.metadata
import json
import subprocess
from pathlib import Path

import pandas as pd
import pytest
from wandb_offline import read_run

from mgc.cli import main
from mgc.registry import find
from mgc.runs.provenance import data_fingerprint, git_state, package_versions
from mgc.training.run_record import RecordRun


def tracks(**changes: list[str]) -> pd.DataFrame:
    columns = {"track": ["a", "b", "c"], "label": ["x", "y", "x"], "split": ["train", "val", "val"]}
    return pd.DataFrame(columns | changes)


def test_the_fingerprint_depends_on_tracks_labels_and_splits() -> None:
    known = data_fingerprint(tracks(), ("x", "y"))
    assert known["sizes"] == {"train": 1, "val": 2}
    assert data_fingerprint(tracks().iloc[::-1], ("x", "y")) == known

    moved = data_fingerprint(tracks(split=["val", "train", "val"]), ("x", "y"))
    assert moved["tracks"] == known["tracks"]
    assert moved["split"] != known["split"]

    relabelled = data_fingerprint(tracks(label=["y", "y", "x"]), ("x", "y"))
    assert relabelled["tracks"] != known["tracks"]
    assert relabelled["split"] == known["split"]

    assert data_fingerprint(tracks(), ("y", "x"))["tracks"] != known["tracks"]
    assert data_fingerprint(tracks(track=["a", "b", "d"]), ("x", "y"))["tracks"] != known["tracks"]


def test_the_fingerprint_depends_on_every_tag() -> None:
    tags = tracks().drop(columns="label").assign(**{"target.x": [0, 1, 1], "target.y": [1, 0, 0]})
    changed = tags.assign(**{"target.y": [1, 0, 1]})
    known, other = (data_fingerprint(rows, ("x", "y"))["tracks"] for rows in (tags, changed))
    assert known != other


def test_the_commit_of_a_folder_and_whether_it_was_changed(tmp_path: Path) -> None:
    assert git_state(tmp_path) is None
    (tmp_path / "file").write_text("one")
    author = ["-c", "user.name=n", "-c", "user.email=n@example.org"]
    for words in (["init", "-q"], ["add", "file"], [*author, "commit", "-qm", "first"]):
        subprocess.run(["git", "-C", tmp_path, *words], check=True)
    state = git_state(tmp_path)
    assert state is not None
    assert (len(state["commit"]), state["dirty"]) == (40, False)
    (tmp_path / "file").write_text("two")
    assert git_state(tmp_path) == {"commit": state["commit"], "dirty": True}


def test_versions_include_the_package_of_the_model() -> None:
    (vgg,) = find("model")["vgg_tagger"]
    assert package_versions(vgg)["torch"] == importlib.metadata.version("torch")
    plugin = importlib.metadata.EntryPoint("net", "net:Net", "mgc.models")
    vars(plugin)["dist"] = importlib.metadata.distribution("pytest")  # stands in for a plugin
    assert package_versions(plugin)["pytest"] == pytest.__version__


class Score:
    """Trainer stub with logged scores."""

    is_global_zero = True
    fast_dev_run = sanity_checking = False

    def __init__(self, folder: Path, mode: str) -> None:
        from lightning.pytorch.callbacks import ModelCheckpoint

        self.checkpoint_callbacks = [ModelCheckpoint(monitor="val/score", mode=mode)]
        self.default_root_dir, self.loggers = folder, []
        self.callback_metrics: dict[str, float] = {}
        self.current_epoch = self.global_step = 0

    def epoch(self, record: RecordRun, score: float) -> None:
        self.callback_metrics |= {"val/score": score, "val/other": -score}
        record.on_validation_end(self, None)  # type: ignore[arg-type]
        self.callback_metrics["train/loss"] = 100 + self.current_epoch
        record.on_train_epoch_end(self, None)  # type: ignore[arg-type]
        self.current_epoch += 1
        self.global_step += 10


@pytest.mark.parametrize(("mode", "epoch"), [("max", 1), ("min", 3)])
def test_the_first_best_epoch_is_kept_with_all_its_metrics(
    mode: str, epoch: int, tmp_path: Path
) -> None:
    trainer, record = Score(tmp_path, mode), RecordRun()
    for score in (float("nan"), 3.0, 3.0, 1.0, 2.0):
        trainer.epoch(record, score)
    best = json.loads((tmp_path / "run.json").read_text())["best"]
    value = {"max": 3.0, "min": 1.0}[mode]
    assert (best["epoch"], best["step"], best["value"]) == (epoch, 10 * epoch, value)
    assert best["metrics"] == {
        "val/score": value,
        "val/other": -value,
        "train/loss": 100 + epoch,
    }
    resumed = RecordRun()
    resumed.load_state_dict(record.state_dict())
    trainer.epoch(resumed, 2.0)
    assert resumed.best == best


def test_provenance_and_best_epoch_are_logged_to_wandb(tones: Path, workdir: Path) -> None:
    words = f"fit --model vgg_tagger --model.channels 4 --data gtzan --data.root {tones}"
    words += " --data.sample_rate 8000 --data.clip_seconds 1 --trainer.max_epochs 2"
    words += " --trainer.accelerator cpu --trainer.logger.tags [mine]"
    main(words.split())
    (folder,) = workdir.glob("runs/wandb/offline-run-*")
    run = read_run(folder)
    assert run["tags"] == ["mine", "vgg_tagger", "gtzan", "stratified"]
    about = run["config"]["about"]
    assert about["fingerprint"]["sizes"] == {"test": 10, "train": 80, "val": 10}
    assert about["packages"]["lightning"] == importlib.metadata.version("lightning")
    assert about["git"] is None  # the test's folder is no repository
    best = run["summary"]
    epochs = [step for step in run["history"] if "val/track_accuracy" in step]
    kept = max(epochs, key=lambda step: step["val/track_accuracy"])  # the first of equals
    for name in ("val/track_accuracy", "val/loss", "val/f1"):
        assert best[f"best/{name}"] == pytest.approx(kept[name])
    assert best["best/metric"] == "val/track_accuracy"
    assert "best/train/loss" in best
    (record,) = workdir.glob("runs/mgc/*/run.json")
    saved = json.loads(record.read_text())
    assert saved["fit"] == about
    assert saved["best"]["epoch"] == best["best/epoch"] == epochs.index(kept)
    assert saved["wandb"]["id"] == run["id"] == record.parent.name
