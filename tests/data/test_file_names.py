"""Names of files in copies of data sets."""

import os
import unicodedata
from pathlib import Path

import pytest

from mgc.data.file_names import find_name, find_names


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("Fold1/A.WAV", "fold2/b.wav", "fold2/B.wav", "Cafe\u0301/c.mp3"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    return tmp_path


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("fold1/a.wav", "Fold1/A.WAV"),
        ("fold2/b.wav", "fold2/b.wav"),
        ("fold2/B.wav", "fold2/B.wav"),
        ("caf\u00e9/C.mp3", "Cafe\u0301/c.mp3"),
        ("fold2/none.wav", "fold2/none.wav"),
        ("none/a.wav", "none/a.wav"),
        ("fold1/../fold2/b.wav", "fold1/../fold2/b.wav"),
        ("FOLD1", "Fold1"),
    ],
)
def test_names_are_found_in_any_case(root: Path, name: str, expected: str) -> None:
    assert find_name(root, name) == Path(root, expected)


def test_relative_roots_work(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    assert find_name(Path(), "fold1/a.wav") == Path("Fold1/A.WAV")
    assert find_names(Path(), [str(root / "fold1")]) == [str(root / "fold1")]


def test_other_unicode_forms_are_found(root: Path) -> None:
    name = unicodedata.normalize("NFC", "Cafe\u0301/c.mp3")
    assert os.path.exists(find_name(root, name))
