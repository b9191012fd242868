"""Conformance checks of the model, and training with its configuration."""

from pathlib import Path

import pytest
from example_net import ExampleNet

from mgc import registry
from mgc.cli import main
from mgc.testing import MODEL_CHECKS, ModelCase

CONFIG = Path(__file__).parents[1] / "configs" / "example_net_synthetic.yaml"

# Arguments of the model that make it small and fast to train.
SMALL = {"channels": 8, "n_mels": 24, "lr": 0.01}


@pytest.mark.parametrize("check", MODEL_CHECKS)
def test_contract(check):
    check(ModelCase(ExampleNet, settings=SMALL))


def test_is_found_by_its_name():
    assert registry.load("model", "example_net") is ExampleNet


def test_trains_with_its_configuration(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    main(["data", "synth", "music", "--tracks-per-genre", "2", "--seconds", "3", "--workers", "1"])
    words = f"fit --config {CONFIG} --data.root music --trainer.max_epochs 1"
    small = [f"--model.{name}={value}" for name, value in SMALL.items()]
    main([*words.split(), *small, "--trainer.logger=false", "--trainer.accelerator=cpu"])
    assert list(tmp_path.rglob("best.ckpt"))
