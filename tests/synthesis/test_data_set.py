import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from scipy import signal
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mgc.errors import MgcError
from mgc.synthesis import data_set as synthesis
from mgc.synthesis.composition import compose, parse_chord
from mgc.synthesis.data_set import render, synthesise
from mgc.synthesis.genres import BASS, CHORDS, DRUMS, GENRES, MELODY_STYLES, SCALES
from mgc.synthesis.instruments import KITS, VOICES, Note, play

GTZAN_GENRES = ["blues", "classical", "country", "disco", "hiphop"]
GTZAN_GENRES += ["jazz", "metal", "pop", "reggae", "rock"]


def contents(root: Path) -> dict[str, bytes]:
    """Return the files in a folder, without mgc's cache of digests."""
    files = [p for p in root.rglob("*") if p.is_file() and p.parent.name != "cache"]
    return {str(p.relative_to(root)): p.read_bytes() for p in files}


@pytest.fixture(scope="module")
def data_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("synthetic")
    synthesise(root, 2, seconds=2, sample_rate=8000, workers=1, progress=False)
    return root


def test_layout_and_format_are_those_of_gtzan(tmp_path):
    files = synthesise(tmp_path, 2, seconds=1.5, workers=1, progress=False)
    expected = [
        tmp_path / "genres" / genre / f"{genre}.{number:05d}.wav"
        for genre in GTZAN_GENRES
        for number in (0, 1)
    ]
    assert files == expected
    assert sorted((tmp_path / "genres").rglob("*.*")) == expected
    for file in files:
        info = soundfile.info(file)
        assert (info.format, info.subtype, info.channels) == ("WAV", "PCM_16", 1)
        assert (info.samplerate, info.frames) == (22050, 33075)


def test_tracks_depend_neither_on_workers_nor_on_other_tracks(data_set, tmp_path):
    synthesise(tmp_path, 1, seconds=2, sample_rate=8000, workers=2, progress=False)
    here, there = contents(tmp_path), contents(data_set)
    del here[".synthesis.mgc.json"]  # lists all tracks
    assert len(here) == 11
    assert all(there[name] == content for name, content in here.items())


def test_tracks_differ_by_number_genre_and_seed():
    tracks = [render(*which, seconds=2, sample_rate=8000, seed=seed).tobytes()
              for which in (("jazz", 0), ("jazz", 1), ("rock", 0)) for seed in (0, 1)]  # fmt: skip
    assert len(set(tracks)) == 6


@pytest.mark.parametrize("genre", GTZAN_GENRES)
@pytest.mark.parametrize("sample_rate", [8000, 44100])
def test_level_offset_and_rumble(genre, sample_rate):
    for number in range(2):
        audio = render(genre, number, 6, sample_rate, seed=3) / 32768
        assert audio.shape == (6 * sample_rate,)
        assert np.abs(audio).max() < 0.995
        assert abs(audio.mean()) < 1e-3
        loudness = np.sqrt(np.square(audio.reshape(2, -1)).mean(axis=1))
        assert (loudness > 0.005).all()  # no half is silent
        spectrum = np.square(np.abs(np.fft.rfft(audio)))
        assert spectrum[: 6 * 20].sum() < 0.02 * spectrum.sum()  # nothing below 20 Hz


def log_spectrum_statistics(audio: np.ndarray, sample_rate: int) -> np.ndarray:
    _, _, power = signal.spectrogram(audio / 32768, sample_rate, nperseg=512)
    edges = np.unique(np.geomspace(1, len(power), 21).astype(int))
    bands = np.log(np.add.reduceat(power, edges[:-1], axis=0) + 1e-10)
    bands -= bands.mean()  # ignore loudness
    return np.concatenate((bands.mean(1), bands.std(1), np.diff(bands).std(1)))


def test_timbre_predicts_genres_but_loudness_does_not():
    number = 12
    tracks = [render(genre, i, 4, 11025, seed=0) for genre in GTZAN_GENRES for i in range(number)]
    genres = np.repeat(np.arange(10), number)
    held_out = np.tile(np.arange(number), 10) % 3 == 0

    def accuracy(features: np.ndarray) -> float:
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=500))
        model.fit(features[~held_out], genres[~held_out])
        return model.score(features[held_out], genres[held_out])

    timbre = np.stack([log_spectrum_statistics(track, 11025) for track in tracks])
    loudness = np.log([[np.square(track.astype(float)).mean()] for track in tracks])
    assert accuracy(timbre) > 0.3  # chance is 0.1
    assert accuracy(loudness) < 0.3


def test_song_does_not_depend_on_the_sample_rate():
    low, high = (
        signal.resample_poly(render("pop", 0, 4, rate, seed=0).astype(float), 1, rate // 8000)
        for rate in (8000, 16000)
    )

    def loudness(audio: np.ndarray) -> np.ndarray:
        return np.log(np.square(audio.reshape(-1, 800)).mean(axis=1))

    assert np.corrcoef(loudness(low), loudness(high))[0, 1] > 0.8


def test_notes_have_their_pitch():
    rng = np.random.default_rng(0)
    for name in ("piano", "violin", "church organ", "electric bass"):
        audio = play(VOICES[name], [Note(0.0, 2.0, 57, 1.0)], 22050, 22050, rng)
        peak = np.abs(np.fft.rfft(audio * np.hanning(22050)))[180:260].argmax() + 180
        assert peak == pytest.approx(220, abs=3)  # MIDI 57 is 220 Hz; a bin is 1 Hz


def test_tables_have_valid_keys():
    for genre in GENRES.values():
        assert set(genre.drums) <= set(DRUMS)
        assert set(genre.kits) <= set(KITS)
        assert set(genre.scales) <= set(SCALES)
        for table, patterns in (
            (genre.bass, BASS),
            (genre.chords, CHORDS),
            (genre.leads, MELODY_STYLES),
        ):
            for choice in table:
                voice, pattern = choice.split("/")
                assert voice in VOICES
                assert pattern in patterns
        for progression in genre.harmony:
            for numeral in progression.replace(",", " ").split():
                parse_chord(numeral, key=0)
    pieces = {piece for groove in DRUMS.values() for piece in groove}
    assert all(pieces <= set(kit) for kit in KITS.values())
    rows = [*BASS.values(), *CHORDS.values(), *(r for g in DRUMS.values() for r in g.values())]
    assert {len(row.replace(" ", "")) for row in rows} == {12, 16, 32}


@pytest.mark.parametrize(
    ("numeral", "chord"),
    [
        ("I", (2, (0, 4, 7))),
        ("ii7", (4, (0, 3, 7, 10))),
        ("bVImaj7", (10, (0, 4, 7, 11))),
        ("iim7b5", (4, (0, 3, 6, 10))),
        ("bii7", (3, (0, 3, 7, 10))),
    ],
)
def test_roman_numerals_in_d(numeral, chord):
    assert parse_chord(numeral, key=2) == chord


def test_tempos_differ_between_genres_and_overlap():
    def tempos(genre: str) -> np.ndarray:
        return np.array([compose(genre, 1, np.random.default_rng(i)).tempo for i in range(60)])

    reggae, metal = tempos("reggae"), tempos("metal")
    assert np.median(reggae) < 95 < np.median(metal)
    assert reggae.max() > metal.min()


def test_keeps_existing_tracks_and_adds_missing_ones(data_set, tmp_path):
    files = synthesise(tmp_path, 1, seconds=2, sample_rate=8000, workers=1, progress=False)
    written = files[0].stat().st_mtime_ns
    files[1].unlink()
    synthesise(tmp_path, 2, seconds=2, sample_rate=8000, workers=1, progress=False)
    assert contents(tmp_path) == contents(data_set)
    assert files[0].stat().st_mtime_ns == written


@pytest.mark.parametrize("finished", [False, True])
def test_tracks_that_were_cut_or_edited_are_written_again(data_set, tmp_path, finished, caplog):
    shutil.copytree(data_set, tmp_path, dirs_exist_ok=True)
    first, second = sorted(tmp_path.rglob("*.wav"))[:2]
    first.write_bytes(first.read_bytes()[:100])
    if finished:
        second.write_bytes(bytes(second.stat().st_size))
    else:
        (tmp_path / synthesis.DIGESTS).unlink()
    synthesise(tmp_path, 2, seconds=2, sample_rate=8000, workers=1, progress=False)
    assert f"{1 + finished} tracks have changed" in caplog.text
    assert contents(tmp_path) == contents(data_set)


def test_failed_write_leaves_no_file(data_set, tmp_path, monkeypatch):
    write_bytes = Path.write_bytes
    written = []

    def full_disk(path: Path, content: bytes) -> int:
        written.append(path)
        if len(written) > 2 * list(GENRES).index("jazz"):
            write_bytes(path, content[:100])
            raise OSError(28, "No space left on device")
        return write_bytes(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full_disk)
        with pytest.raises(MgcError, match=r"jazz\.00000\.wav: cannot be written: No space left"):
            synthesise(tmp_path, 2, seconds=2, sample_rate=8000, workers=1, progress=False)
    assert "genres/disco/disco.00000.wav" in contents(tmp_path)
    assert not any("jazz" in name for name in contents(tmp_path))
    synthesise(tmp_path, 2, seconds=2, sample_rate=8000, workers=1, progress=False)
    assert contents(tmp_path) == contents(data_set)


def test_rerun_resumes_after_a_kill(data_set, tmp_path):
    # The process exits without cleanup after half of the second track.
    script = f"""
import os, sys
from pathlib import Path
from mgc.synthesis.data_set import synthesise
assert "torch" not in sys.modules  # its import is slow
write_bytes = Path.write_bytes
written = []
def die(path, content):
    written.append(path)
    if len(written) == 2:
        write_bytes(path, content[: len(content) // 2])
        os._exit(9)
    return write_bytes(path, content)
Path.write_bytes = die
synthesise({str(tmp_path)!r}, 2, seconds=2, sample_rate=8000, workers=1, progress=False)
"""
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 9
    assert [p.name for p in tmp_path.rglob("*.wav")] == ["blues.00000.wav"]
    synthesise(tmp_path, 2, seconds=2, sample_rate=8000, workers=1, progress=False)
    here, there = contents(tmp_path), contents(data_set)
    assert {name: here[name] for name in there} == there


def test_other_arguments_are_refused(data_set):
    with pytest.raises(MgcError, match="Choose another folder"):
        synthesise(data_set, 2, seconds=2, sample_rate=8000, seed=1, progress=False)
    assert json.loads((data_set / synthesis.SETTINGS).read_text())["seed"] == 0


def test_other_music_is_refused(tmp_path):
    (tmp_path / "genres").mkdir()
    with pytest.raises(MgcError, match="was not synthesised by mgc"):
        synthesise(tmp_path, 1, progress=False)
    assert contents(tmp_path) == {}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tracks_per_genre": 0}, "tracks_per_genre=0: must be a whole number from 1"),
        ({"seconds": 0}, "seconds=0: must be a number greater than 0"),
        ({"seconds": float("nan")}, "seconds=nan: must be a number greater than 0"),
        ({"seconds": 1e-6}, "less than one sample"),
        ({"sample_rate": 4000}, "sample_rate=4000: must be a whole number from 8000"),
        ({"seed": -1}, "seed=-1: must be a whole number from 0"),
        ({"workers": 0}, "workers=0: must be a whole number from 1"),
    ],
)
def test_bad_arguments_are_one_line(tmp_path, arguments, message):
    with pytest.raises(MgcError, match=message) as error:
        synthesise(tmp_path / "new", **{"tracks_per_genre": 1, "progress": False} | arguments)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "new").exists()


def test_root_must_be_a_folder_that_can_be_written(tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(MgcError, match="is a file"):
        synthesise(file, 1, progress=False)
    with pytest.raises(MgcError, match="cannot be written"):
        synthesise(file / "below", 1, progress=False)
