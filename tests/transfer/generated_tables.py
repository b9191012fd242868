"""Small generated feature tables."""

import numpy as np
import pandas as pd

from mgc.transfer.feature_table import FeatureTable


def tracks_table(count, **columns):
    table = pd.DataFrame({"track": [f"t{i:03d}" for i in range(count)]})
    for name in ("group", "split", "fold"):
        table[name] = columns.pop(name, None)
    return table.assign(**columns)


def genre_table(
    count=60, classes=3, layers=("block1", "block2", "mfcc"), width=4, seed=0, **columns
):
    """Classes that every layer separates a little."""
    random = np.random.default_rng(seed)
    labels = tuple("abcdefgh"[:classes])
    index = np.arange(count) * classes // count
    table = tracks_table(count, label=[labels[i] for i in index], **columns)
    features = {
        name: (
            random.normal(size=(classes, width))[index] + random.normal(size=(count, width))
        ).astype(np.float32)
        * (10 if name == "mfcc" else 1)
        for name in layers
    }
    return FeatureTable(table, features, "multiclass", labels, {"model": "generated"})


def mood_table(count=60, layers=("block1", "block2"), width=4, seed=0):
    """Two quantities that depend on the features."""
    random = np.random.default_rng(seed)
    features = {name: random.normal(size=(count, width)).astype(np.float32) for name in layers}
    everything = np.concatenate(list(features.values()), axis=1)
    values = everything @ random.normal(size=(everything.shape[1], 2)) / 4
    values += 0.2 * random.normal(size=values.shape)
    table = tracks_table(count, **{"target.arousal": values[:, 0], "target.valence": values[:, 1]})
    return FeatureTable(table, features, "regression", ("arousal", "valence"))


def tag_table(count=60, seed=0):
    """Three tags. No track has the third one."""
    random = np.random.default_rng(seed)
    features = random.normal(size=(count, 4)).astype(np.float32)
    tags = {
        "target.slow": (features[:, 0] > 0).astype(int),
        "target.loud": (features[:, 1] + random.normal(size=count) > 0).astype(int),
        "target.never": np.zeros(count, int),
    }
    return FeatureTable(
        tracks_table(count, **tags),
        {"embedding": features},
        "multilabel",
        ("slow", "loud", "never"),
    )
