"""Generated features in the layout of those released with Choi et al. (2017)."""

from pathlib import Path

import numpy as np
import pandas as pd

from mgc.papers.choi2017.features import BLOCK_WIDTH, MFCC_WIDTH, RELEASED

#: Rows of the released lists: file, and the columns after it.
LISTS = {
    "extended_ballroom": ("ballroom/{}/1{:05}.mp3", ("Waltz", "Tango")),
    "gtzan": ("gtzan_genre/genres/{0}/{0}.{1:05}.au", ("blues", "rock")),
    "gtzan_speech_music": ("music_speech/{}_wav/voice{}.wav", ("music", "speech")),
    "emomusic": ("emoMusic45s/clips_45seconds/{}{}.mp3", ("1", "2")),
    "jamendo_vocals": ("train/{}/01 - Song_{}.wav", ("nosing", "sing")),
    "urbansound8k": ("fold{}/100032-3-0-{}.wav", ("1", "10")),
}


def write_release(folder: Path, task: str, tracks: int = 6, seed: int = 0) -> Path:
    """Write features that tell two classes apart, or follow two quantities."""
    random = np.random.default_rng(seed)
    pattern, classes = LISTS[task]
    index = np.arange(tracks) * 2 // tracks
    table = pd.DataFrame(
        {"id": "x", "filepath": [pattern.format(classes[c], i) for i, c in enumerate(index)]}
    )
    targets = index[:, None] + random.normal(0, 0.3, (tracks, 2))
    if task == "emomusic":
        table["label_arousal"], table["label_valence"] = targets.T
    else:
        table["label"] = index
    if task == "jamendo_vocals":
        table["category"] = np.array(["train", "valid", "test"])[np.arange(tracks) % 3]
    if task == "urbansound8k":
        table["fold"] = np.array([1, 10])[index]
    for name in ("features", "labels"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    released = RELEASED[task]
    table.to_csv(folder / "labels" / f"{released}.csv")
    widths = {f"layer_{i}": BLOCK_WIDTH for i in range(5)} | {"mfcc": MFCC_WIDTH}
    for name, width in widths.items():
        values = targets @ random.normal(size=(2, width)) + random.normal(size=(tracks, width))
        kind = float if name == "mfcc" else np.float32
        np.save(folder / "features" / f"{released}_{name}.npy", values.astype(kind))
    return folder
