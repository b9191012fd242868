"""Every configuration trains for a step, found by its name, on generated data in the layout of the
real set.

Those named after an audio data set are run with it, in ``data/test_audio_data_sets.py``.
"""

from pathlib import Path

import pytest
import yaml
from generate_msd import generate_msd
from layouts import write_ismir2004
from test_audio_data_sets import CASES

from mgc.cli import main
from mgc.data.msd import MSDKey

CONFIGS = Path(__file__).parents[1] / "configs"

RUN_ELSEWHERE = {f"vgg_{name}.yaml" for name in CASES}

#: Source of each data set, and options that make its selection small.
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

#: Options that make large networks small.
MODELS = {
    "vgg_tagger": "--model.channels 4",
    "kcnn": "--model.codebook_size 8 --model.units 8 --model.segment_frames 2",
    "residual_map_net": "--model.filters 8",
    "timm_finetune": "--model.backbone test_resnet --model.pretrained false",
    "conv_dbn": "--model.maps 4",
    "conv_dbn_pretrain": "--model.maps 4",
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


def test_all_configurations_are_tested():
    here = {path.name for path in run_here()}
    assert here | RUN_ELSEWHERE == {path.name for path in CONFIGS.glob("*.yaml")}
    assert here


@pytest.mark.parametrize("config", run_here(), ids=lambda path: path.stem)
def test_configuration_trains(config, request, workdir):
    settings = yaml.safe_load(config.read_text())
    fixture, selection = DATA[settings["data"]["class_path"]]
    words = f"fit --config {config.stem} --data.root {request.getfixturevalue(fixture)} {selection}"
    words += f" {MODELS.get(settings['model']['class_path'], '')}"
    words += " --data.batch_size 2 --data.num_workers 0 --trainer.max_epochs 1"
    words += " --trainer.limit_train_batches 1 --trainer.limit_val_batches 1"
    words += " --trainer.logger false --trainer.accelerator cpu"
    main(words.split())
    # Data without labels has no metric to monitor.
    unlabelled = settings["data"]["class_path"] == "msd_unlabelled"
    assert unlabelled or list(workdir.rglob("best.ckpt"))
    assert list(workdir.rglob("last.ckpt"))
