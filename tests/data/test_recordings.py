"""Copies of a recording in other forms are found, and different recordings are not."""

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from scipy.signal import butter, resample_poly, sosfilt

from mgc.cli import main
from mgc.data import audio, recordings
from mgc.data.folder import Folder
from mgc.data.landmarks import RATE, find_landmarks
from mgc.data.recordings import find_copies, read_landmarks

SOURCE_RATE = 22050


def melody(seed: int, seconds: float = 20.0) -> np.ndarray:
    """Return random notes with harmonics and noise."""
    rng = np.random.default_rng(seed)
    length = SOURCE_RATE // 5
    time = np.arange(length) / SOURCE_RATE
    notes = []
    for _ in range(round(seconds * 5)):
        pitch = 110 * 2 ** (rng.integers(0, 36) / 12)
        partials = [np.sin(2 * np.pi * n * pitch * time) / n for n in range(1, 5)]
        notes.append(np.exp(-6 * time) * sum(partials))
    mono = np.concatenate(notes) + rng.normal(0, 0.01, len(notes) * length)
    return (0.5 * mono / np.abs(mono).max()).astype(np.float32)


def write(path: Path, samples: np.ndarray, rate: int = SOURCE_RATE, **options: object) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate, **options)  # type: ignore[arg-type]
    return str(path)


def fade(samples: np.ndarray) -> np.ndarray:
    ramp = np.minimum(1, np.arange(len(samples)) / (5 * SOURCE_RATE))
    return samples * ramp * ramp[::-1]


def telephone(samples: np.ndarray) -> np.ndarray:
    return sosfilt(butter(2, [300, 3400], "band", fs=SOURCE_RATE, output="sos"), samples)


def noisy(samples: np.ndarray) -> np.ndarray:
    noise = np.random.default_rng(0).normal(0, 1, len(samples))
    return samples + noise * np.sqrt((samples**2).mean()) * 10 ** (-15 / 20)


def stereo(samples: np.ndarray) -> np.ndarray:
    mono = resample_poly(samples, 2, 1)
    return np.stack([mono, 0.5 * mono], 1)


Copy = Callable[[Path, np.ndarray], str]

COPIES: dict[str, Copy] = {
    "quiet": lambda f, x: write(f / "x.wav", 0.02 * x),
    "clipped": lambda f, x: write(f / "x.wav", np.clip(4 * x, -1, 1)),
    "eight bits": lambda f, x: write(f / "x.wav", x, subtype="PCM_U8"),
    "mp3": lambda f, x: write(f / "x.mp3", x, compression_level=0.95),
    "vorbis": lambda f, x: write(f / "x.ogg", x, compression_level=0.95),
    "opus": lambda f, x: write(
        f / "x.opus", resample_poly(x, 320, 147), 48000, format="OGG", subtype="OPUS"
    ),
    "8 kHz": lambda f, x: write(f / "x.wav", resample_poly(x, 160, 441), 8000),
    "stereo at 44.1 kHz": lambda f, x: write(f / "x.wav", stereo(x), 44100),
    "cut of 5 s": lambda f, x: write(f / "x.wav", x[7 * SOURCE_RATE : 12 * SOURCE_RATE]),
    "starts later": lambda f, x: write(f / "x.wav", x[round(3.217 * SOURCE_RATE) :]),
    "silence before": lambda f, x: write(f / "x.wav", np.pad(x, (50_123, 0))),
    "fades": lambda f, x: write(f / "x.wav", fade(x)),
    "telephone": lambda f, x: write(f / "x.wav", telephone(x)),
    "noise": lambda f, x: write(f / "x.wav", noisy(x)),
}


@pytest.mark.parametrize("kind", COPIES)
def test_a_copy_is_found_among_others(kind: str, tmp_path: Path) -> None:
    others = [write(tmp_path / f"{seed}.wav", melody(seed)) for seed in range(6)]
    copy = COPIES[kind](tmp_path / "copy", melody(2))
    pairs = find_copies(pd.DataFrame({"path": [*others, copy]}))
    assert list(zip(pairs["first"], pairs["second"], strict=True)) == [(2, 6)]


def test_offsets_are_in_seconds(tmp_path: Path) -> None:
    whole = write(tmp_path / "whole.wav", melody(0))
    later = write(tmp_path / "later.wav", melody(0)[3 * SOURCE_RATE :])
    before, after = (
        find_copies(pd.DataFrame({"path": p})) for p in ([whole, later], [later, whole])
    )
    assert before["offset"].item() == pytest.approx(-3, abs=0.05)
    assert after["offset"].item() == pytest.approx(3, abs=0.05)


def test_excerpts_of_a_file_are_compared(tmp_path: Path) -> None:
    path = write(tmp_path / "song.wav", melody(0))
    catalogue = pd.DataFrame({"path": path, "begin": [0.0, 10.0, 5.0], "end": [10.0, 20.0, np.inf]})
    pairs = find_copies(catalogue)
    assert list(zip(pairs["first"], pairs["second"], strict=True)) == [(0, 2), (1, 2)]


@pytest.mark.parametrize("samples", [0, 1, 500, 30_000])
def test_silence_has_no_landmarks(samples: int) -> None:
    assert find_landmarks(np.zeros(samples, np.float32)).shape == (2, 0)


def test_files_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"RIFF")
    paths = [write(tmp_path / "a.wav", melody(0)), str(broken), str(tmp_path / "missing.wav")]
    landmarks = read_landmarks(paths)
    np.testing.assert_array_equal(landmarks[0], find_landmarks(audio.read(paths[0], RATE)))
    assert [marks.shape[1] for marks in landmarks[1:]] == [0, 0]
    monkeypatch.setattr(recordings, "find_landmarks", lambda audio: pytest.fail("read again"))
    np.testing.assert_array_equal(read_landmarks(paths)[0], landmarks[0])
    # Another channel is other audio.
    with pytest.raises(pytest.fail.Exception, match="read again"):
        read_landmarks(paths, channel=0)


@pytest.fixture
def music(tmp_path: Path) -> Path:
    """Songs of two classes, each with a copy of another codec."""
    for number in range(10):
        genre = ("jazz", "rock")[number % 2]
        song = melody(number, 6)
        write(tmp_path / "music" / genre / f"{number}.wav", song)
        write(tmp_path / "music" / genre / f"{number}_copy.ogg", 0.5 * song)
    return tmp_path / "music"


def test_random_splits_keep_copies_together(music: Path) -> None:
    divided = []
    for group_by in ("group", "recording"):
        data = Folder(str(music), split="fold", folds=5, group_by=group_by)  # type: ignore[arg-type]
        data.setup("test")
        song = data.tracks["track"].str.extract(r"(\d+)")[0]
        divided.append(int((data.tracks.groupby(song)["split"].nunique() > 1).sum()))
    assert divided[0] > 0
    assert divided[1] == 0


def test_the_catalogue_groups_copies(music: Path) -> None:
    # Checks of all folds, before the first is trained, draw their splits from the catalogue.
    groups = Folder(str(music), group_by="recording").load_catalogue().groupby("group")["track"]
    assert sorted(map(sorted, groups.agg(list))) == sorted(
        [f"{genre}/{n}.wav", f"{genre}/{n}_copy.ogg"]
        for n in range(10)
        for genre in [("jazz", "rock")[n % 2]]
    )


def test_given_splits_that_divide_copies_log_a_warning(
    music: Path, caplog: pytest.LogCaptureFixture
) -> None:
    names = [path.relative_to(music).as_posix() for path in audio.find_files(music)]
    splits = [
        "test" if "copy" in n else "val" if "/8" in n or "/9" in n else "train" for n in names
    ]
    table = pd.DataFrame({"path": names, "label": [n[:4] for n in names], "split": splits})
    table.to_csv(music / "table.csv", index=False)
    data = Folder(str(music), table="table.csv", split="given", group_by="recording")
    with caplog.at_level(logging.WARNING):
        data.setup("test")
    assert "10 tracks have their recording in another split, too" in caplog.text
    assert "jazz/0_copy.ogg: the same recording as jazz/0.wav, in test and train" in caplog.text


def test_verify_lists_copies(music: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["data", "verify", "folder", "--root", str(music)])
    assert "copy" not in capsys.readouterr().out
    with pytest.raises(SystemExit) as stopped:
        main(["data", "verify", "folder", "--root", str(music), "--near"])
    assert stopped.value.code == 1
    out = capsys.readouterr().out
    assert "the same recording as rock/1.wav" in out
    counts = dict(line.split() for line in out.splitlines() if len(line.split()) == 2)
    assert int(counts["divided"]) + int(counts.get("copy", 0)) == 10
    main(
        [
            "data",
            "verify",
            "folder",
            "--root",
            str(music),
            "--near",
            "--data_args.group_by",
            "recording",
        ]
    )
    assert "No harmful problems found." in capsys.readouterr().out


def test_data_without_audio_has_no_copies(tmp_path: Path) -> None:
    from mgc.data.msd import MSDKey
    from mgc.errors import MgcError

    with pytest.raises(MgcError, match="MSDKey has no audio files"):
        MSDKey(str(tmp_path)).find_copies(pd.DataFrame())
