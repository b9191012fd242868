"""Compares the outputs of two runs of a command, apart from times and other values that vary."""

import hashlib
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import torch

#: File name and part of the file, to a digest.
Outputs = dict[tuple[str, str], str]

#: Files that keep lines of earlier runs.
JOURNALS = ("log.txt", ".lock", "progress.jsonl")

#: Parts of a file that is not readable.
UNREADABLE = "unreadable"


def read_outputs(folder: Path, output: str) -> Outputs:
    """Return digests of the parts of all files under an output."""
    root = folder / output
    files = sorted(root.rglob("*")) if root.is_dir() else [root]
    # Everything next to a file is an output too: lock, partial and companion files.
    if output and not root.is_dir():
        files = sorted(root.parent.iterdir()) if root.parent.is_dir() else []
    found: Outputs = {}
    for file in files:
        name = str(file.relative_to(folder))
        if file.is_dir():
            continue
        if not file.is_file():
            found[name, ""] = "no regular file"
            continue
        try:
            parts = dict(_parts(file))
        except Exception as error:
            parts = {UNREADABLE: f"{type(error).__name__} {len(file.read_bytes())}"}
        found |= {(name, part): digest for part, digest in parts.items()}
        found[name, ""] = "file"
    return found


def compare(expected: Outputs, found: Outputs, varying: set[tuple[str, str]]) -> str:
    """Describe the first difference of two outputs; empty if they are equal."""
    for kind, names in (
        ("missing", {name for name, _ in expected} - {name for name, _ in found}),
        ("left over", {name for name, _ in found} - {name for name, _ in expected}),
    ):
        names -= {name for name, part in varying if part == ""}
        if names:
            return f"{kind}: {', '.join(sorted(names))[:200]}"
    stable = [key for key in expected.keys() | found.keys() if key not in varying]
    varying_files = {name for name, _ in varying}
    for name, part in sorted(stable):
        one, other = expected.get((name, part)), found.get((name, part))
        # Text that varies may also have another number of lines.
        if one != other and not (name in varying_files and None in (one, other)):
            return f"{name} differs at {part or 'type'}"
    return ""


def find_varying(one: Outputs, other: Outputs) -> set[tuple[str, str]]:
    """Return the parts that differ between two undisturbed runs."""
    return {key for key in one.keys() | other.keys() if one.get(key) != other.get(key)}


def _digest(value: Any) -> str:
    data = value if isinstance(value, bytes) else repr(value).encode()
    return hashlib.sha256(data).hexdigest()[:16]


def _parts(file: Path) -> Iterator[tuple[str, str]]:
    suffix = file.suffix.lower()
    if suffix == ".parquet":
        table = pyarrow.parquet.read_table(file)
        for name in table.column_names:
            if name == "mtime_ns":
                continue
            column = table[name]
            # The size of a batch changes the last digits of a network's outputs.
            if pyarrow.types.is_floating(column.type):
                yield f"column {name}", _digest(np.round(column.to_numpy(), 2).tolist())
            else:
                yield f"column {name}", _digest(column.to_pylist())
        for key, value in (table.schema.metadata or {}).items():
            yield from _flatten(f"metadata {key.decode()}", _parsed(value))
    elif suffix in (".ckpt", ".pt"):
        yield from _flatten("", torch.load(file, map_location="cpu", weights_only=True))
    elif suffix == ".json":
        yield from _flatten("", json.loads(file.read_text(encoding="utf-8")))
    elif suffix == ".npz":
        with np.load(file) as arrays:
            yield from ((name, _digest(arrays[name].tobytes())) for name in arrays)
    elif suffix == ".pt2" or zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            yield from ((name, _digest(archive.read(name))) for name in archive.namelist())
    elif suffix in (".log", ".lock") or file.name in JOURNALS:
        return
    elif suffix in (".md", ".csv", ".txt", ".yaml", ".html", ".svg", ".toml", ".py"):
        lines = file.read_text(encoding="utf-8").splitlines()
        for number, line in enumerate(lines, 1):
            # A resumed run continues a checkpoint.
            if not line.startswith("ckpt_path:"):
                yield f"line {number}", _digest(line)
    else:
        yield "bytes", _digest(file.read_bytes())


def _parsed(value: bytes) -> Any:
    try:
        return json.loads(value)
    except ValueError:
        return value


def _flatten(name: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _flatten(f"{name}/{key}", item)
    elif isinstance(value, (list, tuple)) and len(value) < 1000:
        for number, item in enumerate(value):
            yield from _flatten(f"{name}/{number}", item)
    elif isinstance(value, torch.Tensor):
        yield (
            name,
            _digest(value.contiguous().view(-1).numpy().tobytes() + str(value.shape).encode()),
        )
    else:
        yield name, _digest(value)
