"""Audio data sets on tiny copies in their real layout, beyond what mgc.testing checks."""

from pathlib import Path

import layouts
import pytest

from mgc import registry
from mgc.cli import main

SETTINGS = {"sample_rate": 8000, "clip_seconds": 1.0, "batch_size": 4}

CASES = {
    "ismir2004": {},
    "extended_ballroom": {},
    "gtzan_speech_music": {},
    "emomusic": {"first_seconds": 1.2},
    "jamendo_vocals": {},
    "urbansound8k": {},
    "folder": {},
}


@pytest.fixture(scope="module")
def roots(tmp_path_factory):
    folders = {name: tmp_path_factory.mktemp(name) for name in CASES}
    for name, folder in folders.items():
        getattr(layouts, f"write_{name}")(folder)
    return folders


def make(name, roots, **changes):
    return registry.load("data", name)(
        root=str(roots[name]), **{**SETTINGS, **CASES[name], **changes}
    )


@pytest.mark.parametrize("name", CASES)
def test_trains_by_its_configuration(name, roots, workdir):
    config = Path(__file__).parents[2] / "configs" / f"vgg_{name}.yaml"
    words = f"fit --config {config} --data.root {roots[name]} --data.batch_size 2"
    words += " --data.num_workers 0 --model.channels 4 --trainer.max_epochs 1"
    words += " --trainer.limit_train_batches 1 --trainer.limit_val_batches 1"
    words += " --trainer.logger false --trainer.accelerator cpu"
    main(words.split())
    # The measure that the configuration watches was there.
    assert list(workdir.rglob("best.ckpt"))


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("emomusic", "fold_ungrouped"),
        ("extended_ballroom", "fold_ungrouped"),
        ("gtzan_speech_music", "fold_ungrouped"),
        ("ismir2004", "evaluation"),
    ],
)
def test_protocols_of_papers_divide_groups(name, split, roots):
    """They ignored repetitions, and are there to be compared with."""
    data = make(name, roots, split=split)
    data.setup()
    assert (data.tracks.groupby("group")["split"].nunique() > 1).any()
