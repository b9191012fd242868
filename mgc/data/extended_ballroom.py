"""Extended Ballroom."""

# The catalogue is a local file, and expat limits the expansion of entities.
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from mgc.data import audio
from mgc.data.base import AudioDataModule
from mgc.data.verification import Problem, Progress, verify_checksums
from mgc.errors import MgcError

#: Number of clips of each dance in version 1.1.
COUNTS = {
    "Chacha": 455,
    "Foxtrot": 507,
    "Jive": 350,
    "Pasodoble": 53,
    "Quickstep": 497,
    "Rumba": 470,
    "Salsa": 47,
    "Samba": 468,
    "Slowwaltz": 65,
    "Tango": 464,
    "Viennesewaltz": 252,
    "Waltz": 529,
    "Wcswing": 23,
}

#: Types of links between songs: same recording, cover version, changed tempo, karaoke version.
LINK_TYPES = ("exact", "version", "time", "karaoke")


class ExtendedBallroom(AudioDataModule):
    """Extended Ballroom: 4180 clips of 30 s in 13 ballroom dances, MP3.

    Marchand and Peeters, "The Extended Ballroom dataset", ISMIR late-breaking session, 2016, and
    "Scale and shift invariant time/frequency representation using auditory statistics: application
    to rhythm description", MLSP 2016. The clips are commercial previews without a licence; a script
    published with the catalogue at anasynth.ircam.fr downloads them from a shop. The folder
    contains ``extendedballroom_v1.1.xml`` and ``<dance>/<id>.mp3``.

    The catalogue links repetitions, which form 3727 groups of songs. Three pairs without a link
    have the same MD5, so there are 3724 groups.

    Args:
        split: ``fold`` (one of ten, stratified) and ``stratified`` (80/10/10 %) keep a group in one
            split. ``fold_ungrouped`` does not, as in Choi, Fazekas, Sandler and Cho, ISMIR 2017,
            and other papers, so a recording can be in training and test.
    """

    labels = tuple(COUNTS)
    splits = ("fold", "stratified", "fold_ungrouped")
    expected_seconds = (20.0, 40.0)
    expected_files: ClassVar[dict[str, dict[Any, int]]] = {"label": COUNTS}

    def __init__(
        self, root: str = "data/extended_ballroom", split: str = "fold", **kwargs: Any
    ) -> None:
        super().__init__(root, split=split, **kwargs)

    def read_catalogue(self) -> pd.DataFrame:
        """Read the songs of all dances, and add ``md5`` (of the file), ``artist`` and ``bpm``."""
        path = self._catalogue_path()
        try:
            dances = ET.parse(path).getroot()  # noqa: S314
        except (ET.ParseError, OSError) as error:
            raise MgcError(f"{path}: unreadable ({error}). Copy it again.") from error
        rows, links = [], []
        for dance in dances:
            if dance.tag not in COUNTS:
                raise MgcError(f"{path}: unknown dance {dance.tag!r}.")
            for song in dance.iter("song"):
                track = song.get("id")
                if not track:
                    raise MgcError(f"{path}: a song in {dance.tag} has no id. Copy it again.")
                rows.append(
                    {
                        "track": track,
                        "label": dance.tag,
                        "path": str(self.root / dance.tag / f"{track}.mp3"),
                        "md5": song.get("hash", ""),
                        "artist": song.get("artist", ""),
                        "bpm": song.get("bpm", ""),
                    }
                )
                # Links without an id are ignored below, as are links to missing songs.
                links += [(track, link.get("id", "")) for link in song if link.tag in LINK_TYPES]
        catalogue = pd.DataFrame(
            rows, columns=["track", "label", "path", "md5", "artist", "bpm"], dtype=str
        )
        hashed = catalogue[catalogue["md5"] != ""]
        first = hashed.groupby("md5")["track"].transform("first")
        links += zip(hashed["track"], first, strict=True)
        catalogue["group"] = _find_groups(catalogue["track"].tolist(), links)
        return catalogue

    def verify(self, progress: Progress = iter) -> list[Problem]:
        """Check all files, including their MD5 checksums in the catalogue."""
        catalogue = self.load_catalogue()
        checksums = dict(zip(catalogue["track"], catalogue["md5"], strict=True))
        return super().verify(progress) + verify_checksums(catalogue, checksums)

    def _catalogue_path(self) -> Path:
        files = audio.find_files(self.root, (".xml",))
        paths = [path for path in files if path.name.lower().startswith("extendedballroom")]
        if not paths:
            raise MgcError(
                f"{self.root}: no extendedballroom_v1.1.xml. Set data.root to the folder with "
                "the catalogue and the folders of the dances."
            )
        return paths[-1]


def _find_groups(tracks: list[str], links: list[tuple[str, str]]) -> list[str]:
    """Return the group of each track, named after the first of all tracks linked with it."""
    index = {track: i for i, track in enumerate(tracks)}
    # Some links point to songs that the catalogue no longer lists.
    pairs = np.array([(index[a], index[b]) for a, b in links if b in index], dtype=np.int64)
    pairs = pairs.reshape(-1, 2)
    graph = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(len(tracks),) * 2)
    _, component = connected_components(graph, directed=False)
    _, first = np.unique(component, return_index=True)
    return [tracks[i] for i in first[component]]
