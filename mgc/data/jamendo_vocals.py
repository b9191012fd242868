"""Jamendo corpus for singing voice detection."""

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from mgc.data import audio
from mgc.data.base import AudioDataModule
from mgc.data.splits import TEST, TRAIN, VAL
from mgc.errors import MgcError

#: Split of each set of the corpus.
SETS = {"train": TRAIN, "valid": VAL, "test": TEST}


class JamendoVocals(AudioDataModule):
    """Jamendo singing voice corpus: 93 songs, cut into segments with or without singing.

    Ramona, Richard and David, "Vocal detection in music with support vector machines", ICASSP 2008.
    The songs are from jamendo.com under Creative Commons licences; OGG and MP3, 44 100 Hz. Source:
    mathieuramona.com (jam_train_audio, jam_valid_audio, jam_test_audio, jam_annote) or Zenodo. The
    folder contains the songs in ``train/`` (61), ``valid/`` (16) and ``test/`` (16), and their
    annotations in ``jamendo_lab/<song>.lab``, with a line per segment: begin and end in seconds,
    and ``sing`` or ``nosing``. If all songs are in one folder, the lists ``jam_train_list.txt``,
    ``jam_valid_list.txt`` and ``jam_test_list.txt`` assign them to the sets.

    A track is a segment; Choi, Fazekas, Sandler and Cho, ISMIR 2017, count 4086. A group is a song.

    Args:
        split: ``given``, the corpus's own sets.
    """

    labels = ("nosing", "sing")
    splits = ("given",)
    given_splits = ("given",)
    expected_files: ClassVar[dict[str, dict[Any, int]]] = {
        "set": {"train": 61, "valid": 16, "test": 16}
    }

    def __init__(
        self, root: str = "data/jamendo_vocals", split: str = "given", **kwargs: Any
    ) -> None:
        super().__init__(root, split=split, **kwargs)

    def read_catalogue(self) -> pd.DataFrame:
        """Read the annotations of all songs, and add the column ``set``."""
        annotations = {path.stem: path for path in audio.find_files(self.root, (".lab",))}
        sets = self._read_lists()
        rows = []
        for path in audio.find_files(self.root):
            song = path.stem
            name = sets.get(song, path.parent.name.lower())
            if name not in SETS:
                raise MgcError(
                    f"{path}: neither in a folder train, valid or test nor in a list such as "
                    "jam_train_list.txt."
                )
            if song not in annotations:
                raise MgcError(f"{path}: no annotation {song}.lab. Add it or remove the song.")
            for number, (begin, end, label) in enumerate(_read_annotation(annotations[song])):
                rows.append(
                    {
                        "track": f"{name}/{song}_{number}",
                        "group": song,
                        "label": label,
                        "set": name,
                        "path": str(path),
                        "begin": begin,
                        "end": end,
                    }
                )
        columns = ["track", "group", "label", "set", "path", "begin", "end"]
        return pd.DataFrame(rows, columns=columns)

    def assign_split(self, catalogue: pd.DataFrame) -> np.ndarray:
        """Return the corpus's own sets."""
        return catalogue["set"].map(SETS).to_numpy(str)

    def _read_lists(self) -> dict[str, str]:
        """Return the set of each listed song."""
        sets = {}
        for name in SETS:
            for path in audio.find_files(self.root, (f"jam_{name}_list.txt",)):
                lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
                # The lists name the annotations of the first release (.trs).
                sets.update({line.strip().removesuffix(".trs"): name for line in lines})
        return sets


def _read_annotation(path: Path) -> list[tuple[float, float, str]]:
    """Return begin and end in seconds, and the label of each segment."""
    segments = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            begin, end, label = line.split()
            segments.append((float(begin), float(end), label))
        except ValueError as error:
            raise MgcError(
                f"{path}: line {number} must be 'begin end label' in seconds: {line!r}."
            ) from error
        if label not in JamendoVocals.labels:
            raise MgcError(f"{path}: line {number}: unknown label {label!r}. Use sing or nosing.")
    return segments
