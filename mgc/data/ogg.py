"""Lists the streams of Ogg files, which libsndfile does not read completely.

libsndfile reads only the first stream of a concatenated file, reports a length of 0 for a truncated
file, and is off by up to one block after a seek into the last page of a Vorbis stream. Source:
RFC 3533.
"""

import struct
from dataclasses import dataclass


@dataclass(frozen=True)
class OggStream:
    """Position of a stream in an Ogg file.

    Attributes:
        start: Byte offset of the first page.
        stop: Byte offset of the end.
        last_page: Granule position at which the last page with audio begins.
        ended: Whether the page with the end-of-stream flag is present.
    """

    start: int
    stop: int
    last_page: int
    ended: bool


def find_ogg_streams(data: bytes) -> list[OggStream]:
    """List the streams of a file. Only concatenated files have more than one.

    Args:
        data: Contents of the file.
    """
    streams: list[OggStream] = []
    position = start = 0
    granules = [0, 0]
    ended = audio = False

    def close() -> None:
        if audio:
            streams.append(OggStream(start, position, max(0, granules[-2]), ended))

    while (position := data.find(b"OggS", position)) >= 0 and position + 27 <= len(data):
        flags, granule = struct.unpack_from("<xBq", data, position + 4)
        lacing = data[position + 27 : position + 27 + data[position + 26]]
        stop = position + 27 + len(lacing) + sum(lacing)
        if stop > len(data) or len(lacing) < data[position + 26]:
            break
        if flags & 2 and audio:
            close()
            start, granules, ended, audio = position, [0, 0], False, False
        if granule > 0:
            audio = True
            if granule != granules[-1]:
                granules = [granules[-1], granule]
        ended = ended or bool(flags & 4)
        position = stop
    position = len(data) if position < 0 else position
    close()
    return streams
