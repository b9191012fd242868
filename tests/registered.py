"""Settings that make registered models and datasets small for the checks of mgc.testing.

Every registered model and dataset is checked. Add an entry if it needs other settings.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import layouts
import torch
from generate_msd import generate_msd

from mgc.data.gtzan import GENRES as GTZAN_GENRES
from mgc.data.msd import MSDKey
from mgc.testing import MODEL_CHECKS
from mgc.testing.models import check_features, check_two_processes


def beats(items: int) -> dict[str, torch.Tensor]:
    """Generate chroma and timbre of tracks of different lengths."""
    generator = torch.Generator().manual_seed(0)
    chroma, timbre = torch.randn(2, items, 40, 12, generator=generator)
    return {"chroma": chroma, "timbre": timbre, "length": torch.arange(items) % 20 + 21}


#: Arguments of ModelCase, and ``checks`` if not all apply.
MODELS: dict[str, dict[str, Any]] = {
    "beat_logistic": {
        "settings": {"window_beats": 8, "lr": 0.1},
        "tasks": ("multiclass",),
        "inputs": beats,
    },
    "conv_dbn": {
        "settings": {"maps": 4, "width": 4, "joint_width": 2, "pooling": 2, "lr": 1.0},
        "tasks": ("multiclass",),
        "inputs": beats,
        "learns_in": 150,
    },
    "conv_dbn_pretrain": {
        "settings": {"maps": 4, "width": 4, "joint_width": 2, "pooling": 2},
        "inputs": beats,
        "checks": [check_two_processes],  # no scores without labels
    },
    "kcnn": {
        "settings": {
            "codebook_size": 8,
            "units": 8,
            "hidden": 8,
            "vectors_per_word": 16,
            "lr": 1.0,
        },
        "fit_first": True,  # the codebooks
    },
    "mfcc": {"checks": [check_features]},  # not trained
    "naive_bayes": {
        "settings": {"window_beats": 8},
        "tasks": ("multiclass",),
        "inputs": beats,
        "fit_first": True,
        # Its loss does not decrease: training only sums statistics.
        "checks": [check for check in MODEL_CHECKS if check.__name__ != "check_learns"],
    },
    "residual_map_net": {"settings": {"filters": 8, "lr": 0.01}},
    "timm_finetune": {
        "settings": {
            "backbone": "test_resnet",
            "pretrained": False,
            "tune": "all",
            "image_size": 32,
            "n_fft": 256,
            "hop_length": 128,
            "lr": 0.01,
        },
    },
    "vgg_tagger": {"settings": {"channels": 4, "n_mels": 24, "lr": 0.01}},
}


def write_msd(root: Path) -> None:
    generate_msd(root, artists=20, beats=24, previews=40)
    MSDKey(str(root)).pack()


def write_gtzan(root: Path) -> None:
    """Write four tracks per genre, including one of a pair of duplicates."""
    for number, genre in enumerate(GTZAN_GENRES):
        for track in (0, 1, 98, 99):
            path = root / "genres" / genre / f"{genre}.{track:05}.wav"
            layouts.write_tone(path, 200 + 50 * number)


MSD = {"writer": write_msd}

#: Arguments of DataCase, and the function that writes a tiny copy (default:
#: ``layouts.write_<name>``).
DATA: dict[str, dict[str, Any]] = {
    "emomusic": {"settings": {"first_seconds": 1.2}},
    "folder": {"settings": {"labels": ["jazz", "rock"]}, "splits": ("stratified", "fold")},
    "gtzan": {"writer": write_gtzan, "splits": ("stratified", "fold")},
    "msd_artist": MSD | {"settings": {"artists": 10, "tracks_per_class": 10}},
    "msd_genre": MSD | {"settings": {"tracks_per_class": 10}},
    "msd_key": MSD | {"settings": {"tracks_per_class": 10}},
    "msd_tagging": MSD,
    "msd_unlabelled": MSD
    | {
        "settings": {"genre_tracks": 10, "artists": 10, "artist_tracks": 10, "key_tracks": 10},
    },
}


def writer(name: str) -> Callable[[Path], None]:
    """Return the function that writes a tiny copy of a dataset."""
    write = DATA.get(name, {}).get("writer") or getattr(layouts, f"write_{name}", None)
    assert write, f"Define write_{name} in tests/data/layouts.py, or its writer in {__file__}"
    return write
