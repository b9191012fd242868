"""Tests of audio data sets on tiny copies in their real layout, beyond those of mgc.testing."""

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
def test_configuration_trains(name, roots, workdir):
    config = Path(__file__).parents[2] / "configs" / f"vgg_{name}.yaml"
    args = f"fit --config {config} --data.root {roots[name]} --data.batch_size 2"
    args += " --data.num_workers 0 --model.channels 4 --trainer.max_epochs 1"
    args += " --trainer.limit_train_batches 1 --trainer.limit_val_batches 1"
    args += " --trainer.logger false --trainer.accelerator cpu"
    main(args.split())
    # best.ckpt exists only if the monitored metric was logged.
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
def test_splits_of_papers_divide_groups(name, split, roots):
    """Some papers ignored repetitions; their splits allow a comparison."""
    data = make(name, roots, split=split)
    data.setup()
    assert (data.tracks.groupby("group")["split"].nunique() > 1).any()


@pytest.mark.parametrize("name", [name for name in CASES if name != "folder"])
@pytest.mark.parametrize("spell", [str.upper, str.title])
def test_names_of_files_and_folders_may_be_in_any_case(name, spell, tmp_path):
    """Copies from other systems have files such as AUDIO/FOLD1/7061-6-0-0.WAV."""
    getattr(layouts, f"write_{name}")(tmp_path)
    before = make(name, {name: tmp_path}).load_catalogue()
    for path in sorted(tmp_path.rglob("*"), reverse=True):
        path.rename(path.with_name(spell(path.name)))
    catalogue = make(name, {name: tmp_path}).load_catalogue()
    assert catalogue["path"].map(lambda path: Path(path).is_file()).all()
    assert len(catalogue) == len(before)
    if "label" in before:
        assert sorted(catalogue["label"]) == sorted(before["label"])
