"""Ogg files by pages: exact lengths of joined streams, and where seeking is exact.

libsndfile reads the first of several joined streams only, reports no samples for a file that was
cut, and is off by up to a block after a seek into the last page of Vorbis. Source: RFC 3533.
"""

import struct
from dataclasses import dataclass


@dataclass(frozen=True)
class Link:
    """One of the streams that were joined to a file.

    Attributes:
        start: First byte.
        stop: Byte behind the last one.
        last_page: Sample, as the codec counts it, at which the last page with audio begins.
        ended: Whether the stream has its last page.
    """

    start: int
    stop: int
    last_page: int
    ended: bool


def find_links(data: bytes) -> list[Link]:
    """List the joined streams of a file.

    Args:
        data: Whole file.
    """
    links: list[Link] = []
    serials: set[int] = set()
    position = start = 0
    ends = [0, 0]
    ended = audio = False

    def close() -> None:
        if audio:
            links.append(Link(start, position, max(0, ends[-2]), ended))

    while (position := data.find(b"OggS", position)) >= 0 and position + 27 <= len(data):
        flags, granule, serial = struct.unpack_from("<xBqI", data, position + 4)
        lacing = data[position + 27 : position + 27 + data[position + 26]]
        stop = position + 27 + len(lacing) + sum(lacing)
        if stop > len(data) or len(lacing) < data[position + 26]:
            break
        if flags & 2 and audio:
            close()
            start, ends, ended, audio = position, [0, 0], False, False
            serials.clear()
        serials.add(serial)
        if granule > 0:
            audio = True
            if granule != ends[-1]:
                ends = [ends[-1], granule]
        ended = ended or bool(flags & 4)
        position = stop
    position = len(data) if position < 0 else position
    close()
    return links
