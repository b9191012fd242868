"""Damaged and unusual files are named in one line."""

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from mgc.core.csv import read_csv, read_text_csv
from mgc.core.text_files import read_json_object, read_text
from mgc.core.yaml_files import read_yaml
from mgc.errors import MgcError
from mgc.runs.folder import RECORD, read_record


def test_text_and_objects_are_read(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text('{"name": "ü"}', encoding="utf-8")
    assert read_json_object(tmp_path / "run.json") == {"name": "ü"}
    assert read_text(tmp_path / "run.json", 5) == '{"nam'


@pytest.mark.parametrize("read", [read_text, read_json_object, read_yaml, read_csv, read_text_csv])
@pytest.mark.timeout(10)
def test_named_pipes_and_folders_are_refused_without_waiting(
    read: Callable[[Path], object], tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path):
        with pytest.raises(MgcError, match=rf"{re.escape(str(path))}.*(regular file|folder)"):
            read(path)


@pytest.mark.parametrize("read", [read_text, read_json_object, read_yaml])
def test_missing_and_binary_files_are_named(read: Callable[[Path], object], tmp_path: Path) -> None:
    path = tmp_path / "values"
    with pytest.raises(MgcError, match="values: No such file"):
        read(path)
    path.write_bytes(b"\x80\x02PK\xff")
    with pytest.raises(MgcError, match="values is not a text file"):
        read(path)


@pytest.mark.parametrize("text", ["", '{"fit": {', "[1, 2]", "3", "[" * 100_000])
def test_damaged_records_of_runs_are_named(text: str, tmp_path: Path) -> None:
    assert read_record(tmp_path) == {}
    (tmp_path / RECORD).write_text(text)
    with pytest.raises(MgcError, match=f"{RECORD} is damaged"):
        read_record(tmp_path)


@pytest.mark.parametrize("data", [b"", b"\xcd\xff\x00", b'a,b\n"1'])
def test_damaged_tables_are_named(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "summary.csv"
    path.write_bytes(data)
    with pytest.raises(MgcError, match=r"summary\.csv is not a CSV table"):
        read_csv(path)
