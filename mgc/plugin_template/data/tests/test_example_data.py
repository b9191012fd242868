"""Conformance checks of the data set on a small copy in its layout."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from example_data import GENRES, ExampleData

from mgc import registry
from mgc.cli import main
from mgc.testing import DATA_CHECKS, DataCase

CONFIG = Path(__file__).parents[1] / "configs" / "vgg_example_data.yaml"


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """Write three tracks of 1.5 s per genre."""
    root = tmp_path_factory.mktemp("copy")
    rng = np.random.default_rng(0)
    for genre in GENRES:
        for number in range(3):
            path = root / "genres" / genre / f"{genre}.{number:05}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, 0.1 * rng.normal(size=12000).clip(-3, 3), 8000)
    return root


@pytest.mark.parametrize("check", DATA_CHECKS)
def test_contract(check, copy):
    check(DataCase(ExampleData, copy))


def test_is_found_by_its_name():
    assert registry.load("data", "example_data") is ExampleData


def test_trains_with_its_configuration(copy, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = f"fit --config {CONFIG} --data.root {copy} --model.channels 4 --trainer.max_epochs 1"
    main([*words.split(), "--trainer.logger=false", "--trainer.accelerator=cpu"])
    assert list(tmp_path.rglob("best.ckpt"))
