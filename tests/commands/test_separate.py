import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from mgc.cli import main
from mgc.features import song_separation
from mgc.features.separation import HarmonicPercussive, separate_audio

RATE = 8000


@pytest.fixture
def songs(tmp_path: Path) -> Path:
    """A stereo song of 5.3 s, and a short mono song in a sub-folder."""
    rng = np.random.default_rng(0)
    time = np.arange(int(5.3 * RATE)) / RATE
    hits = 0.3 * np.exp(-60 * (time % 0.5)) * rng.standard_normal(len(time))
    left, right = (0.1 * np.sin(2 * np.pi * pitch * time) + hits for pitch in (440, 660))
    (tmp_path / "songs" / "more").mkdir(parents=True)
    write = {"samplerate": RATE, "subtype": "FLOAT"}
    soundfile.write(tmp_path / "songs" / "long.wav", np.stack([left, right], 1), **write)
    soundfile.write(tmp_path / "songs" / "more" / "short.wav", left[:700], **write)
    return tmp_path / "songs"


def components(out: Path, name: str, *kinds: str) -> list[np.ndarray]:
    return [soundfile.read(out / f"{name}.{kind}.wav", dtype="float32")[0] for kind in kinds]


def test_components_add_up_to_the_song(songs: Path, tmp_path: Path) -> None:
    main(["separate", str(songs), "--out", str(tmp_path / "out")])
    song = soundfile.read(songs / "long.wav", dtype="float32")[0]
    found = components(tmp_path / "out", "long", "harmonic", "percussive")
    expected = separate_audio(torch.from_numpy(song.T), HarmonicPercussive())
    for written, component in zip(found, expected, strict=False):
        np.testing.assert_allclose(written, component.T, atol=1e-6)
    np.testing.assert_allclose(sum(found), song, atol=1e-6)
    assert soundfile.info(tmp_path / "out" / "long.harmonic.wav").samplerate == RATE
    short = components(tmp_path / "out", "more/short", "harmonic", "percussive")
    assert len(sum(short)) == 700
    assert not (tmp_path / "out" / "long.residual.wav").exists()


@pytest.mark.parametrize("seconds", [1, 2])
def test_separation_in_parts_equals_separation_at_once(
    songs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: int
) -> None:
    settings = ["--n-fft=512", "--hop-length=100", "--margin-harmonic=2", "--harmonic-length=9"]
    main(["separate", str(songs / "long.wav"), "--out", str(tmp_path / "whole"), *settings])
    monkeypatch.setattr(song_separation, "PART_SECONDS", seconds)
    main(["separate", str(songs / "long.wav"), "--out", str(tmp_path / "parts"), *settings])
    kinds = ("harmonic", "percussive", "residual")
    parts = components(tmp_path / "parts", "long", *kinds)
    for whole, part in zip(components(tmp_path / "whole", "long", *kinds), parts, strict=True):
        np.testing.assert_allclose(part, whole, atol=1e-6)
    np.testing.assert_allclose(sum(parts), soundfile.read(songs / "long.wav")[0], atol=1e-6)


def test_components_that_are_up_to_date_are_skipped_without_overwrite(
    songs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = songs / "components"  # in the input folder, but no input of the second run
    words = ["separate", str(songs), "--out", str(out)]
    main(words)
    first = (out / "long.harmonic.wav").stat().st_mtime_ns
    (out / "more" / "short.percussive.wav").unlink()
    main(words)
    assert f"Separated 1 song into {out}. Skipped 1 song: up to date." in capsys.readouterr().out
    assert (out / "more" / "short.percussive.wav").exists()
    assert (out / "long.harmonic.wav").stat().st_mtime_ns == first
    main([*words, "--overwrite"])
    assert (out / "long.harmonic.wav").stat().st_mtime_ns > first
    assert len(list(out.rglob("*.wav"))) == 4
    assert not list(out.rglob("*.partial"))


@pytest.mark.parametrize("check", ["sampled", "full"])
def test_components_are_separated_again_after_a_change(
    songs: Path, tmp_path: Path, check: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    song, harmonic = songs / "long.wav", out / "long.harmonic.wav"
    words = ["separate", str(song), "--out", str(out), "--check", check]
    main([*words, "--margin-harmonic", "2"])
    main(words)
    assert "margin_harmonic was 2.0, now 1.0" in capsys.readouterr().out
    assert not (out / "long.residual.wav").exists()
    expected = harmonic.read_bytes()
    for damaged in (expected[:100], bytes(len(expected))):
        harmonic.write_bytes(damaged)
        main(words)
        assert harmonic.read_bytes() == expected
    times = song.stat()
    samples, _ = soundfile.read(song)
    soundfile.write(song, samples[::-1], RATE, subtype="FLOAT")
    os.utime(song, ns=(times.st_atime_ns, times.st_mtime_ns))
    main(words)
    assert harmonic.read_bytes() != expected
    main(words)
    assert "Skipped 1 song: up to date." in capsys.readouterr().out


def test_components_not_written_by_mgc_are_kept(
    songs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = tmp_path / "out" / "long.harmonic.wav"
    own.parent.mkdir()
    own.write_bytes(b"my own")
    with pytest.raises(SystemExit):
        main(["separate", str(songs), "--out", str(own.parent)])
    assert own.read_bytes() == b"my own"
    out, err = capsys.readouterr()
    assert f"{own} exists, but mgc has no record" in err
    assert "Separated 1 song" in out
    main(["separate", str(songs), "--out", str(own.parent), "--overwrite"])
    assert own.read_bytes() != b"my own"


def test_broken_files_are_reported_and_counted(
    songs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (songs / "broken.mp3").write_bytes(b"no music")
    missing = str(songs / "missing.wav")
    with pytest.raises(SystemExit) as stop:
        main(["separate", str(songs), missing, "--out", str(tmp_path / "out")])
    assert stop.value.code == 2
    out, err = capsys.readouterr()
    assert "Separated 2 songs" in out
    assert "broken.mp3: " in err
    assert "missing.wav: missing" in err
    assert "2 of 4 songs could not be separated" in err
    assert not list((tmp_path / "out").glob("*broken*"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["--hop-length", "0"], "hop_length=0: must be a whole number"),
        (["--harmonic-length", "30"], "harmonic_length=30"),
        (["--margin-percussive", "0.5"], "margin_percussive=0.5"),
    ],
)
def test_settings_out_of_range(
    songs: Path, capsys: pytest.CaptureFixture[str], settings: list[str], message: str
) -> None:
    with pytest.raises(SystemExit):
        main(["separate", str(songs), "--out", "out", *settings])
    assert message in capsys.readouterr().err
    assert not Path("out").exists()


def test_songs_of_one_name_and_folders_without_songs(
    songs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (songs / "long.flac").touch()
    with pytest.raises(SystemExit):
        main(["separate", str(songs), "--out", "out"])
    assert "would write components with the same names" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    with pytest.raises(SystemExit):
        main(["separate", str(tmp_path / "empty"), "--out", "out"])
    assert "no audio files" in capsys.readouterr().err
