from functools import partial
from pathlib import Path

import lightning.pytorch as L
import pytest
import torch

from mgc import checkpoint
from mgc.data.gtzan import GTZAN
from mgc.errors import MgcError
from mgc.features.audio_words import sample_training_segments
from mgc.features.segment_cache import SegmentCache
from mgc.models.kcnn import KCNN, KCNNClassifier
from mgc.training import cli

CONFIGS = Path(__file__).parents[2] / "configs"

TABLES = {"MEL": (20, 6), "SFM": (30, 4)}


def net(**settings):
    torch.manual_seed(0)
    return KCNN(10, TABLES, **{"units": 12, "hidden": 7, **settings}).eval()


def songs(*lengths, seed=0):
    """Words of songs, padded with words that must be ignored."""
    generator = torch.Generator().manual_seed(seed)
    shape = (len(lengths), max(lengths))
    return {n: torch.randint(w, shape, generator=generator) for n, (w, _) in TABLES.items()}


def classifier(**settings):
    torch.manual_seed(0)
    small = {"codebook_size": 16, "units": 32, "components": 12, "segment_frames": 2}
    return KCNNClassifier(**{**small, "num_classes": 10, "sample_rate": 8000, **settings})


def data(root, **settings):
    settings = {"clip_seconds": 3.0, "short": "keep", "batch_size": 4, **settings}
    return GTZAN(str(root), sample_rate=8000, **settings)


def trainer(folder, **settings):
    settings = {"max_epochs": 1, "logger": False, "enable_progress_bar": False, **settings}
    return L.Trainer(
        accelerator="cpu", default_root_dir=folder, enable_model_summary=False, **settings
    )


def test_network_of_the_paper():
    """Table 1: a window of 5, 500 units, k = 5, 300 hidden units; a lookup table each."""
    model = KCNNClassifier(num_classes=10)
    shapes = {name: tuple(p.shape) for name, p in model.named_parameters()}
    assert shapes == {
        **{f"net.tables.{name}.weight": (256, 16) for name in ("MEL", "SFM", "SCF")},
        "net.convs.0.weight": (500, 3 * 16, 5),
        "net.convs.0.bias": (500,),
        "net.hidden.weight": (300, 2500),
        "net.hidden.bias": (300,),
        "net.head.weight": (10, 300),
        "net.head.bias": (10,),
    }
    optimizer = model.configure_optimizers()
    assert type(optimizer) is torch.optim.SGD
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(shapes)
    for group in optimizer.param_groups:
        assert (group["lr"], group["weight_decay"], group["momentum"]) == (0.02, 1e-4, 0)


def test_tables_have_their_own_learning_rate():
    moved = {}
    for table_lr in (None, 2.0):
        model = classifier(features="MEL", table_lr=table_lr).double()
        before = {n: p.detach().clone() for n, p in model.net.named_parameters()}
        words = {"MEL": torch.arange(16)[None]}
        torch.nn.functional.cross_entropy(model.net(words), torch.tensor([3])).backward()
        model.configure_optimizers().step()
        moved[table_lr] = {n: p.detach() - before[n] for n, p in model.net.named_parameters()}
    for name, step in moved[None].items():
        factor = 100 if name.startswith("tables.") else 1
        torch.testing.assert_close(moved[2.0][name], factor * step)
    assert moved[2.0]["tables.MEL.weight"].abs().max() > 1e-4


@pytest.mark.parametrize("layers", [1, 2])
def test_logits_do_not_depend_on_longer_songs_in_the_batch(layers):
    model, words = net(layers=layers), songs(9, 30, 2)
    together = model(words, torch.tensor([9, 30, 2]))
    for row, length in enumerate((9, 30, 2)):
        alone = model({name: w[row : row + 1, :length] for name, w in words.items()})
        torch.testing.assert_close(together[row : row + 1], alone)


def test_convolutions_see_neighbouring_words():
    """With a kernel that copies its middle word, pooling sees the vectors of the words."""
    model, words = net(units=10, k=3), songs(8)
    with torch.no_grad():
        model.convs[0].weight.zero_()
        model.convs[0].weight[:, :, 2] = torch.eye(10)
        model.convs[0].bias.zero_()
    vectors = torch.cat([model.tables[n].weight[w] for n, w in words.items()], 2)[0].T
    largest = vectors.topk(3).indices.sort().values
    expected = model.hidden(vectors.gather(1, largest).flatten()[None]).sigmoid()
    torch.testing.assert_close(model.features(words), expected)


def test_padding_does_not_change_gradients():
    words, lengths = songs(9, 30), (9, 30)
    model = net()
    model(words, torch.tensor(lengths)).square().sum().backward()
    together = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    for row, length in enumerate(lengths):
        model({n: w[row : row + 1, :length] for n, w in words.items()}).square().sum().backward()
    for expected, parameter in zip(together, model.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, expected, rtol=1e-4, atol=1e-6)


def test_frozen_tables_stay_the_centres(tones, tmp_path):
    for learned in (False, True):
        model = classifier(learn_tables=learned)
        trainer(tmp_path, enable_checkpointing=False).fit(model, data(tones))
        for name, table in model.net.tables.items():
            assert torch.equal(table.weight, model.words.centres(name)) is not learned
        assert not model.untrained


@pytest.mark.parametrize("features", ["MEL", "ALL"])
def test_training_learns_genres(tones, tmp_path, features):
    """With the paper's gradient descent, starting from the centres."""
    fit = trainer(tmp_path, max_epochs=5, enable_checkpointing=False)
    fit.fit(classifier(features=features), data(tones, batch_size=2))
    assert fit.callback_metrics["val/track_accuracy"] > 0.6


def test_checkpoint_takes_raw_audio_and_keeps_its_codebooks(tones, tmp_path):
    model = classifier(codebook_seed=3)
    fit = trainer(tmp_path)
    fit.fit(model, data(tones))
    path = fit.checkpoint_callback.best_model_path
    loaded = checkpoint.load(path)
    audio = torch.randn(3, 9000) / 10
    length = torch.tensor([9000, 5000, 300])
    assert torch.equal(loaded(audio, length), model.eval()(audio, length))
    features = loaded.features(audio, length)
    assert features["hidden"].shape == (3, 300)
    torch.testing.assert_close(loaded.net.head(features["hidden"]), loaded(audio, length))

    # Resumed on other data, the codebooks stay.
    resumed = classifier()
    trainer(tmp_path, max_epochs=2).fit(resumed, data(tones, seed=1), ckpt_path=path)
    assert torch.equal(resumed.words.centres("MEL"), loaded.words.centres("MEL"))


def test_padding_of_the_audio_is_ignored(tones, tmp_path):
    model = classifier()
    trainer(tmp_path, enable_checkpointing=False).fit(model, data(tones))
    model.eval()
    audio = torch.randn(2, 9000) / 10
    padded = torch.nn.functional.pad(audio, (0, 4000))
    length = torch.tensor([9000, 9000])
    torch.testing.assert_close(model(padded, length), model(audio))


def test_words_are_computed_once_per_fit(tones, tmp_path, monkeypatch):
    """Training on cached words gives the same result as on audio."""
    counts, models = [], []
    for budget in (2**20, 0):
        monkeypatch.setattr("mgc.models.kcnn.SegmentCache", partial(SegmentCache, budget))
        model, calls = classifier(), []
        model.words.segments.bands.register_forward_pre_hook(
            lambda *_, calls=calls: calls.append(1)
        )
        module = data(tones)
        fit = trainer(tmp_path, max_epochs=3, enable_checkpointing=False, num_sanity_val_steps=0)
        fit.fit(model, module)
        assert model.cache is None
        counts.append(len(calls))
        models.append(model)
    tracks = [
        len(loader.dataset) for loader in (module.train_dataloader(), module.val_dataloader())
    ]
    sampling = len(module.train_dataloader())
    assert counts == [sampling + sum(tracks), sampling + 3 * sum(tracks)]
    for name, value in models[0].state_dict().items():
        torch.testing.assert_close(value, models[1].state_dict()[name], msg=name)


class Sampling(KCNNClassifier):
    """Stores the sample on which its codebooks are fitted."""

    def on_fit_start(self):
        self.sample = sample_training_segments(self, self.words.segments, self.sample_size)
        super().on_fit_start()


def test_codebooks_see_training_tracks_only(tones, tmp_path):
    """At least one segment of every training track, none of other tracks."""
    model = Sampling("SFM", 16, 2, num_classes=10, sample_rate=8000, vectors_per_word=1000)
    module = data(tones)
    trainer(tmp_path, max_steps=1, limit_val_batches=0, enable_checkpointing=False).fit(
        model, module
    )
    sample = model.sample["SFM"]
    expected = []
    for batch in module.train_dataloader():
        expected.append(model.words.segments.join(batch["audio"])["SFM"].flatten(0, 1))
    expected = torch.cat(expected)
    assert sample.shape == expected.shape
    torch.testing.assert_close(sample.sum(1).sort().values, expected.sum(1).sort().values)


def test_two_devices_share_the_codebook_of_one(tones, tmp_path):
    """Each device samples half of the tracks; 80 tracks on 3 devices would repeat one."""
    settings = {"limit_val_batches": 0, "max_steps": 1}
    alone = classifier(vectors_per_word=8)
    trainer(tmp_path, enable_checkpointing=False, **settings).fit(alone, data(tones))
    several = classifier(vectors_per_word=8)
    fit = trainer(tmp_path, devices=2, strategy="ddp_fork", **settings)
    fit.fit(several, data(tones))
    loaded = checkpoint.load(next(tmp_path.rglob("*.ckpt")))
    for name in ("MEL", "SFM", "SCF"):
        expected = alone.words.centres(name)
        torch.testing.assert_close(loaded.words.centres(name), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"features": "mel"}, "choose one of MEL, SFM, SCF, ALL"),
        ({"window": 4}, "window=4: must be .*, odd"),
        ({"k": 0}, "k=0: must be a whole number from 1"),
        ({"vectors_per_word": 0}, "vectors_per_word=0"),
        ({"weight_decay": -1e-4}, "weight_decay=-0.0001: must be a number from 0"),
        ({"table_lr": -2.0}, r"table_lr=-2\.0: must be a number from 0"),
    ],
)
def test_invalid_settings_raise(settings, match):
    with pytest.raises(MgcError, match=match):
        classifier(**settings)


def test_table_lr_with_an_optimizer_section_raises(tones, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = f"fit --config {CONFIGS / 'kcnn_gtzan.yaml'} --data.root {tones}"
    words += " --model.table_lr 2 --optimizer AdamW --data.split stratified --data.num_workers 0"
    words += " --trainer.logger=false --trainer.accelerator=cpu"
    with pytest.raises(MgcError, match=r"table_lr=2\.0 is ignored with an optimizer section"):
        cli.main(words.split())


def test_too_few_tracks_for_the_codebook_raise(tones, tmp_path):
    with pytest.raises(MgcError, match=r"vectors are too few for 5000 audio words"):
        trainer(tmp_path).fit(classifier(codebook_size=5000), data(tones))


def test_a_trainer_without_a_data_module_raises(tones, tmp_path):
    module = data(tones)
    module.setup("fit")
    with pytest.raises(MgcError, match="Pass a data module to the trainer"):
        trainer(tmp_path).fit(classifier(), module.train_dataloader())
