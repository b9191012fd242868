"""Separates audio files of any length into harmonic and percussive parts, in bounded memory."""

import logging
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import soundfile
import torch
from torch import Tensor

from mgc.core.fingerprint import Check, Record
from mgc.core.writing import replacing
from mgc.data import audio
from mgc.features.separation import HarmonicPercussive, check_overlap, separate_audio

log = logging.getLogger(__name__)

#: Length of a part in seconds.
PART_SECONDS = 60

#: Length of the chunks before the samples.
HEADER_BYTES = 256


class SongSeparation:
    """Separates songs of any length into harmonic and percussive parts, one part at a time.

    Each part is read with enough context that its components equal those of the complete song, up
    to rounding.
    """

    def __init__(
        self, separation: HarmonicPercussive, n_fft: int, hop_length: int, device: str
    ) -> None:
        check_overlap(n_fft, hop_length)
        self.separation, self.n_fft, self.hop_length = separation, n_fft, hop_length
        self.device = device
        names = (
            "harmonic_length", "percussive_length", "power", "margin_harmonic", "margin_percussive",
        )  # fmt: skip
        self.settings = {name: getattr(separation, name) for name in names}
        self.settings |= {"n_fft": n_fft, "hop_length": hop_length}
        # The ends of a part affect the frames near them, then the frames inside the median filter,
        # then the samples of these frames.
        self.margin = (separation.harmonic_length // 2 + 2 * -(-n_fft // hop_length)) * hop_length

    def __call__(self, path: Path, info: audio.AudioInfo) -> Iterator[list[np.ndarray]]:
        """Yield the harmonic, percussive and residual waveform (samples, channels) of each part.

        Raises:
            AudioError: If the file is broken.
        """
        length = max(1, PART_SECONDS * info.sample_rate // self.hop_length) * self.hop_length
        for start in range(0, info.frames, length):
            first = max(0, start - self.margin)
            samples = start + length + self.margin - first
            components = separate_audio(
                self._read(path, info, first, samples),
                self.separation,
                self.n_fft,
                self.hop_length,
            )
            inner = slice(start - first, start - first + length)
            yield [component[:, inner].T.cpu().numpy() for component in components]

    def _read(self, path: Path, info: audio.AudioInfo, first: int, samples: int) -> Tensor:
        channels = [
            audio.read(path, info.sample_rate, first, samples, channel)
            for channel in range(info.channels)
        ]
        return torch.from_numpy(np.stack(channels)).to(self.device)


def update_components(
    song: Path,
    target: Path,
    separate_song: SongSeparation,
    check: Check = "sampled",
    overwrite: bool = False,
) -> bool:
    """Write the components of a song, unless they are up to date, and return whether it did.

    Args:
        song: Audio file.
        target: Path of the components without ``.harmonic.wav`` and so on.
        separate_song: Separation with its settings.
        check: How to compare files (see :mod:`mgc.core.fingerprint`).
        overwrite: Whether to write all components.

    Raises:
        MgcError: If the song is broken, or a component exists that was not written by mgc.
    """
    names = ["harmonic", "percussive"] + ["residual"] * separate_song.separation.has_residual
    targets = [target.with_name(f"{target.name}.{name}.wav") for name in names]
    record = Record(target, targets, separate_song.settings, {"song": song}, check)
    if not overwrite:
        change = record.find_change()
        if not change:
            return False
        if any(path.exists() for path in targets):
            log.info("%s: separated again, because %s.", target, change)
    info = audio.probe(song)
    with record.writing():
        separate_file(song, info, targets, separate_song)
    return True


def separate_file(
    song: Path, info: audio.AudioInfo, targets: list[Path], separate_song: SongSeparation
) -> None:
    """Write the components of a song, all or none."""
    # WAV headers cannot store lengths of 4 GiB or more.
    large = info.frames * info.channels * 4 >= 2**32 - 2**16
    audio_format = "RF64" if large else "WAV"
    with ExitStack() as outputs:
        partials = [outputs.enter_context(replacing(target)) for target in targets]
        with ExitStack() as stack:
            opened = [
                stack.enter_context(
                    soundfile.SoundFile(
                        partial, "w", info.sample_rate, info.channels, "FLOAT", format=audio_format
                    )
                )
                for partial in partials
            ]
            for components in separate_song(song, info):
                for file, component in zip(opened, components, strict=False):
                    file.write(component)
        for partial in partials:
            _clear_time(partial)


def _clear_time(path: Path) -> None:
    """Clear the time that libsndfile writes into the PEAK chunk, so that files are reproducible."""
    with path.open("r+b") as file:
        chunk = file.read(HEADER_BYTES).find(b"PEAK")
        if chunk >= 0:
            file.seek(chunk + 12)  # after name, size and version
            file.write(bytes(4))
