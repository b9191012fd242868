"""True lengths and exact excerpts of files of many encoders and containers."""

import sys
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from generate_audio import (
    Generated,
    forget_length,
    mp3,
    music,
    sound_file,
    valid_files,
)

import mgc
from mgc import checkpoint
from mgc.data import audio
from mgc.data.audio import AudioError
from mgc.data.folder import Folder
from mgc.data.gtzan import GTZAN
from mgc.models.vgg import VGGTagger


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Generated]:
    folder = tmp_path_factory.mktemp("quirks") / "music"
    folder.mkdir()
    return list(valid_files(folder))


def test_every_file_has_its_true_length(files: list[Generated]) -> None:
    assert len(files) >= 60
    table = pd.DataFrame(
        {
            "file": file.path.name,
            "true": file.samples,
            "probed": audio.probe(file.path).frames,
            "read": len(audio.read(file.path, file.sample_rate)),
        }
        for file in files
    )
    wrong = table[(table["probed"] != table["true"]) | (table["read"] != table["true"])]
    assert wrong.empty, wrong.to_string()


def test_a_clip_is_that_part_of_the_decoded_file(files: list[Generated]) -> None:
    rng = np.random.default_rng(0)
    for file in files:
        whole = audio.read(file.path, file.sample_rate)
        samples = file.sample_rate // 4
        # Random clips, and some that begin in the last page of Ogg.
        starts = [*rng.integers(0, len(whole) - samples, 20), len(whole) - samples, 0]
        for start in map(int, starts):
            clip = audio.read(file.path, file.sample_rate, start, samples)
            np.testing.assert_allclose(
                clip, whole[start : start + samples], atol=1e-6, err_msg=f"{file} {start}"
            )


def test_what_is_decoded_is_what_ffmpeg_decodes(files: list[Generated]) -> None:
    for file in files:
        if any(kind in file.path.name for kind in ("joined", "chained", "alac")):
            continue  # FFmpeg plays gaps between the parts, and not the last frame of ALAC in CAF
        with av.open(str(file.path)) as container:
            frames = [f.to_ndarray() for f in container.decode(container.streams.audio[0])]
            channels = container.streams.audio[0].layout.nb_channels
        if frames[0].shape[0] != channels:
            frames = [frame.reshape(-1, channels).T for frame in frames]
        theirs = np.concatenate(frames, 1).astype(np.float64)
        full_scale = {"i": 2.0 ** (8 * frames[0].dtype.itemsize - 1), "u": 128.0, "f": 1.0}
        kind = frames[0].dtype.kind
        theirs = (theirs - (128 if kind == "u" else 0)) / full_scale[kind]
        ours = audio.read(file.path, file.sample_rate)
        # Decoders of Opus may differ (RFC 6716, section 6).
        tolerance = 0.05 if file.path.suffix == ".opus" else 2e-3
        np.testing.assert_allclose(
            ours, theirs.mean(0)[: len(ours)], atol=tolerance, err_msg=file.path.name
        )


def test_verify_pack_and_training_see_the_whole_song(
    files: list[Generated], tmp_path: Path
) -> None:
    root = files[0].path.parent.parent
    data = Folder(str(root), sample_rate=8000, clip_seconds=0.5, max_broken=0)
    assert data.verify() == []
    data.setup("test")
    from_files = data.tracks.set_index("track")["length"]
    for file in files:
        seconds = file.samples / file.sample_rate
        assert from_files[f"music/{file.path.name}"] == int(np.ceil(seconds * 8000))
    data.pack()
    packed = Folder(str(root), sample_rate=8000, clip_seconds=0.5, max_broken=0)
    packed.setup("test")
    pd.testing.assert_series_equal(packed.tracks.set_index("track")["length"], from_files)


def expected_clips(file: Generated) -> int:
    """Return the number of whole clips of 0.5 s at 8000 Hz."""
    return int(np.ceil(file.samples / file.sample_rate * 8000)) // 4000


def test_extract_and_classify_see_the_whole_song(files: list[Generated], tmp_path: Path) -> None:
    table = mgc.extract(
        [file.path for file in files], "mfcc", sample_rate=8000, clip_seconds=0.5, per_clip=True
    )
    clips = table.tracks["track"].map(lambda track: Path(track).name).value_counts()
    assert clips.to_dict() == {file.path.name: expected_clips(file) for file in files}

    model = VGGTagger(num_classes=10, sample_rate=8000, channels=4)
    about = checkpoint.describe(model, GTZAN("nowhere", sample_rate=8000, clip_seconds=0.5))
    content = {"state_dict": model.state_dict(), checkpoint.HYPER: dict(model.hparams)}
    content |= {"pytorch-lightning_version": "2.6.6", checkpoint.KEY: about}
    torch.save(content, tmp_path / "vgg.ckpt")
    classifier = mgc.Classifier(tmp_path / "vgg.ckpt")
    for file in files:
        outputs, starts = classifier.classify(str(file.path))
        assert len(outputs) == len(starts) == expected_clips(file), file


def half(container: str) -> bytes:
    """Return the first half of a file of 2 s without compression."""
    return sound_file(music(2, 8000), 8000, container, "PCM_16")[:16044]


#: Builder and error of each file. (Encoded bytes differ between processes.)
BROKEN: dict[str, tuple[Callable[[], bytes], str]] = {
    "half.wav": (lambda: half("WAV"), "declares 2.0 s"),
    "half.aif": (lambda: half("AIFF"), "declares 2.0 s"),
    "half.au": (lambda: half("AU"), "declares 2.0 s"),
    "half.w64": (lambda: half("W64"), "truncated"),
    "half.flac": (lambda: half("FLAC")[:15000], "truncated"),
    "half.ogg": (lambda: sound_file(music(9, 8000), 8000, "OGG", "VORBIS")[:20000], "truncated"),
    "half.mp3": (
        lambda: mp3(music(4, 22050), 22050, "cbr")[:12000],
        r"declares 4.* s but the file has",
    ),
    "page.mp3": (lambda: b"<!DOCTYPE html><html>Not found</html>" * 20, "a web page, not audio"),
    "page.wav": (lambda: b"\n <HTML>Not found</HTML>" * 20, "a web page, not audio"),
    "zeros.mp3": (lambda: bytes(5000), "not an audio file"),
    "empty.flac": (lambda: b"", "the file is empty"),
    "notes.wav": (lambda: b"MThd" + bytes(100), "MIDI"),
    "image.ogg": (lambda: b"\x89PNG\r\n\x1a\n" + bytes(100), "an image"),
    "rates.mp3": (
        lambda: mp3(music(1, 22050), 22050, "cbr") + mp3(music(1, 44100), 44100, "cbr"),
        "parts with sample rates of 22050 Hz and 44100 Hz",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_file_that_is_not_whole_is_named_with_its_reason(tmp_path: Path, name: str) -> None:
    build, message = BROKEN[name]
    path = tmp_path / name
    path.write_bytes(build())
    with pytest.raises(AudioError, match=f"{path}: .*{message}"):
        audio.probe(path)


def test_an_untagged_mp3_that_was_cut_ends_where_it_was_cut(tmp_path: Path) -> None:
    path = tmp_path / "cut.mp3"
    data = mp3(music(4, 22050), 22050, "cbr", header=False)
    path.write_bytes(data[: len(data) // 2])
    seconds = audio.probe(path).seconds
    assert 1.9 < seconds < 2.1
    assert len(audio.read(path, 22050)) == round(seconds * 22050)


@pytest.mark.parametrize("where", [0, 1000, -1])
@pytest.mark.parametrize("value", [np.nan, np.inf, 3e4])
def test_samples_that_are_no_audio_are_found_in_any_channel(
    tmp_path: Path, where: int, value: float
) -> None:
    samples = music(3, 8000, 2)
    samples[where, 1] = value
    path = tmp_path / "float.wav"
    soundfile.write(path, samples, 8000, "FLOAT")
    for use in (audio.probe, lambda p: audio.read(p, 8000), lambda p: list(audio.blocks(p))):
        with pytest.raises(AudioError, match=r"not finite numbers|samples up to 30000"):
            use(path)


def test_a_format_that_needs_ffmpeg_says_so_without_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "song.m4a"
    path.write_bytes(b"\0\0\0\x20ftypM4A " + bytes(100))
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(AudioError, match=r"song\.m4a: MPEG-4 audio .* needs FFmpeg.*\[av\]"):
        audio.probe(path)


def test_a_flac_without_length_is_read_whole(tmp_path: Path) -> None:
    for samples in (100, 4096, 4097, 300_000):
        noise = np.random.default_rng(0).uniform(-0.5, 0.5, (samples, 1))
        path = tmp_path / f"{samples}.flac"
        path.write_bytes(forget_length(sound_file(noise, 8000, "FLAC", "PCM_16")))
        assert audio.probe(path).frames == samples
        np.testing.assert_allclose(audio.read(path, 8000), noise[:, 0], atol=1e-4)
