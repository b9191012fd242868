"""Every audio data set on a tiny copy in its real layout."""

from pathlib import Path

import layouts
import pytest
import torch
from lightning.pytorch import Trainer, seed_everything

from mgc import registry
from mgc.cli import main
from mgc.models.vgg import VGGTagger

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
def test_trains_the_tagger_for_a_step(name, roots):
    seed_everything(0)
    data = make(name, roots)
    model = VGGTagger(
        num_classes=data.num_classes,
        task=data.task,
        sample_rate=data.sample_rate,
        channels=4,
        n_mels=24,
    )
    before = model.net.head.weight.detach().clone()
    trainer = Trainer(
        max_steps=1,
        limit_train_batches=1,
        limit_val_batches=1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(model, data)
    assert trainer.global_step == 1
    assert not torch.equal(model.net.head.weight, before)
    assert torch.isfinite(trainer.callback_metrics["train/loss"])


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


@pytest.mark.parametrize("name", CASES)
def test_labels_are_known_before_setup_and_stay(name, roots):
    data = make(name, roots)
    before = data.labels
    data.setup()
    assert data.labels == before == make(name, roots).labels
    assert data.num_classes == len(before) > 1
    targets = data.targets()
    if data.task == "multiclass":
        assert set(targets.tolist()) <= set(range(len(before)))
    else:
        assert targets.shape == (len(data.tracks), len(before))


def every_split():
    for name in CASES:
        for split in registry.load("data", name).splits:
            if (name, split) != ("folder", "given"):
                yield name, split


@pytest.mark.parametrize(("name", "split"), every_split())
def test_no_group_is_in_two_splits(name, split, roots):
    data = make(name, roots, split=split)
    data.setup()
    assert set(data.tracks["split"]) == {"train", "val", "test"}
    assert data.tracks["track"].is_unique
    crossing = (data.tracks.groupby("group")["split"].nunique() > 1).sum()
    if split in ("fold_ungrouped", "evaluation"):
        # The protocols of papers that ignored repetitions: they are there to be compared with.
        assert crossing > 0
    else:
        assert crossing == 0


@pytest.mark.parametrize("name", CASES)
def test_splits_are_the_same_again(name, roots):
    first, second = make(name, roots), make(name, roots)
    first.setup("fit")
    second.setup("test")
    assert first.tracks["split"].tolist() == second.tracks["split"].tolist()


@pytest.mark.parametrize("name", CASES)
def test_reads_every_track(name, roots):
    data = make(name, roots)
    data.setup("predict")
    seen = set()
    for loader in data.predict_dataloader():
        for batch in loader:
            assert batch["audio"].shape[1] == 8000
            assert batch["audio"].abs().amax(dim=1).min() > 0.1
            seen |= set(batch["track"].tolist())
    assert seen == set(range(len(data.tracks)))
    assert not data.broken


@pytest.mark.parametrize("name", CASES)
def test_verify_finds_no_broken_or_stray_file(name, roots):
    problems = make(name, roots).verify()
    # The copies are short in every way, which is what verify says of them.
    assert {problem.kind for problem in problems} <= {"missing", "length"}
    assert not [p for p in problems if "listed, but not in the folder" in p.detail]
