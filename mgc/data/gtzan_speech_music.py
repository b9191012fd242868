"""GTZAN music/speech collection."""

from typing import Any, ClassVar

import pandas as pd

from mgc.data import audio
from mgc.data.base import AudioDataModule
from mgc.data.file_names import find_name
from mgc.errors import MgcError


class GTZANSpeechMusic(AudioDataModule):
    """GTZAN music/speech: 128 clips of 30 s, half music and half speech, 22 050 Hz mono.

    Tzanetakis and Cook, "Marsyas: a framework for audio analysis", Organised Sound 4(3), 2000. The
    collection has no licence; it was available as music_speech.tar.gz at marsyas.info. The folder
    contains ``music_wav/`` and ``speech_wav/`` with 64 WAV files each, or ``music_speech/`` with
    both.

    Files whose names differ only by a final number (``dialogue1``, ``dialogue2``) probably come
    from one recording and form a group.

    Args:
        split: ``fold`` (one of ten, stratified) and ``stratified`` (80/10/10 %) keep groups in one
            split; ``fold_ungrouped`` does not, as in Choi, Fazekas, Sandler and Cho, ISMIR 2017.
    """

    labels = ("music", "speech")
    splits = ("fold", "stratified", "fold_ungrouped")
    expected_seconds = (29.9, 30.7)
    expected_files: ClassVar[dict[str, dict[Any, int]]] = {"label": {"music": 64, "speech": 64}}

    def __init__(
        self, root: str = "data/gtzan_speech_music", split: str = "fold", **kwargs: Any
    ) -> None:
        super().__init__(root, split=split, **kwargs)

    def read_catalogue(self) -> pd.DataFrame:
        """Find the files of both folders."""
        folder = find_name(self.root, "music_speech")
        if not folder.is_dir():
            folder = self.root
        for label in self.labels:
            if not find_name(folder, f"{label}_wav").is_dir():
                raise MgcError(
                    f"{folder}: no folder {label}_wav. Set data.root to the folder with "
                    "music_wav/ and speech_wav/."
                )
        catalogue = pd.DataFrame(
            [
                {"track": f"{label}/{path.stem}", "label": label, "path": str(path)}
                for label in self.labels
                for path in audio.find_files(find_name(folder, f"{label}_wav"))
            ],
            columns=["track", "label", "path"],
        )
        catalogue["group"] = catalogue["track"].str.replace(r"\d+[a-z]?$", "", regex=True)
        return catalogue
