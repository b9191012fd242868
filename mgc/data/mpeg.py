"""MPEG audio (MP3, layers I to III): exact lengths and sample-accurate excerpts.

libsndfile only estimates the length of a file without a Xing header, ignores all streams but the
first in a concatenated file, and loses samples after a seek, because a layer III frame uses data
stored in earlier frames (the bit reservoir). This module finds the frames itself and passes only
those needed for an excerpt to libsndfile.

Sources: ISO/IEC 11172-3 and 13818-3 (frame headers); http://gabriel.mp3-tech.org/mp3infotag.html
(Xing and LAME headers); files written by LAME (MPEG 2.5).
"""

import re
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

# Bit rates in kbit/s by version (2 includes 2.5) and layer. Index 0 means free format, which is not
# supported.
_BIT_RATES = {
    (1, 1): (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (1, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (1, 3): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_BIT_RATES[2, 3] = _BIT_RATES[2, 2]
_SAMPLE_RATES = (44100, 48000, 32000)

#: Delay of a layer III decoder in samples, removed for gapless playback.
DECODER_DELAY = 529

#: Size of the bit reservoir: bytes of earlier frames that a layer III frame may use
#: (main_data_begin has 9 bits).
RESERVOIR_BYTES = 511

#: Maximum number of frames that the bit reservoir spans, at the smallest frame size (8 kbit/s at
#: 24 kHz).
MAX_RESERVOIR_FRAMES = 32

#: Number of frames to decode before an excerpt, because the transform and the filter bank overlap.
OVERLAP_FRAMES = 2

#: Only the position of every n-th frame is stored. The others are found again when reading.
INDEX_STRIDE = 16

_INFO_TAG = re.compile(rb"Xing|Info|VBRI")


@dataclass(frozen=True)
class _FrameFormat:
    """Format shared by all frames of a stream."""

    version: int
    layer: int
    sample_rate: int

    @property
    def samples(self) -> int:
        """Samples per frame."""
        if self.layer == 1:
            return 384
        return 576 if self.layer == 3 and self.version == 2 else 1152


def _header_tables() -> tuple[list[int], list[int], list[_FrameFormat]]:
    """Return the frame size in bytes and the format for each second and third header byte."""
    sizes, numbers, formats = [0] * 65536, [-1] * 65536, []
    for second in range(0xE0, 0x100):
        version_bits, layer = second >> 3 & 3, 4 - (second >> 1 & 3)
        if version_bits == 1 or layer == 4:
            continue
        version = 1 if version_bits == 3 else 2
        for rate_index in range(3):
            rate = _SAMPLE_RATES[rate_index] // {3: 1, 2: 2, 0: 4}[version_bits]
            format = _FrameFormat(version, layer, rate)
            if format not in formats:
                formats.append(format)
            for bits in range(1, 15):
                for padding in range(2):
                    key = second << 8 | bits << 4 | rate_index << 2 | padding << 1
                    bit_rate = _BIT_RATES[version, layer][bits] * 1000
                    if layer == 1:
                        size = (12 * bit_rate // rate + padding) * 4
                    else:
                        size = format.samples // 8 * bit_rate // rate + padding
                    for private in range(2):
                        sizes[key | private] = size
                        numbers[key | private] = formats.index(format)
    return sizes, numbers, formats


_FRAME_SIZES, _FORMAT_IDS, _FORMATS = _header_tables()


@dataclass(frozen=True)
class Stream:
    """Consecutive frames of the same format.

    Attributes:
        format: Version, layer and sample rate.
        channels: Number of channels.
        count: Number of frames.
        offsets: Byte offset of every :data:`INDEX_STRIDE`-th frame.
        stop: Byte offset of the end of the last frame.
        delay: Number of samples at the start that are encoder delay.
        length: Number of samples without encoder delay and padding.
        declared_frames: Number of frames according to the header; 0 without a header.
    """

    format: _FrameFormat
    channels: int
    count: int
    offsets: np.ndarray = field(repr=False)
    stop: int
    delay: int
    length: int
    declared_frames: int


class MpegError(ValueError):
    """Raised for a truncated or damaged file."""


def find_streams(data: bytes) -> list[Stream]:
    """List the streams of a file. Only concatenated files have more than one.

    Args:
        data: Contents of the file.

    Raises:
        MpegError: If the file is truncated.
    """
    start, end = _audio_range(data)
    tags = np.array([match.start() for match in _INFO_TAG.finditer(data, start, end)], np.int64)
    streams: list[Stream] = []
    position = _next_frame(data, start, end)
    while position < end:
        offsets, position = _list_frames(data, position, end)
        streams += _split_at_tags(data, np.array(offsets, np.int64), position, tags)
        position = _next_frame(data, _skip_tags(data, position), end)
    _check_frame_counts(streams)
    return [stream for stream in streams if stream.length > 0]


def _check_frame_counts(streams: list[Stream]) -> None:
    """Raise an error if a header declares more frames than the file has."""
    tagged = [number for number, stream in enumerate(streams) if stream.declared_frames]
    for number, following in zip(tagged, [*tagged[1:], len(streams)], strict=False):
        parts = streams[number:following]
        found, first = sum(stream.count for stream in parts), streams[number]
        # Some encoders count the header frame, and each damaged part of the file costs two frames.
        if found < first.declared_frames - 1 - 2 * (len(parts) - 1):
            seconds = first.format.samples / first.format.sample_rate
            raise MpegError(
                f"truncated, the header declares {first.declared_frames * seconds:.1f} s but "
                f"the file has {found * seconds:.1f} s"
            )


def _audio_range(data: bytes) -> tuple[int, int]:
    """Return the start and end of the audio: the data chunk of a RIFF file, or the whole file."""
    if data[:4] == b"RIFF":
        chunk = 12
        while chunk + 8 <= len(data):
            size = int.from_bytes(data[chunk + 4 : chunk + 8], "little")
            if data[chunk : chunk + 4] == b"data":
                return chunk + 8, min(len(data), chunk + 8 + size)
            chunk += 8 + size + size % 2
    return _skip_tags(data, 0), len(data)


def _skip_tags(data: bytes, position: int) -> int:
    """Return the position after any ID3 (version 1 or 2) and APE tags."""
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
    """Find the next frame that is followed by frames of the same format; ``end`` if none is."""
    while True:
        position = data.find(b"\xff", position, end)
        if position < 0 or position + 4 > end:
            return end
        following = position
        for _ in range(2):
            size = _FRAME_SIZES[data[following + 1] << 8 | data[following + 2]]
            following += size
            if not size or following + 4 > end or not _same_format(data, position, following):
                break
        else:
            return position
        # The last frames of a file are accepted without successors.
        if size and following == end:
            return position
        position += 1


def _same_format(data: bytes, first: int, second: int) -> bool:
    """Whether two frames have the same format and number of channels."""
    if data[second] != 0xFF:
        return False
    number = _FORMAT_IDS[data[first + 1] << 8 | data[first + 2]]
    same = number == _FORMAT_IDS[data[second + 1] << 8 | data[second + 2]] != -1
    return same and (data[first + 3] >= 0xC0) == (data[second + 3] >= 0xC0)


def _list_frames(data: bytes, position: int, end: int) -> tuple[list[int], int]:
    """Return the offsets of the consecutive complete frames at a position, and where they end."""
    sizes, numbers = _FRAME_SIZES, _FORMAT_IDS
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
        # The last frame is incomplete.
        offsets.pop()
        return offsets, end
    return offsets, position


def _split_at_tags(data: bytes, offsets: np.ndarray, stop: int, tags: np.ndarray) -> list[Stream]:
    """Split frames into streams at each Xing or VBRI header."""
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
    """Return the offset of the Xing or VBRI header in a layer III frame."""
    if data[frame + 36 : frame + 40] == b"VBRI":
        return 36
    return 4 + _side_info_size(data, frame)


def _side_info_size(data: bytes, frame: int) -> int:
    """Return the size of the side information of a layer III frame, in bytes."""
    mpeg_1, mono = data[frame + 1] & 8, data[frame + 3] >= 0xC0
    return (17 if mono else 32) if mpeg_1 else (9 if mono else 17)


def _make_stream(data: bytes, offsets: np.ndarray, stop: int, tagged: bool) -> Stream:
    first = int(offsets[0])
    format = _FORMATS[_FORMAT_IDS[data[first + 1] << 8 | data[first + 2]]]
    channels = 1 if data[first + 3] >= 0xC0 else 2
    delay = padding = 0
    declared_frames = 0
    if tagged:
        declared_frames, delay, padding = _read_tag(data, first + _tag_position(data, first))
        offsets = offsets[1:]
        if declared_frames != len(offsets):
            padding = 0
    length = max(0, len(offsets) * format.samples - delay - padding)
    kept = offsets[::INDEX_STRIDE].copy()
    return Stream(format, channels, len(offsets), kept, stop, delay, length, declared_frames)


def _read_tag(data: bytes, tag: int) -> tuple[int, int, int]:
    """Return the number of frames, and of samples to remove at the start and at the end."""
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
        path: Path of the file.
        stream: One of its streams.
        first: Index of the first sample.
        count: Number of samples. The excerpt must be within the stream.

    Returns:
        Float32 of shape (samples, channels); empty if the file has become shorter.
    """
    frame_length = stream.format.samples
    first += stream.delay
    start, stop = first // frame_length, -(-(first + count) // frame_length)
    first_entry = max(0, start - OVERLAP_FRAMES - MAX_RESERVOIR_FRAMES) // INDEX_STRIDE
    end_entry = -(-stop // INDEX_STRIDE)
    offset = int(stream.offsets[first_entry])
    end = int(stream.offsets[end_entry]) if end_entry < len(stream.offsets) else stream.stop
    with open(path, "rb") as file:
        file.seek(offset)
        data = file.read(end - offset)
    frames = [*_list_frames(data, 0, len(data))[0]]
    first_read = first_entry * INDEX_STRIDE
    if len(frames) < stop - first_read:
        return np.zeros((0, stream.channels), np.float32)
    frames.append(len(data))
    # Frames from `reservoir` on are passed to the decoder, frames from `decoded` on are decoded.
    decoded = max(0, start - OVERLAP_FRAMES - first_read)
    reservoir = decoded
    if stream.format.layer == 3:
        missing = RESERVOIR_BYTES
        while reservoir > 0 and missing > 0:
            reservoir -= 1
            size = frames[reservoir + 1] - frames[reservoir]
            missing -= size - 4 - _side_info_size(data, frames[reservoir])
    window = bytearray(data[frames[reservoir] : frames[stop - first_read]])
    if reservoir or first_read:
        # Frames before `decoded` lack part of their own reservoir and cannot be decoded. Clear
        # their side information except for main_data_begin, so that they only supply data.
        for frame in frames[reservoir:decoded]:
            head = frame - frames[reservoir] + (4 if data[frame + 1] & 1 else 6)
            head_size = _side_info_size(data, frame)
            last_bit = window[head + 1] & (0x80 if data[frame + 1] & 8 else 0)
            window[head + 1 : head + head_size] = bytes([last_bit, *bytes(head_size - 2)])
    skip = (start - first_read - reservoir) * frame_length + first % frame_length
    with soundfile.SoundFile(_FrameFile(bytes(window))) as file:
        audio = file.read(skip + count, dtype="float32", always_2d=True)
    return audio[skip:]


class _FrameFile:
    """File object that passes MPEG frames to libsndfile.

    libsndfile estimates the number of samples from the file size. This object reports a size so
    large that the estimate is always longer than the audio.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._size = 128 * len(data) + 65536
        self._position = 0

    def seek(self, offset: int, whence: int = 0) -> int:
        """Set the position relative to the start, the current position or the reported end."""
        self._position = offset + (0, self._position, self._size)[whence]
        return self._position

    def tell(self) -> int:
        """Return the position."""
        return self._position

    def read(self, size: int = -1) -> bytes:
        """Read bytes. Returns zeros after the frames, where libsndfile looks for a tag."""
        if self._position > len(self._data):
            self._position += size
            return bytes(size)
        data = self._data[self._position : self._position + size]
        self._position += len(data)
        return data

    def write(self, data: Any) -> int:
        """Raise an error. soundfile requires this method but does not call it."""
        raise NotImplementedError
