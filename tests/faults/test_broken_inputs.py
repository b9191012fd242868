"""Broken inputs are named in one line."""

import os
import random
import shutil
import zipfile
from pathlib import Path

import pytest
from fault_cases import Case
from fault_examples import CKPT, Material


def break_input(kind: str, path: Path, material: Material) -> None:
    """Replace a file or folder by something broken."""
    data = path.read_bytes() if path.is_file() else b""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    if kind == "empty":
        path.touch()
    elif kind == "truncated":
        path.write_bytes(data[: len(data) // 2])
    elif kind == "random bytes":
        path.write_bytes(random.Random(0).randbytes(max(5000, len(data))))
    elif kind == "a folder":
        path.mkdir()
    elif kind == "a named pipe":
        os.mkfifo(path)
    elif kind == "a text":
        path.write_text("no such thing\n" * 100)
    elif kind == "a zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("one.txt", "text")
    elif kind == "a table":
        shutil.copyfile(material.path("runs/one/test/tracks.parquet"), path)
    elif kind == "a checkpoint":
        shutil.copyfile(material.path(CKPT), path)
    elif kind == "a song":
        shutil.copyfile(material.path("music/genres/pop/pop.00000.wav"), path)


#: Kinds that are no file.
NO_FILE = ("missing", "a folder", "a named pipe")

KINDS = (
    "missing", "empty", "truncated", "random bytes", "a folder", "a named pipe", "a text", "a zip",
    "a table", "a checkpoint", "a song",
)  # fmt: skip


def input_files(case: Case, folder: Path) -> list[Path]:
    """Return an input of each kind: single files, and one file per suffix of each folder."""
    found: list[Path] = []
    for name in case.example.inputs:
        path = folder / name
        if path.is_dir():
            files = [file for file in sorted(path.rglob("*")) if file.is_file()]
            by_suffix = {
                file.suffix + file.parent.name * (file.suffix != ".wav"): file for file in files
            }
            found += [path, *by_suffix.values()]
        elif path.name not in [other.name for other in found] or path.suffix != ".wav":
            found.append(path)
    return [path.relative_to(folder) for path in found]


def is_same_format(kind: str, path: Path) -> bool:
    return {"a table": ".parquet", "a checkpoint": ".ckpt", "a song": ".wav"}.get(
        kind
    ) == path.suffix


def test_broken_inputs(case: Case) -> None:
    if not case.example.inputs or not case.example.reads:
        pytest.skip("reads no files")
    probe = case.new()
    tries = [
        (name, kind)
        for name in input_files(case, probe)
        for kind in (KINDS if not (probe / name).is_dir() else ("missing", "empty", "a folder"))
        if not is_same_format(kind, name)
    ]
    random.Random(case.name).shuffle(tries)
    for name, kind in tries[: case.limit(10)]:
        folder = case.new()
        break_input(kind, folder / name, case.material)
        ended = case.server.run(case.command, folder, timeout=20 + 5 * case.reference.seconds)
        problem = ended.problem(0, 1, 2)
        # A file inside a folder may be optional. A short song or text may be a complete one.
        optional = str(name) not in case.example.inputs and kind in NO_FILE
        # Many commands search folders for files.
        optional = optional or kind == "a folder"
        shorter = kind == "truncated" and name.suffix in (".wav", ".yaml")
        usual = ended.code in (0, case.example.code)
        if not problem and not (usual and (optional or shorter)):
            named = name.name in ended.text or name.stem in ended.text
            if not named and (ended.code or case.difference(folder) or not case.example.output):
                last = (ended.errors or ended.text.splitlines() or [""])[-1]
                problem = f"exit {ended.code}, does not name the file: {last[:160]}"
        case.add(f"{name} is {kind}", problem)
        shutil.rmtree(folder)
