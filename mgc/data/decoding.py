"""Decodes audio files with exact lengths and sample-accurate excerpts.

Files are decoded with libsndfile or, if it does not support the format, with FFmpeg (PyAV). This
module works around wrong lengths and inexact seeks of libsndfile (see :mod:`mgc.data.mpeg` and
:mod:`mgc.data.ogg`).
"""

import io
import os
import re
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import soundfile

from mgc.core.memory import reuse_freed_memory
from mgc.data import mpeg
from mgc.data.ogg import OggStream, find_ogg_streams
from mgc.errors import MgcError
from mgc.installation import pip_install

reuse_freed_memory()

#: Extensions of files that libsndfile reads.
SUFFIXES = (
    *(".wav", ".flac", ".mp3", ".ogg", ".oga", ".opus", ".aif", ".aiff", ".aifc", ".au", ".snd"),
    *(".caf", ".w64", ".rf64", ".bwf", ".mp2", ".mp1", ".mpga"),
)

#: Extensions of files that need PyAV.
AV_SUFFIXES = (
    *(".m4a", ".m4b", ".aac", ".mp4", ".wma", ".ape", ".wv", ".mpc", ".tta", ".webm", ".mka"),
    *(".mkv", ".mov", ".amr", ".ac3", ".dts", ".ra", ".rm", ".dsf", ".dff", ".spx", ".tak"),
)

#: Maximum absolute sample value, 40 dB above full scale. Larger values mean that the file is not
#: scaled to [-1, 1], for example int16 values stored as floats.
MAX_SAMPLE = 100.0

#: Data sizes from this value on mean that the size is unknown, as in files written to a pipe.
UNKNOWN_SIZE = 0x7FFFF000

#: Maximum number of files whose stream lists are cached in memory (about 1 KB per song).
MAX_CACHED_FILES = 16384

_FLOATS = ("FLOAT", "DOUBLE")
_MPEG_SUFFIXES = (".mp3", ".mp2", ".mp1", ".mpga")

# Sizes in the header that are larger than the file, as libsndfile logs them.
_SIZE_MISMATCH = re.compile(
    r"^ *(?:data|SSND|BODY|Data Size|riff|Riff size) *: (\d+) \(should be (\d+)", re.M
)

# First bytes of formats that need PyAV, and of files that are not audio.
_AV_MAGIC = (
    (b"ftyp", 4, "MPEG-4 audio (AAC or ALAC)"),
    (b"\x30\x26\xb2\x75", 0, "Windows Media audio"),
    (b"\x1a\x45\xdf\xa3", 0, "Matroska or WebM"),
    (b"wvpk", 0, "WavPack"),
    (b"MAC ", 0, "Monkey's Audio"),
)
_OTHER_MAGIC = (
    (b"MThd", 0, "a MIDI file"),
    (b"PK\x03\x04", 0, "a ZIP archive"),
    (b"%PDF", 0, "a PDF file"),
    (b"\x89PNG", 0, "an image"),
    (b"\xff\xd8\xff", 0, "an image"),
)


class AudioError(MgcError):
    """Raised for a file that is missing, broken or shorter than its header says."""


class Decoder(Protocol):
    """Open audio file.

    Attributes:
        frames: Length in samples per channel.
        sample_rate: Sample rate in Hz.
        channels: Number of channels.
        floats: Whether samples are stored as floats, which may be NaN, infinite or not scaled.
        integers: Whether samples are stored as integers, which are always within full scale.
    """

    frames: int
    sample_rate: int
    channels: int
    floats: bool
    integers: bool

    def read(self, first: int, count: int) -> np.ndarray:
        """Decode an excerpt as float32 of shape (samples, channels), shorter at the file's end."""

    def close(self) -> None:
        """Close the file."""


@contextmanager
def open_audio(path: str | os.PathLike[str]) -> Iterator[Decoder]:
    """Open an audio file.

    Raises:
        AudioError: If the file is missing, not audio, truncated or broken.
    """
    name = os.fspath(path)
    if printable(name) != name:
        raise AudioError(f"{printable(name)}: the file name is not UTF-8. Rename the file")
    try:
        with closing(_open(name)) as decoder:
            yield decoder
    except mpeg.MpegError as error:
        raise AudioError(f"{path}: {error}") from error
    except (soundfile.LibsndfileError, OSError) as error:
        raise AudioError(f"{path}: {_error_reason(name, error)}") from error


def printable(path: str | os.PathLike[str]) -> str:
    """Return a path in which bytes that are not UTF-8 are escaped as hexadecimal numbers."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def declared_samples(decoder: Decoder) -> int:
    """Return the length according to the header if the file is truncated, else its real length."""
    file = getattr(decoder, "file", None)
    if file is None:
        return decoder.frames
    for declared, actual in _SIZE_MISMATCH.findall(file.extra_info):
        if int(actual) < int(declared) < UNKNOWN_SIZE:
            return max(decoder.frames, round(decoder.frames * int(declared) / int(actual)))
    return decoder.frames


def _open(path: str) -> Decoder:
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):
        raise AudioError(f"{path}: not a regular file")
    if path.lower().endswith(_MPEG_SUFFIXES):
        streams = _mpeg_streams(path, status.st_size, status.st_mtime_ns)
        if streams:
            return _MultiStreamDecoder(path, streams)
    try:
        file = soundfile.SoundFile(path)
    except soundfile.LibsndfileError as error:
        return _open_fallback(path, status, error)
    container, subtype = file.format, file.subtype
    if subtype.startswith("MPEG_LAYER"):
        streams = _mpeg_streams(path, status.st_size, status.st_mtime_ns)
        if streams:
            file.close()
            return _MultiStreamDecoder(path, streams)
    if container == "OGG":
        parts = _ogg_parts(path, status.st_size, status.st_mtime_ns)
        if len(parts) > 1:
            file.close()
            return _MultiStreamDecoder(path, parts)
        last_page = parts[0].stream.last_page if subtype == "VORBIS" else None
        return _SoundFileDecoder(file, subtype, last_page)
    if container == "FLAC" and file.frames > 1 << 40:
        file.close()
        file = soundfile.SoundFile(_add_flac_length(path))
    return _SoundFileDecoder(file, subtype)


def _open_fallback(path: str, status: os.stat_result, error: soundfile.LibsndfileError) -> Decoder:
    """Open a file that libsndfile cannot open."""
    with open(path, "rb") as file:
        head = file.read(64)
    if not status.st_size:
        raise AudioError(f"{path}: the file is empty") from error
    if head[:4] in (b"RIFF", b"ID3\x02", b"ID3\x03", b"ID3\x04"):
        streams = _mpeg_streams(path, status.st_size, status.st_mtime_ns)
        if streams:
            return _MultiStreamDecoder(path, streams)
    text = head.lstrip().lower()
    if text.startswith((b"<!doctype", b"<html", b"<?xml")):
        raise AudioError(f"{path}: a web page, not audio. Download it again") from error
    av_format, found = (
        next((name for magic, at, name in table if head[at:].startswith(magic)), None)
        for table in (_AV_MAGIC, _OTHER_MAGIC)
    )
    if av_format or path.lower().endswith(AV_SUFFIXES):
        return _AvDecoder.open(path, av_format or found or Path(path).suffix)
    if found:
        raise AudioError(f"{path}: not an audio file but {found}") from error
    raise error


@dataclass(frozen=True)
class _OggPart:
    """Stream of an Ogg file, and its length in samples."""

    stream: OggStream
    length: int
    sample_rate: int
    channels: int


@lru_cache(MAX_CACHED_FILES)
def _mpeg_streams(path: str, size: int, mtime_ns: int) -> tuple[mpeg.Stream, ...]:
    """List the streams of a file. ``size`` and ``mtime_ns`` only serve as cache keys."""
    return tuple(mpeg.find_streams(Path(path).read_bytes()))


@lru_cache(MAX_CACHED_FILES)
def _ogg_parts(path: str, size: int, mtime_ns: int) -> tuple[_OggPart, ...]:
    data = Path(path).read_bytes()
    parts = []
    for stream in find_ogg_streams(data):
        if not stream.ended and stream.stop < len(data):
            raise AudioError(f"{path}: truncated, the last page is incomplete")
        with soundfile.SoundFile(io.BytesIO(data[stream.start : stream.stop])) as file:
            parts.append(_OggPart(stream, file.frames, file.samplerate, file.channels))
    if not parts:
        raise AudioError(f"{path}: no audio in the file")
    return tuple(parts)


class _SoundFileDecoder:
    """Decodes a file with libsndfile.

    Args:
        file: Open file.
        subtype: Its encoding, as libsndfile names it.
        last_page: First sample that cannot be reached by an exact seek; by default all can.
    """

    def __init__(
        self, file: soundfile.SoundFile, subtype: str, last_page: int | None = None
    ) -> None:
        self.file = file
        self.frames = int(file.frames)
        self.sample_rate = int(file.samplerate)
        self.channels = int(file.channels)
        self.floats = subtype in _FLOATS
        self.integers = subtype.startswith(("PCM", "ULAW", "ALAW", "ALAC"))
        self._last_page = self.frames if last_page is None else last_page
        self._position = 0

    def read(self, first: int, count: int) -> np.ndarray:
        start = first if first < self._last_page else max(0, self._last_page - 1)
        try:
            if start != self._position:
                self.file.seek(min(start, self.frames))
        except soundfile.LibsndfileError:
            if self.file.format == "FLAC":
                raise mpeg.MpegError("truncated or damaged") from None
            start = self._rewind(first)
        audio = self.file.read(first - start + count, dtype="float32", always_2d=True)
        self._position = start + len(audio)
        return audio if start == first else audio[first - start :]

    def _rewind(self, first: int) -> int:
        """Return the position in a file that cannot seek. Reopens it if that is past ``first``."""
        if self._position > first:
            self.file.close()
            self.file = soundfile.SoundFile(self.file.name)
            self._position = 0
        return self._position

    def close(self) -> None:
        self.file.close()


class _MultiStreamDecoder:
    """Decodes all streams of a file as one."""

    floats = integers = False

    def __init__(self, path: str, parts: "tuple[mpeg.Stream | _OggPart, ...]") -> None:
        self._path = path
        self._parts = parts
        rates = sorted({_sample_rate(part) for part in parts})
        if len(rates) > 1:
            raise AudioError(
                f"{path}: contains parts with sample rates of {rates[0]} Hz and {rates[-1]} Hz. "
                "Convert it to a single sample rate"
            )
        self.sample_rate = rates[0]
        self.channels = max(part.channels for part in parts)
        self.frames = sum(part.length for part in parts)

    def read(self, first: int, count: int) -> np.ndarray:
        pieces = [np.zeros((0, self.channels), np.float32)]
        for part in self._parts:
            start, stop = max(0, first), min(part.length, first + count)
            if start < stop:
                piece = self._read_part(part, start, stop - start)
                if part.channels == 1:
                    piece = np.broadcast_to(piece, (len(piece), self.channels))
                pieces.append(piece)
                if len(piece) < stop - start:
                    break
            first -= part.length
        return np.concatenate(pieces) if len(pieces) != 2 else np.asarray(pieces[1])

    def _read_part(self, part: "mpeg.Stream | _OggPart", first: int, count: int) -> np.ndarray:
        if isinstance(part, mpeg.Stream):
            return mpeg.read_stream(self._path, part, first, count)
        with open(self._path, "rb") as file:
            file.seek(part.stream.start)
            data = file.read(part.stream.stop - part.stream.start)
        with soundfile.SoundFile(io.BytesIO(data)) as stream:
            last_page = part.stream.last_page if stream.subtype == "VORBIS" else None
            return _SoundFileDecoder(stream, stream.subtype, last_page).read(first, count)

    def close(self) -> None:
        """Do nothing: the file is only open while reading."""


def _sample_rate(part: "mpeg.Stream | _OggPart") -> int:
    return part.format.sample_rate if isinstance(part, mpeg.Stream) else part.sample_rate


class _AvDecoder:
    """Decodes a file with FFmpeg, always from the start, because FFmpeg's seeks are not exact."""

    floats = True
    integers = False

    def __init__(self, path: str, frames: int, sample_rate: int, channels: int) -> None:
        self._path = path
        self.frames = frames
        self.sample_rate = sample_rate
        self.channels = channels

    @classmethod
    def open(cls, path: str, format_name: str) -> "_AvDecoder":
        try:
            import av
        except ImportError as error:
            raise AudioError(
                f"{path}: {format_name} needs FFmpeg. Convert it to FLAC, or {pip_install('av')}"
            ) from error
        del av
        status = os.stat(path)
        return cls(path, *_av_length(path, status.st_size, status.st_mtime_ns))

    def read(self, first: int, count: int) -> np.ndarray:
        pieces, position = [np.zeros((0, self.channels), np.float32)], 0
        for frame in _av_frames(self._path):
            stop = position + frame.samples
            if stop > first:
                piece = _av_samples(frame)
                pieces.append(piece[max(0, first - position) : first + count - position])
            position = stop
            if position >= first + count:
                break
        return np.concatenate(pieces)

    def close(self) -> None:
        """Do nothing: the file is only open while reading."""


@lru_cache(MAX_CACHED_FILES)
def _av_length(path: str, size: int, mtime_ns: int) -> tuple[int, int, int]:
    """Decode a file and return its length, sample rate and number of channels."""
    length, rates, channels = 0, set(), 0
    for frame in _av_frames(path):
        length += frame.samples
        rates.add(frame.sample_rate)
        channels = frame.layout.nb_channels
    if len(rates) != 1:
        raise AudioError(
            f"{path}: {'no audio in the file' if not rates else 'several sample rates'}"
        )
    return length, rates.pop(), channels


def _av_frames(path: str) -> Iterator[Any]:
    import av

    try:
        with av.open(path) as container:
            if not container.streams.audio:
                return
            yield from container.decode(container.streams.audio[0])
    except av.FFmpegError as error:
        raise AudioError(f"{path}: {error.strerror}") from error


def _av_samples(frame: Any) -> np.ndarray:
    """Return the samples of a frame as float32 of shape (samples, channels)."""
    values = frame.to_ndarray()
    if not frame.format.is_planar:
        values = values.reshape(frame.samples, -1).T
    if values.dtype.kind in "iu":
        bits = 8 * values.dtype.itemsize
        middle = 128 if values.dtype.kind == "u" else 0
        values = (values.astype(np.float64) - middle) / 2 ** (bits - 1)
    return np.ascontiguousarray(values.T, np.float32)


def _add_flac_length(path: str) -> io.BytesIO:
    """Read a FLAC file without a length, as written to a pipe, and add the length to its header.

    The length follows from the frame number in the header of the last frame (RFC 9639, section
    9.1).
    """
    data = bytearray(Path(path).read_bytes())
    start = data.find(b"fLaC")
    block_size = int.from_bytes(data[start + 10 : start + 12], "big")
    for match in reversed(list(re.finditer(rb"\xff[\xf8\xf9]", data))):
        length = _flac_frame_end(data, match.start(), block_size)
        if length:
            data[start + 21] = (data[start + 21] & 0xF0) | (length >> 32)
            data[start + 22 : start + 26] = (length & 0xFFFFFFFF).to_bytes(4, "big")
            return io.BytesIO(bytes(data))
    raise AudioError(f"{path}: no audio in the file")


def _flac_frame_end(data: bytearray, at: int, block_size: int) -> int:
    """Return the sample position at the end of a FLAC frame; 0 if there is no valid header."""
    size_code, rate_code = data[at + 2] >> 4, data[at + 2] & 15
    lead = data[at + 4]
    extra = next((n for n in range(7) if not lead << n & 0x80), 7)
    extra = max(0, extra - 1) if lead & 0x80 else 0
    number = lead & (0x7F if not lead & 0x80 else 0x3F >> extra)
    end = at + 5 + extra
    for byte in data[at + 5 : end]:
        number = number << 6 | byte & 0x3F
    if size_code in (6, 7):
        size = int.from_bytes(data[end : end + size_code - 5], "big") + 1
    elif size_code < 6:
        size = 0 if not size_code else 192 if size_code == 1 else 144 << size_code
    else:
        size = 1 << size_code
    end += {6: 1, 7: 2}.get(size_code, 0) + {12: 1, 13: 2, 14: 2}.get(rate_code, 0)
    if not size or end >= len(data) or _crc8(data[at:end]) != data[end]:
        return 0
    return (number if data[at + 1] & 1 else number * block_size) + size


def _crc8(data: bytearray) -> int:
    value = 0
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = (value << 1 ^ (7 if value & 0x80 else 0)) & 0xFF
    return value


def _error_reason(path: str, error: Exception) -> str:
    """Return the error message of libsndfile or the system without the path."""
    if not os.path.exists(path):
        return "missing"
    if isinstance(error, soundfile.LibsndfileError):
        reason = str(error.error_string).strip().rstrip(".")
        # libsndfile reports an existing file with an MPEG extension and other content as missing.
        return "not an audio file" if reason.startswith("File does not exist") else reason
    return str(getattr(error, "strerror", None) or error)
