"""Million Song Dataset: 50 Last.fm tags from audio previews."""

import logging
import re
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd

from mgc.core.hdf5 import describe_hdf5_error, open_hdf5
from mgc.core.ranges import Range, SampleRate, Seconds
from mgc.data import audio
from mgc.data.base import AudioDataModule
from mgc.data.file_names import find_name
from mgc.data.msd.beat_store import INDEX, BeatStore
from mgc.data.msd.catalogue import SPLIT_LISTS, TAGS, read_lastfm, read_track_list
from mgc.errors import MgcError

log = logging.getLogger(__name__)

# Previews are named by 7digital id (1/2/1234567.clip.mp3) or by track id, at any depth.
_PREVIEW = re.compile(r"(TR[A-Z0-9]{16}|\d+)(?:\.clip)?\.(?:mp3|wav|flac|ogg|au)", re.I)


class MSDTagging(AudioDataModule):
    """50 Last.fm tags from audio previews of at least 30 s, mono.

    Choi, Fazekas, Sandler and Cho, "Transfer learning for music classification and regression
    tasks" (ISMIR 2017). The folder contains

    * the split lists ``tagging_split_{train,valid,test}.txt`` (201 680, 12 634 and 28 540 track
      ids), in the folder itself or in ``labels/``
    * ``lastfm_tags.db``, or ``lastfm_train/`` and ``lastfm_test/`` with a JSON file per track
    * ``audio/`` with the previews at any depth, named by 7digital id (``1/2/1234567.clip.mp3``) or
      by track id (``TRABC….mp3``)
    * for names by 7digital id, a packed store of the track files in ``beats/``, or the dataset's
      ``msd_summary_file.h5``, to map the ids to tracks

    7digital no longer provides previews, and no copy is complete: tracks without a preview are
    counted and excluded. A track has a tag if its weight is greater than ``min_weight``, which is
    50 in the paper.

    Args:
        split: ``given``, the split of the lists.
        min_weight: Weight, 0 to 100, that a tag must exceed.
    """

    labels = TAGS
    task = "multilabel"
    splits = ("given",)
    given_splits = ("given",)

    def __init__(
        self,
        root: str = "data/msd",
        split: str = "given",
        min_weight: Annotated[float, Range(0, 100)] = 50.0,
        sample_rate: SampleRate = 12000,
        clip_seconds: Seconds = 29.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            root, split=split, sample_rate=sample_rate, clip_seconds=clip_seconds, **kwargs
        )
        self.min_weight = min_weight

    def read_catalogue(self) -> pd.DataFrame:
        """Read the split lists and the tags of all tracks with a preview."""
        listed = self._read_lists()
        listed["path"] = listed["track"].map(self._find_previews())
        tracks = listed.dropna(subset="path").reset_index(drop=True)
        missing = len(listed) - len(tracks)
        log.info("%d of %d tracks have no preview.", missing, len(listed))
        source = self._find_file("lastfm_tags.db") or self.root
        targets = read_lastfm(source, tracks["track"].tolist(), TAGS, self.min_weight)
        columns = pd.DataFrame(targets, columns=[f"target.{tag}" for tag in TAGS])
        return pd.concat([tracks.assign(group=tracks["track"]), columns], axis=1)

    def assign_split(self, catalogue: pd.DataFrame) -> np.ndarray:
        """Return the split whose list contains the track."""
        return catalogue["listed"].to_numpy(str)

    def expected_tracks(self) -> set[str]:
        """Return the tracks of all split lists."""
        return set(self._read_lists()["track"])

    def stray_files(self) -> list[Path]:
        """Return no files: previews of unlisted tracks are allowed."""
        return []

    def _read_lists(self) -> pd.DataFrame:
        lists = []
        for split, name in SPLIT_LISTS.items():
            path = self._find_file(name, f"labels/{name}")
            if path is None:
                raise MgcError(f"{self.root}: {name} not found in the folder or in labels/.")
            lists.append(pd.DataFrame({"track": read_track_list(path), "listed": split}))
        listed = pd.concat(lists, ignore_index=True)
        repeated = listed["track"][listed["track"].duplicated()]
        if len(repeated):
            raise MgcError(f"{self.root}: {repeated.iloc[0]} is in two of the split lists.")
        return listed

    def _find_previews(self) -> dict[str, str]:
        """Return the path of the preview of each track."""
        found: dict[str, str] = {}
        for path in audio.find_files(find_name(self.root, "audio")):
            match = _PREVIEW.fullmatch(path.name)
            if match:
                found[match[1].upper()] = str(path)
        if not found:
            raise MgcError(
                f"{self.root / 'audio'}: no previews found (1/2/1234567.clip.mp3 or TRABC….mp3)."
            )
        by_track = {name: path for name, path in found.items() if name.startswith("TR")}
        if len(by_track) < len(found):
            for track, number in self._read_7digital_ids():
                if str(number) in found:
                    by_track.setdefault(track, found[str(number)])
        return by_track

    def _read_7digital_ids(self) -> "zip[tuple[str, int]]":
        """Return track and 7digital id of each track of the dataset."""
        store, summary = self.root / "beats", self.root / "msd_summary_file.h5"
        if (store / INDEX).is_file():
            index = BeatStore(store).index(["track", "track_7digital"])
            return zip(index["track"], index["track_7digital"], strict=True)
        try:
            with open_hdf5(summary) as file:
                tracks = file["analysis/songs"].fields("track_id")[:]
                numbers = file["metadata/songs"].fields("track_7digitalid")[:]
        except FileNotFoundError:
            raise MgcError(
                f"{self.root}: previews are named by 7digital id, which requires a store in beats/ "
                "or msd_summary_file.h5. Add one of them."
            ) from None
        except (OSError, KeyError, ValueError) as error:
            reason = describe_hdf5_error(error) if isinstance(error, OSError) else error
            raise MgcError(f"{summary} is not a summary of the dataset: {reason}.") from error
        return zip((track.decode() for track in tracks), numbers.tolist(), strict=True)
