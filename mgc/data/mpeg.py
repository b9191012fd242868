"""MPEG audio (MP3, layers I to III) by frames: exact lengths, and excerpts equal to the whole file.

libsndfile estimates the length of a file without a Xing header, stops where a joined stream begins,
and misses samples after a seek, because a frame of layer III continues in the data of earlier
frames (the bit reservoir). This module therefore lists the frames itself and gives libsndfile the
bytes of those that an excerpt needs.

Sources: ISO/IEC 11172-3 and 13818-3 (frame headers), the Xing and LAME header as in
http://gabriel.mp3-tech.org/mp3infotag.html, and MPEG 2.5 as LAME writes it.
"""

import re
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

# Bit rates in kbit/s by version (2 includes 2.5) and layer; index 0 is a free format.
_BIT_RATES = {
    (1, 1): (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (1, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (1, 3): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_BIT_RATES[2, 3] = _BIT_RATES[2, 2]
_SAMPLE_RATES = (44100, 48000, 32000)

#: Samples that a decoder of layer III delays the audio by, which gapless playback removes.
DECODER_DELAY = 529

#: Bytes of earlier frames that a frame of layer III may refer to (main_data_begin has 9 bits).
RESERVOIR = 511

#: Most frames that hold so much, all of the smallest size (8 kbit/s at 24 kHz).
RESERVOIR_FRAMES = 32

#: Frames before an excerpt that are decoded for the overlap of the transform and the filter bank.
OVERLAP = 2

#: Distance of the frames whose position is kept. Those between are found again when they are read.
STRIDE = 16

_INFO_TAG = re.compile(rb"Xing|Info|VBRI")


@dataclass(frozen=True)
class _Kind:
    """What the frames of a stream have in common."""

    version: int
    layer: int
    sample_rate: int

    @property
    def samples(self) -> int:
        """Samples per frame."""
        if self.layer == 1:
            return 384
        return 576 if self.layer == 3 and self.version == 2 else 1152


def _tables() -> tuple[list[int], list[int], list[_Kind]]:
    """Return the frame size and the kind of each second and third byte of a header."""
    sizes, numbers, kinds = [0] * 65536, [-1] * 65536, []
    for second in range(0xE0, 0x100):
        version_bits, layer = second >> 3 & 3, 4 - (second >> 1 & 3)
        if version_bits == 1 or layer == 4:
            continue
        version = 1 if version_bits == 3 else 2
        for rate_index in range(3):
            rate = _SAMPLE_RATES[rate_index] // {3: 1, 2: 2, 0: 4}[version_bits]
            kind = _Kind(version, layer, rate)
            if kind not in kinds:
                kinds.append(kind)
            for bits in range(1, 15):
                for padding in range(2):
                    key = second << 8 | bits << 4 | rate_index << 2 | padding << 1
                    bit_rate = _BIT_RATES[version, layer][bits] * 1000
                    if layer == 1:
                        size = (12 * bit_rate // rate + padding) * 4
                    else:
                        size = kind.samples // 8 * bit_rate // rate + padding
                    for private in range(2):
                        sizes[key | private] = size
                        numbers[key | private] = kinds.index(kind)
    return sizes, numbers, kinds


_SIZES, _NUMBERS, _KINDS = _tables()


@dataclass(frozen=True)
class Stream:
    """A part of a file whose frames follow each other without a gap.

    Attributes:
        kind: Version, layer and sample rate.
        channels: Number of channels.
        count: Number of frames.
        offsets: Byte of every :data:`STRIDE`-th frame.
        stop: Byte behind the last frame.
        delay: Samples at the start that are not part of the music.
        length: Samples of the music.
        promised: Number of frames of the header; 0 without one.
    """

    kind: _Kind
    channels: int
    count: int
    offsets: np.ndarray = field(repr=False)
    stop: int
    delay: int
    length: int
    promised: int


class MpegError(ValueError):
    """Raised for a file without MPEG audio, or with less of it than its header says."""


def find_streams(data: bytes) -> list[Stream]:
    """List the streams of a file: one, unless files were joined.

    Args:
        data: Whole file.

    Raises:
        MpegError: If the file is truncated.
    """
    start, end = _audio_range(data)
    tags = np.array([match.start() for match in _INFO_TAG.finditer(data, start, end)], np.int64)
    streams: list[Stream] = []
    position = _next_frame(data, start, end)
    while position < end:
        offsets, position = _walk(data, position, end)
        streams += _split_at_tags(data, np.array(offsets, np.int64), position, tags)
        position = _next_frame(data, _skip_tags(data, position), end)
    _check_headers(streams)
    return [stream for stream in streams if stream.length > 0]


def _check_headers(streams: list[Stream]) -> None:
    """Raise an error if a header promises more frames than follow it."""
    tagged = [number for number, stream in enumerate(streams) if stream.promised]
    for number, following in zip(tagged, [*tagged[1:], len(streams)], strict=False):
        parts = streams[number:following]
        found, first = sum(stream.count for stream in parts), streams[number]
        # Some encoders count the frame of the header; damaged bytes cost two frames.
        if found < first.promised - 1 - 2 * (len(parts) - 1):
            seconds = first.kind.samples / first.kind.sample_rate
            raise MpegError(
                f"truncated, the header promises {first.promised * seconds:.1f} s but the file has "
                f"{found * seconds:.1f} s"
            )


def _audio_range(data: bytes) -> tuple[int, int]:
    """Return the first and last byte: of the file, or of the data chunk of a RIFF file."""
    if data[:4] == b"RIFF":
        chunk = 12
        while chunk + 8 <= len(data):
            size = int.from_bytes(data[chunk + 4 : chunk + 8], "little")
            if data[chunk : chunk + 4] == b"data":
                return chunk + 8, min(len(data), chunk + 8 + size)
            chunk += 8 + size + size % 2
    return _skip_tags(data, 0), len(data)


def _skip_tags(data: bytes, position: int) -> int:
    """Skip tags of ID3 (versions 1 and 2) and APE."""
    while True:
        head = data[position : position + 32]
        if head[:3] == b"ID3" and len(head) >= 10 and max(head[6:10]) < 128:
            size = head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9]
            position += 10 + size + (10 if head[5] & 16 else 0)
        elif head[:3] == b"TAG":
            position += 128
        elif head[:8] == b"APETAGEX" and len(head) == 32:
            size = int.from_bytes(head[12:16], "little")
            position += size + (32 if head[23] & 0x20 else 0)
        else:
            return position


def _next_frame(data: bytes, position: int, end: int) -> int:
    """Find the next frame that another one of the same kind follows; the end if there is none."""
    while True:
        position = data.find(b"\xff", position, end)
        if position < 0 or position + 4 > end:
            return end
        following = position
        for _ in range(2):
            size = _SIZES[data[following + 1] << 8 | data[following + 2]]
            following += size
            if not size or following + 4 > end or not _alike(data, position, following):
                break
        else:
            return position
        # The last frames of a file have no successor.
        if size and following == end:
            return position
        position += 1


def _alike(data: bytes, first: int, second: int) -> bool:
    """Whether the headers at two positions have the same kind and number of channels."""
    if data[second] != 0xFF:
        return False
    number = _NUMBERS[data[first + 1] << 8 | data[first + 2]]
    same = number == _NUMBERS[data[second + 1] << 8 | data[second + 2]] != -1
    return same and (data[first + 3] >= 0xC0) == (data[second + 3] >= 0xC0)


def _walk(data: bytes, position: int, end: int) -> tuple[list[int], int]:
    """List the complete frames from a position on, and return the byte behind the last one."""
    sizes, numbers = _SIZES, _NUMBERS
    number = numbers[data[position + 1] << 8 | data[position + 2]]
    mono = data[position + 3] >= 0xC0
    offsets = []
    last = end - 4
    while position <= last and data[position] == 0xFF:
        key = data[position + 1] << 8 | data[position + 2]
        if numbers[key] != number or (data[position + 3] >= 0xC0) != mono:
            break
        offsets.append(position)
        position += sizes[key]
    if position > end:
        position = offsets.pop()
        # Too short for a frame.
        return offsets, end
    return offsets, position


def _split_at_tags(data: bytes, offsets: np.ndarray, stop: int, tags: np.ndarray) -> list[Stream]:
    """Split frames where a Xing header begins another stream."""
    if not len(offsets):
        return []
    owners = np.searchsorted(offsets, tags, "right") - 1
    heads = {
        int(owner)
        for owner, tag in zip(owners, tags, strict=True)
        if owner >= 0 and tag < stop and tag - offsets[owner] == _tag_position(data, offsets[owner])
    }
    borders = sorted({0, *heads, len(offsets)})
    return [
        _make_stream(data, offsets[a:b], int(offsets[b]) if b < len(offsets) else stop, a in heads)
        for a, b in pairwise(borders)
    ]


def _tag_position(data: bytes, frame: int) -> int:
    """Return where a frame of layer III holds its Xing header."""
    if data[frame + 36 : frame + 40] == b"VBRI":
        return 36
    return 4 + _side_info(data, frame)


def _side_info(data: bytes, frame: int) -> int:
    """Return the size of the side information of a frame of layer III."""
    first_version, mono = data[frame + 1] & 8, data[frame + 3] >= 0xC0
    return (17 if mono else 32) if first_version else (9 if mono else 17)


def _make_stream(data: bytes, offsets: np.ndarray, stop: int, tagged: bool) -> Stream:
    first = int(offsets[0])
    kind = _KINDS[_NUMBERS[data[first + 1] << 8 | data[first + 2]]]
    channels = 1 if data[first + 3] >= 0xC0 else 2
    delay = padding = 0
    promised = 0
    if tagged:
        promised, delay, padding = _read_tag(data, first + _tag_position(data, first))
        offsets = offsets[1:]
        if promised != len(offsets):
            padding = 0
    length = max(0, len(offsets) * kind.samples - delay - padding)
    kept = offsets[::STRIDE].copy()
    return Stream(kind, channels, len(offsets), kept, stop, delay, length, promised)


def _read_tag(data: bytes, tag: int) -> tuple[int, int, int]:
    """Return the number of frames, and the samples to remove at the start and the end."""
    if data[tag : tag + 4] == b"VBRI":
        return int.from_bytes(data[tag + 14 : tag + 18], "big"), 0, 0
    flags = data[tag + 7]
    frames = int.from_bytes(data[tag + 8 : tag + 12], "big") if flags & 1 else 0
    lame = tag + 8 + 4 * (flags & 1) + 2 * (flags & 2) + 25 * (flags & 4) + flags // 2 % 8 // 4 * 4
    if not frames or not data[lame]:
        return frames, 0, 0
    gaps = int.from_bytes(data[lame + 21 : lame + 24], "big")
    delay, padding = gaps >> 12, gaps & 0xFFF
    return frames, delay + DECODER_DELAY, max(0, padding - DECODER_DELAY)


def read_stream(path: Path | str, stream: Stream, first: int, count: int) -> np.ndarray:
    """Decode an excerpt of a stream.

    Args:
        path: The file.
        stream: One of its streams.
        first: First sample.
        count: Number of samples; the excerpt lies within the stream.

    Returns:
        Float32 of shape (samples, channels), shorter if the file is.
    """
    size = stream.kind.samples
    first += stream.delay
    start, stop = first // size, -(-(first + count) // size)
    begin = max(0, start - OVERLAP - RESERVOIR_FRAMES) // STRIDE
    end = -(-stop // STRIDE)
    low = int(stream.offsets[begin])
    high = int(stream.offsets[end]) if end < len(stream.offsets) else stream.stop
    with open(path, "rb") as file:
        file.seek(low)
        data = file.read(high - low)
    frames = [*_walk(data, 0, len(data))[0]]
    base = begin * STRIDE
    if len(frames) < stop - base:
        return np.zeros((0, stream.channels), np.float32)
    frames.append(len(data))
    needed = max(0, start - OVERLAP - base)
    silent = needed
    if stream.kind.layer == 3:
        missing = RESERVOIR
        while silent > 0 and missing > 0:
            silent -= 1
            missing -= frames[silent + 1] - frames[silent] - 4 - _side_info(data, frames[silent])
    window = bytearray(data[frames[silent] : frames[stop - base]])
    if silent or base:
        # Their own reservoir is not complete: keep main_data_begin, and no bits of a granule.
        for frame in frames[silent:needed]:
            head = frame - frames[silent] + (4 if data[frame + 1] & 1 else 6)
            size_of_head = _side_info(data, frame)
            last_bit = window[head + 1] & (0x80 if data[frame + 1] & 8 else 0)
            window[head + 1 : head + size_of_head] = bytes([last_bit, *bytes(size_of_head - 2)])
    skip = (start - base - silent) * size + first % size
    with soundfile.SoundFile(_Window(bytes(window))) as file:
        audio = file.read(skip + count, dtype="float32", always_2d=True)
    return audio[skip:]


class _Window:
    """Frames as a file for libsndfile, which estimates the length from the size of the file.

    The size that this file claims makes every estimate longer than the audio.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._size = 128 * len(data) + 65536
        self._position = 0

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move to a position, counted from the start, the current position or the claimed end."""
        self._position = offset + (0, self._position, self._size)[whence]
        return self._position

    def tell(self) -> int:
        """Return the position."""
        return self._position

    def read(self, size: int = -1) -> bytes:
        """Read bytes; behind the frames, where libsndfile looks for a tag, zeros."""
        if self._position > len(self._data):
            self._position += size
            return bytes(size)
        data = self._data[self._position : self._position + size]
        self._position += len(data)
        return data

    def write(self, data: Any) -> int:
        """Never called: libsndfile wants the function to exist."""
        raise NotImplementedError
