import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from huggingface_hub import ModelCard

from mgc import checkpoint
from mgc.cli import main
from mgc.core.fingerprint import hash_file
from mgc.data.gtzan import GTZAN
from mgc.errors import MgcError
from mgc.evaluation.results import Results
from mgc.evaluation.tested_runs import load_run
from mgc.models.vgg import VGGTagger
from mgc.reports.model_card import model_card


def results(labels: tuple[str, ...], tested: Path | None = None) -> Results:
    """Return results of a checkpoint: 40 tracks, 10 of them misclassified as the next class."""
    truth = np.arange(40) % len(labels)
    decided = np.where(np.arange(40) < 10, (truth + 1) % len(labels), truth)
    outputs = np.full((40, len(labels)), 0.01)
    outputs[np.arange(40), decided] = 0.9
    tracks = pd.DataFrame({"track": [f"t{i}" for i in range(40)], "split": "test"})
    tracks["label"] = np.array(labels)[truth]
    tracks[[f"probability.{label}" for label in labels]] = outputs
    tracks["decision"] = np.array(labels)[decided]
    digest = hash_file(tested) if tested else "0" * 64
    source = {"checkpoint": "elsewhere/best.ckpt", "sha256": digest, "split": "fold", "fold": 3}
    source["model"] = "vgg_tagger"
    return Results(tracks.copy(), tracks, "multiclass", labels, source)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Write the folder of a run: checkpoint, configuration and record."""
    model = VGGTagger(num_classes=10, sample_rate=8000, channels=4)
    data = GTZAN("secret/place", sample_rate=8000, clip_seconds=1.0)
    content = {"state_dict": model.state_dict(), checkpoint.HYPER: dict(model.hparams)}
    content |= {"pytorch-lightning_version": "2.6.6", "epoch": 7, "global_step": 160}
    folder = tmp_path / "run"
    (folder / "checkpoints").mkdir(parents=True)
    torch.save({**content, checkpoint.KEY: checkpoint.describe(model, data)}, ckpt(folder))
    settings = {
        "seed_everything": 3,
        "trainer": {"max_epochs": 8, "precision": "bf16-mixed", "devices": 2, "strategy": "ddp"},
        "optimizer": {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.1}},
        "data": {
            "init_args": {"root": "secret/place", "split": "fold", "fold": 3, "batch_size": 9}
        },
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    fingerprint = {"tracks": "0123456789abcdef", "split": "fedcba9876543210"}
    fit = {"fingerprint": fingerprint | {"sizes": {"train": 80, "test": 10}}, "git": None}
    (folder / "run.json").write_text(json.dumps({"fit": fit}))
    return folder


def ckpt(run: Path) -> Path:
    return run / "checkpoints" / "best.ckpt"


def test_contents(run: Path) -> None:
    results(GTZAN.labels, ckpt(run)).save(run / "test")
    text = model_card(ckpt(run), license="cc-by-4.0")
    for line in (
        "# vgg_tagger on gtzan",
        "| tracks | 80 train, 10 test |",
        "| fingerprint | tracks and targets `0123456789abcdef`, split `fedcba9876543210` |",
        "| trained | 8 epochs, 160 steps |",
        "| optimizer | SGD lr 0.1 |",
        "| batch size per device | 9 |",
        "| `precision` | bf16-mixed |",
        "| `devices` | 2 |",
        "| tested fold | 3 |",
        "| accuracy | 0.750 | 0.598 to 0.858 | 95 % Wilson interval over 40 tracks |",
        " | 95 % bootstrap interval over 40 tracks |",
        "| blues | 0.750 | 0.750 | 0.750 | 4 |",
        "| weights | cc-by-4.0 |",
        "mgc classify song.mp3 --ckpt best.ckpt",
    ):
        assert line in text
    assert "The collection has no licence" in text
    assert "secret" not in text


def test_hugging_face_metadata(run: Path) -> None:
    results(GTZAN.labels, ckpt(run)).save(run / "test")
    head = ModelCard(model_card(ckpt(run), name="My net", license="mit")).data
    assert (head.license, head.pipeline_tag) == ("mit", "audio-classification")
    scores = {result.metric_type: result.metric_value for result in head.eval_results}
    assert scores["accuracy"] == 0.75
    assert head.eval_results[0].dataset_name == "gtzan"


def test_checkpoint_without_run_folder(run: Path, tmp_path: Path) -> None:
    alone = tmp_path / "alone.ckpt"
    ckpt(run).rename(alone)
    text = model_card(alone)
    assert "Not tested: no results" in text
    assert "| configuration | unknown: no configuration in the run's folder |" in text
    assert "| weights | not stated |" in text
    assert ModelCard(text).data.eval_results is None


def test_results_of_another_checkpoint_are_ignored_or_refused(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results(GTZAN.labels).save(run / "test")
    assert "Not tested" in model_card(ckpt(run))
    with pytest.raises(SystemExit):
        main(f"card --ckpt {ckpt(run)} --test {run / 'test'} --out README.md".split())
    assert "results of another checkpoint, or of an earlier" in capsys.readouterr().err
    assert not Path("README.md").exists()


def test_results_of_earlier_weights_are_not_shown(run: Path) -> None:
    results(GTZAN.labels, ckpt(run)).save(run / "test")
    assert load_run(run, "run").test.labels == GTZAN.labels
    ckpt(run).rename(ckpt(run).with_name("moved.ckpt"))
    assert "accuracy" in model_card(ckpt(run).with_name("moved.ckpt"))
    content = torch.load(ckpt(run).with_name("moved.ckpt"), weights_only=True)
    content["state_dict"]["head.bias"] = torch.ones(10)
    torch.save(content, ckpt(run))
    assert "Not tested" in model_card(ckpt(run))
    with pytest.raises(MgcError, match=r"results of an earlier version of .*best\.ckpt. Test it"):
        load_run(run, "run")


def test_command_writes_or_prints(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["card", "--ckpt", str(ckpt(run))])
    printed = capsys.readouterr().out
    main(["card", "--ckpt", str(ckpt(run)), "--out", "cards/README.md"])
    assert Path("cards/README.md").read_text() == printed
    for words in (["--license", "My Own"], ["--out", "cards"]):
        with pytest.raises(SystemExit):
            main(["card", "--ckpt", str(ckpt(run)), *words])


def test_names_are_escaped(run: Path) -> None:
    labels = ("r|b", "`x`", "<i>", "[y](z)", *GTZAN.labels[4:])
    content = torch.load(ckpt(run), weights_only=True)
    content[checkpoint.KEY]["labels"] = list(labels)
    torch.save(content, ckpt(run))
    results(labels, ckpt(run)).save(run / "test")
    text = model_card(ckpt(run), name="a|b\nc")
    assert r"# a\|b c" in text.splitlines()
    for name in (r"r\|b", r"\`x\`", r"\<i>", r"\[y\](z)"):
        assert f"\n| {name} | 0.750 |" in text
