"""Test that changed inputs, settings and outputs are found, and unchanged ones are not read."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mgc.core import fingerprint
from mgc.core.file_cache import cache_folder
from mgc.core.fingerprint import (
    WHOLE_BYTES,
    Record,
    find_difference,
    hash_file,
    hash_files,
    hash_inputs,
    hash_values,
)
from mgc.errors import MgcError

LARGE = 2 * WHOLE_BYTES


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cache the digests of files that were written just now, too."""
    monkeypatch.setattr(fingerprint, "RECENT_NS", 0)


def write(path: Path, size: int = 200_000) -> Path:
    path.write_bytes(np.random.default_rng(0).bytes(size))
    return path


def rewrite(path: Path, start: int, size: int = 20_000) -> None:
    """Change a part of a file in place."""
    with path.open("r+b") as file:
        file.seek(start)
        file.write(bytes(size))


def keep_time(change: Callable[[Path], None], path: Path) -> None:
    """Change a file, and set back its modification time."""
    status = path.stat()
    change(path)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_small_files_have_their_sha256(tmp_path: Path) -> None:
    path = write(tmp_path / "song.wav")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert hash_files([path, tmp_path / "missing", tmp_path, path]) == [digest, "", "", digest]


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize("start", [0, 50_000, 180_000])
def test_a_rewritten_part_of_a_small_file_is_found(tmp_path: Path, start: int) -> None:
    path = write(tmp_path / "song.wav")
    before = hash_file(path)
    keep_time(lambda path: rewrite(path, start), path)
    assert hash_file(path) != before


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize("content_only", [False, True])
def test_a_rewritten_part_of_a_large_file_is_found(tmp_path: Path, content_only: bool) -> None:
    path = write(tmp_path / "song.wav", LARGE)
    before = hash_file(path, content_only=content_only)
    rewrite(path, LARGE // 3, 10)
    assert hash_file(path, content_only=content_only) != before


def test_a_full_check_finds_what_samples_miss(tmp_path: Path) -> None:
    path = write(tmp_path / "song.wav", LARGE)
    between = fingerprint.BLOCK_BYTES + 10
    sampled, full = hash_file(path), hash_file(path, "full")
    keep_time(lambda path: rewrite(path, between, 10), path)
    assert hash_file(path) == sampled
    assert hash_file(path, "full") != full


@pytest.mark.usefixtures("settled")
def test_unchanged_files_are_not_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [write(tmp_path / "small"), write(tmp_path / "large", LARGE)]
    known = hash_files(paths)
    monkeypatch.setattr(fingerprint, "_hash", lambda key: pytest.fail(f"{key} was read"))
    assert hash_files(paths) == known
    with pytest.raises(pytest.fail.Exception):
        hash_files(paths, "full")


def test_a_file_that_changed_just_now_is_read_again(tmp_path: Path) -> None:
    path = write(tmp_path / "song.wav")
    for value in range(20):
        path.write_bytes(bytes([value]) * 100)
        assert hash_file(path) == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_damaged_cache_costs_time_only(tmp_path: Path) -> None:
    path = write(tmp_path / "song.wav")
    known = hash_file(path)
    (cache_folder() / "digests.sqlite").write_bytes(b"no database" * 100)
    assert hash_file(path) == known


def test_values_have_different_digests() -> None:
    values = [
        np.arange(4),
        np.arange(4.0),
        np.arange(4).reshape(2, 2),
        np.array(["a", "b"], object),
        {"a": 1},
        ["a", 1],
        "a",
        b"a",
    ]
    assert len({hash_values(value) for value in values}) == len(values)
    assert hash_values("a", "b") != hash_values("ab")
    assert hash_values(np.arange(8)[::2]) == hash_values(np.arange(0, 8, 2))


def test_settings_that_name_files_count_by_content(tmp_path: Path) -> None:
    path = write(tmp_path / "weights.pt")
    settings = {"weights": str(path), "layers": [{"init": str(path)}], "name": "none", "n": 3}
    assert hash_inputs(settings) == {str(path): hash_file(path)}


def test_differences_are_described() -> None:
    digests = [hash_values(value) for value in (1, 2)]
    before = {"settings": {"power": 2.0, "size": 3}, "inputs": {"song": digests[0]}}
    assert find_difference(before, before) == ""
    assert find_difference(before, before | {"inputs": {"song": digests[1]}}) == "song has changed"
    assert find_difference(before, before | {"settings": {"power": 1.0, "size": 3}}) == (
        "power was 2.0, now 1.0"
    )
    assert find_difference(before, before | {"settings": {"power": 2.0}}) == "size was 3, now null"


class Copy:
    """Copies a file, with a record of it."""

    def __init__(self, folder: Path) -> None:
        self.song = write(folder / "song.wav", 1000)
        self.out = folder / "out.wav"
        self.settings = {"times": (1, 2)}

    def __call__(self) -> str:
        """Write the copy if it is not up to date, and return the reason."""
        record = Record(self.out.with_suffix(""), [self.out], self.settings, {"song": self.song})
        change = record.find_change()
        if change:
            with record.writing():
                self.out.write_bytes(self.song.read_bytes())
        return change


@pytest.fixture
def copy(tmp_path: Path) -> Copy:
    made = Copy(tmp_path)
    assert made() == "it does not exist"
    assert made() == ""
    return made


CHANGES: dict[str, Callable[[Copy], object]] = {
    "times was [1, 2], now [1, 3]": lambda copy: copy.settings.update(times=(1, 3)),
    "song has changed": lambda copy: keep_time(lambda path: rewrite(path, 500, 1), copy.song),
    "out.wav is missing": lambda copy: copy.out.unlink(),
    "out.wav has changed": lambda copy: keep_time(lambda path: rewrite(path, 500, 1), copy.out),
    "incomplete": lambda copy: (copy.out.parent / ".out.mgc.json").write_text("{"),
}


@pytest.mark.parametrize("reason", CHANGES)
def test_a_change_is_found_and_named(copy: Copy, reason: str) -> None:
    CHANGES[reason](copy)
    assert reason in copy()
    assert copy.out.read_bytes() == copy.song.read_bytes()
    assert copy() == ""


def test_other_input_of_the_same_name_and_size_is_found(copy: Copy, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    copy.song = tmp_path / "other" / "song.wav"
    copy.song.write_bytes(bytes(1000))
    assert copy() == "song has changed"


def test_an_interrupted_output_is_written_again(copy: Copy) -> None:
    record = Record(copy.out.with_suffix(""), [copy.out], {}, {"song": copy.song})

    def interrupt() -> None:
        with record.writing():
            copy.out.write_bytes(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupt()
    assert copy() == "it is incomplete"


def test_an_output_without_record_is_kept(tmp_path: Path) -> None:
    copy = Copy(tmp_path)
    copy.out.write_bytes(b"by hand")
    with pytest.raises(MgcError, match=r"out\.wav exists, but mgc has no record"):
        copy()
    assert copy.out.read_bytes() == b"by hand"


def test_outputs_that_are_no_longer_written_are_removed(copy: Copy, tmp_path: Path) -> None:
    other = tmp_path / "other.wav"
    record = Record(copy.out.with_suffix(""), [other], {}, {"song": copy.song})
    with record.writing():
        other.write_bytes(b"")
    assert not copy.out.exists()
