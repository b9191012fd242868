import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from mgc.core.file_cache import stamp_file
from mgc.data import audio, length_cache
from mgc.data.length_cache import load_lengths


def write(path: Path, samples: int) -> str:
    soundfile.write(path, np.full(samples, 0.1), 8000)
    return str(path)


def test_a_known_file_is_not_opened_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [write(tmp_path / f"{n}.wav", 1000 + n) for n in range(3)]
    first = audio.probe_all(paths)
    monkeypatch.setattr(audio, "probe", lambda path: pytest.fail(f"{path} was opened"))
    assert audio.probe_all(paths) == first
    assert [info.frames for info in first] == [1000, 1001, 1002]


def test_a_changed_file_is_probed_again(tmp_path: Path) -> None:
    path = write(tmp_path / "song.wav", 1000)
    audio.probe_all([path])
    write(Path(path), 2000)
    assert audio.probe_all([path])[0].frames == 2000
    # Of the same size, as after a change of the sample rate.
    soundfile.write(path, np.full(2000, 0.1), 16000)
    os.utime(path, (0, 0))
    assert audio.probe_all([path])[0].sample_rate == 16000
    # Also with the same times.
    status = os.stat(path)
    soundfile.write(path, np.full(2000, 0.1), 32000)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert audio.probe_all([path])[0].sample_rate == 32000


def test_broken_files_are_not_kept(tmp_path: Path) -> None:
    path = tmp_path / "song.wav"
    path.write_bytes(b"broken")
    assert isinstance(audio.probe_all([str(path)])[0], audio.AudioError)
    assert load_lengths([stamp_file(str(path))]) == {}


@pytest.mark.parametrize("content", [b"", b"not a database" * 100])
def test_a_damaged_or_missing_cache_costs_time_only(tmp_path: Path, content: bytes) -> None:
    path = write(tmp_path / "song.wav", 1000)
    cache = length_cache.cache_file()
    cache.parent.mkdir(parents=True)
    cache.write_bytes(content)
    assert audio.probe_all([path])[0].frames == 1000


def test_a_cache_that_cannot_be_made_costs_time_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = tmp_path / "file"
    blocked.write_bytes(b"")
    monkeypatch.setenv("MGC_CACHE_DIR", str(blocked / "cache"))
    assert audio.probe_all([write(tmp_path / "song.wav", 1000)])[0].frames == 1000


SAVE = """
import sys
from mgc.data.length_cache import save_lengths
first = int(sys.argv[1])
for number in range(first, first + 100):
    save_lengths([((f"/song{number}", 1, 1, 1), (number, 8000, 1))])
"""


def test_two_processes_may_write() -> None:
    commands = [[sys.executable, "-c", SAVE, first] for first in ("0", "100")]
    for process in [subprocess.Popen(command) for command in commands]:
        assert process.wait() == 0
    keys = [(f"/song{number}", 1, 1, 1) for number in range(200)]
    assert [row[0] for row in load_lengths(keys).values()] == list(range(200))
