"""Run each shipped configuration for one step on generated data.

Those of ``CASES`` run in ``data/test_audio_data_sets.py``.
"""

from pathlib import Path

import pytest
import registered
import yaml
from generate_msd import generate_msd
from layouts import write_ismir2004
from test_audio_data_sets import CASES

from mgc import checkpoint
from mgc.cli import main
from mgc.data.msd import MSDKey

CONFIGS = Path(__file__).parents[1] / "configs"

RUN_ELSEWHERE = {f"vgg_{name}.yaml" for name in CASES}

#: Fixture of each dataset, and options that select few tracks. The default is a copy by its writer
#: in ``registered.py``.
DATA = {
    "gtzan": ("tones", "--data.split stratified"),
    "ismir2004": ("ismir2004", ""),
    "msd_genre": ("msd", "--data.tracks_per_class 10"),
    "msd_artist": ("msd", "--data.artists 10 --data.tracks_per_class 10"),
    "msd_key": ("msd", "--data.tracks_per_class 10"),
    "msd_tagging": ("msd", ""),
    "msd_unlabelled": (
        "msd",
        "--data.genre_tracks 0 --data.artist_tracks 0 --data.key_tracks 10",
    ),
}

#: Options that make networks small.
MODELS = {
    "vgg_tagger": "--model.channels 4",
    "kcnn": "--model.codebook_size 8 --model.units 8 --model.segment_frames 2",
    "residual_map_net": "--model.filters 8",
    "timm_finetune": "--model.backbone test_resnet --model.pretrained false",
    "conv_dbn": "--model.maps 4",
    "conv_dbn_pretrain": "--model.maps 4",
}

#: Options that run one batch of two clips.
TINY = (
    "--data.batch_size 2 --data.num_workers 0 --trainer.max_epochs 1 --trainer.logger false "
    "--trainer.limit_train_batches 1 --trainer.limit_val_batches 1 --trainer.accelerator cpu"
)

#: Metric that chooses the best checkpoint, if not ``val/track_accuracy``.
MONITORS = {
    "residual_map_music_gtzan": "val/track_accuracy_vote",
    "residual_map_stft_gtzan": "val/track_accuracy_vote",
    "vgg_tagging": "val/track_auroc",
    "conv_dbn_pretrain": None,
}


@pytest.fixture(scope="module")
def msd(tmp_path_factory):
    root = tmp_path_factory.mktemp("msd")
    generate_msd(root, artists=20, beats=24, previews=40)
    MSDKey(str(root)).pack()
    return root


@pytest.fixture(scope="module")
def ismir2004(tmp_path_factory):
    root = tmp_path_factory.mktemp("ismir2004")
    write_ismir2004(root)
    return root


def run_here():
    return [path for path in sorted(CONFIGS.glob("*.yaml")) if path.name not in RUN_ELSEWHERE]


def test_every_configuration_is_run():
    here = {path.name for path in run_here()}
    assert here | RUN_ELSEWHERE == {path.name for path in CONFIGS.glob("*.yaml")}
    assert here


def monitors(workdir):
    """Return the metrics that choose checkpoints of the only run."""
    (last,) = workdir.rglob("last.ckpt")
    callbacks = checkpoint.read(last)["callbacks"]
    return {s["monitor"] for name, s in callbacks.items() if name.startswith("ModelCheckpoint")}


@pytest.mark.parametrize("config", run_here(), ids=lambda path: path.stem)
def test_configuration_trains(config, request, workdir):
    settings = yaml.safe_load(config.read_text())
    name = settings["data"]["class_path"]
    fixture, selection = DATA.get(name, ("", ""))
    root = request.getfixturevalue(fixture) if fixture else workdir / "data"
    if not fixture:
        registered.writer(name)(root)
    words = f"fit --config {config.stem} --data.root {root} {selection}"
    words += f" {MODELS.get(settings['model']['class_path'], '')}"
    main(words.split() + TINY.split())
    monitor = MONITORS.get(config.stem, "val/track_accuracy")
    assert monitors(workdir) == {monitor}
    assert len(list(workdir.rglob("best.ckpt"))) == bool(monitor)


def test_monitor_follows_the_task(tones, workdir):
    paths = sorted(path.relative_to(tones) for path in tones.rglob("*.wav"))
    rows = [f"{path},{path.parent.name}|{path.stem[-1]}" for path in paths]
    table = workdir / "tracks.csv"
    table.write_text("\n".join(["path,label", *rows]))
    words = f"fit --config vgg_folder --data.root {tones} --data.table {table}"
    main(f"{words} --data.task multilabel --model.channels 4 {TINY}".split())
    assert monitors(workdir) == {"val/track_auroc"}
