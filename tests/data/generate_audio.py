"""Audio files of many encoders and containers, with quirks that real collections have.

FFmpeg (PyAV) writes what libsndfile does not, and counts the samples of every file.
"""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
import soundfile

#: ID3 tag (version 2.3) with a picture of 3000 bytes.
ID3V2 = b"ID3\x03\x00\x00\x00\x00\x17\x42" + b"APIC\x00\x00\x0b\xb8\x00\x00" + bytes(3000)
ID3V2 = ID3V2[:6] + bytes([0, 0, (len(ID3V2) - 10) >> 7, (len(ID3V2) - 10) & 127]) + ID3V2[10:]
ID3V1 = b"TAG" + b"A song".ljust(125, b"\0")


@dataclass(frozen=True)
class Generated:
    """A generated file and its true length, in samples per channel."""

    path: Path
    samples: int
    sample_rate: int


def music(seconds: float, rate: int, channels: int = 1, seed: int = 0) -> np.ndarray:
    """Return a gliding tone with bursts of noise, of shape (samples, channels)."""
    time = np.arange(round(seconds * rate)) / rate
    noise = np.random.default_rng(seed).normal(0, 0.1, len(time))
    mono = 0.3 * np.sin(2 * np.pi * (200 + 20 * time) * time)
    mono += noise * (np.sin(2 * np.pi * 3 * time) > 0)
    return np.stack([mono * 0.8**channel for channel in range(channels)], 1).astype(np.float32)


def encode(
    audio: np.ndarray,
    rate: int,
    codec: str,
    container: str,
    codec_options: dict[str, str] | None = None,
    options: dict[str, str] | None = None,
    bit_rate: int = 0,
) -> bytes:
    """Encode audio of shape (samples, channels) with FFmpeg."""
    layout = ("mono", "stereo")[audio.shape[1] - 1]
    target = io.BytesIO()
    with av.open(target, "w", format=container, options=options or {}) as output:
        stream: Any = output.add_stream(codec, rate=rate, options=codec_options or {})
        stream.layout = layout
        if bit_rate:
            stream.bit_rate = bit_rate
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(audio.T), "fltp", layout)
        frame.sample_rate = rate
        stream.codec_context.open()
        resampler = av.AudioResampler(
            stream.codec_context.format, layout, rate, stream.codec_context.frame_size or 1152
        )
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            output.mux(stream.encode(part))
        output.mux(stream.encode(None))
    return target.getvalue()


def count_samples(data: bytes) -> int:
    """Count the samples that FFmpeg decodes."""
    with av.open(io.BytesIO(data)) as container:
        return sum(frame.samples for frame in container.decode(container.streams.audio[0]))


def mp3(audio: np.ndarray, rate: int, kind: str, header: bool = True) -> bytes:
    """Encode an MP3 of constant (``cbr``) or variable (``vbr``) bit rate.

    Args:
        audio: Of shape (samples, channels).
        rate: Sample rate in Hz.
        kind: ``cbr`` or ``vbr``.
        header: Whether to write a Xing header with the length.
    """
    vbr = {"flags": "+qscale", "global_quality": str(6 * 118)}
    return encode(
        audio,
        rate,
        "libmp3lame",
        "mp3",
        vbr if kind == "vbr" else None,
        {"write_xing": str(int(header)), "id3v2_version": "0"},
        0 if kind == "vbr" else 48000,
    )


def sound_file(audio: np.ndarray, rate: int, container: str, subtype: str) -> bytes:
    """Encode audio of shape (samples, channels) with libsndfile."""
    target = io.BytesIO()
    soundfile.write(target, audio, rate, subtype, format=container)
    return target.getvalue()


def forget_length(flac: bytes) -> bytes:
    """Return a FLAC file as it is written to a pipe: without the number of samples."""
    return flac[:21] + bytes([flac[21] & 0xF0]) + bytes(4) + flac[26:]


def unknown_size(wav: bytes) -> bytes:
    """Return a WAV file as it is written to a pipe: without sizes."""
    data = wav.index(b"data") + 4
    return wav[:4] + b"\xff" * 4 + wav[8:data] + b"\xff" * 4 + wav[data + 4 :]


def valid_files(folder: Path) -> Iterator[Generated]:
    """Write files that players play to their end."""
    for rate in (8000, 11025, 16000, 22050, 32000, 44100, 48000):
        for channels in (1, 2):
            audio = music(1.7 if channels == 1 else 2.3, rate, channels, rate)
            for kind in ("cbr", "vbr"):
                tagged, plain = (mp3(audio, rate, kind, header) for header in (True, False))
                name = f"{kind}_{rate}_{channels}"
                yield _write(folder, f"{name}.mp3", tagged, count_samples(tagged), rate)
                yield _write(folder, f"{name}_untagged.mp3", plain, count_samples(plain), rate)
    audio, other = music(2, 22050, 1), music(3, 22050, 2, seed=1)
    tagged, plain = mp3(audio, 22050, "cbr"), mp3(audio, 22050, "vbr", header=False)
    frames, length = count_samples(plain), len(audio)
    both = tagged + mp3(other, 22050, "vbr")
    joined = length + count_samples(both[len(tagged) :])
    yield _write(folder, "id3.mp3", ID3V2 + tagged + ID3V1, length, 22050)
    yield _write(folder, "id3_untagged.mp3", ID3V2 + plain + ID3V1, frames, 22050)
    yield _write(folder, "junk_in_front.mp3", b"\xff\xfb junk" * 99 + plain, frames, 22050)
    yield _write(folder, "joined.mp3", both, joined, 22050)
    yield _write(folder, "joined_id3.mp3", tagged + ID3V1 + ID3V2 + tagged, 2 * length, 22050)
    yield _write(folder, "joined_untagged.mp3", plain * 3, 3 * frames, 22050)
    for number, name in enumerate(("riff.wav", "riff_named.mp3")):
        riff = encode(music(2, 44100, 1, number), 44100, "libmp3lame", "wav", bit_rate=64000)
        yield _write(folder, name, riff, count_samples(riff), 44100)
    renamed = mp3(audio, 22050, "cbr", header=False)
    yield _write(folder, "mp3_named.wav", renamed, count_samples(renamed), 22050)
    for number, name in enumerate(("layer2.mp2", "layer2_named.mp3")):
        layer2 = encode(music(2, 44100, 2, number), 44100, "mp2", "mp2", bit_rate=128000)
        yield _write(folder, name, layer2, count_samples(layer2), 44100)
    flac = sound_file(audio, 22050, "FLAC", "PCM_16")
    yield _write(folder, "piped.flac", forget_length(flac), length, 22050)
    yield _write(folder, "whole.flac", flac, length, 22050)
    wav = sound_file(audio, 22050, "WAV", "PCM_16")
    yield _write(folder, "piped.wav", unknown_size(wav), length, 22050)
    for rate, channels in ((22050, 1), (44100, 2), (48000, 1)):
        song, second = music(2.2, rate, channels), music(1.4, rate, channels, seed=1)
        parts = [sound_file(part, rate, "OGG", "VORBIS") for part in (song, second)]
        yield _write(folder, f"vorbis_{rate}.ogg", parts[0], len(song), rate)
        yield _write(folder, f"chained_{rate}.ogg", b"".join(parts), len(song) + len(second), rate)
    song = music(2, 48000, 2)
    parts = [sound_file(part, 48000, "OGG", "OPUS") for part in (song, song[: 48000 * 1])]
    yield _write(folder, "music.opus", parts[0], len(song), 48000)
    yield _write(folder, "chained.opus", b"".join(parts), len(song) + 48000, 48000)
    for container, subtype, suffix in (
        ("AIFF", "PCM_16", "aifc"),
        ("AIFF", "PCM_24", "aif"),
        ("AU", "PCM_16", "au"),
        ("CAF", "PCM_16", "caf"),
        ("CAF", "ALAC_16", "alac.caf"),
        ("W64", "PCM_16", "w64"),
        ("RF64", "PCM_16", "rf64"),
        ("WAV", "FLOAT", "float.wav"),
        ("WAV", "PCM_U8", "u8.wav"),
        ("WAV", "ULAW", "ulaw.wav"),
    ):
        data = sound_file(audio, 22050, container, subtype)
        yield _write(folder, f"plain.{suffix}", data, length, 22050)
    aac = encode(other, 22050, "aac", "mp4", bit_rate=48000)
    yield _write(folder, "aac.m4a", aac, count_samples(aac), 22050)
    wma = encode(other, 22050, "wmav2", "asf", bit_rate=48000)
    yield _write(folder, "windows.wma", wma, count_samples(wma), 22050)


def _write(folder: Path, name: str, data: bytes, samples: int, sample_rate: int) -> Generated:
    path = folder / name
    path.write_bytes(data)
    return Generated(path, samples, sample_rate)
