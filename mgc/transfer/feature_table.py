"""Feature tables: the files that ``mgc extract`` writes and ``mgc transfer`` reads.

A table is a Parquet file with a row per track, or per clip with ``--per_clip``. Columns:

* ``track``: identifier, unique in the dataset
* ``clip`` and ``start`` (seconds): only in tables with a row per clip
* ``group``: tracks of one group (duplicates, artist) must not be divided by a split
* ``split``: ``train``, ``val`` or ``test`` if the dataset defines a split, else null
* ``fold``: number of the fold if the dataset defines folds, else null
* ``label``: name of the class (multiclass), or one column ``target.<name>`` per tag
  (multilabel, 0 or 1) or per quantity (regression); neither for audio files without labels
* ``<layer>.<i>``: value ``i`` of a layer

The file's metadata contains task, labels, width of each layer and source of the features, as JSON
under the key ``mgc``.
"""

import html
import os
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from mgc.core.parquet import read_parquet, write_parquet
from mgc.errors import MgcError
from mgc.task import Task


@dataclass
class FeatureTable:
    """Features of all tracks of a dataset.

    Attributes:
        tracks: A row per track: ``track``, ``group``, ``split``, ``fold`` and the targets.
        layers: Features by layer, float32 of shape (tracks, width).
        task: Task of the targets.
        labels: Names of the classes, tags or quantities, in target order; empty without targets.
        source: Model, checkpoint, dataset, version of mgc and so on.
    """

    tracks: pd.DataFrame
    layers: dict[str, np.ndarray]
    task: Task
    labels: tuple[str, ...]
    source: dict[str, Any] = field(default_factory=dict)

    @property
    def targets(self) -> np.ndarray:
        """Class indices of shape (tracks,), or values of shape (tracks, labels).

        Raises:
            MgcError: If the tracks have no labels.
        """
        if not self.labels:
            raise MgcError(
                "The feature table has no labels. Extract the features of a labelled dataset: "
                "mgc extract FOLDER --data NAME."
            )
        if self.task == "multiclass":
            index = {label: i for i, label in enumerate(self.labels)}
            return self.tracks["label"].map(index).to_numpy(np.int64)
        columns = [f"target.{label}" for label in self.labels]
        return self.tracks[columns].to_numpy(np.float64)

    def to_pandas(self) -> pd.DataFrame:
        """Return tracks and features as one table, with columns ``<layer>.<i>``."""
        columns = [
            pd.DataFrame(
                values,
                index=self.tracks.index,
                columns=[f"{name}.{i}" for i in range(len(values.T))],
            )
            for name, values in self.layers.items()
        ]
        return pd.concat([self.tracks, *columns], axis=1)

    def _repr_html_(self) -> str:
        """Show the layers and the first tracks in a notebook."""
        layers = ", ".join(f"{name} ({len(values.T)})" for name, values in self.layers.items())
        return (
            f"<p>FeatureTable: {len(self.tracks)} rows, {self.task}, {len(self.labels)} labels; "
            f"layers: {html.escape(layers)}</p>{self.tracks.head(10).to_html()}"
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the table to a Parquet file."""
        meta = {
            "task": self.task,
            "labels": self.labels,
            "layers": {name: int(values.shape[1]) for name, values in self.layers.items()},
            "source": self.source,
        }
        frame = self.to_pandas()
        width = len(self.tracks.columns)
        target = pa.int8() if self.task == "multilabel" else pa.float64()
        types = dict.fromkeys((f"target.{label}" for label in self.labels), target)
        types |= dict.fromkeys(frame.columns[width:], pa.float32())
        write_parquet(frame, path, meta, types)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "FeatureTable":
        """Read a Parquet file written by ``mgc extract``.

        Raises:
            MgcError: If the file is missing or is not a feature table.
        """
        frame, meta = read_parquet(path)
        if "layers" not in meta:
            raise MgcError(f"{path} is not a feature table. Use a file written by mgc extract.")
        layers = {}
        for name, width in meta["layers"].items():
            columns = [f"{name}.{i}" for i in range(width)]
            layers[name] = frame[columns].to_numpy(np.float32)
            frame = frame.drop(columns=columns)
        return cls(frame, layers, meta["task"], tuple(meta["labels"]), meta["source"])
