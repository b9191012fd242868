"""Generates checkpoints with contents that cannot be right, from a good one."""

import io
import math
import os
import pickle
import random
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

#: Values for any entry.
SCALARS: dict[str, Any] = {
    "none": None,
    "true": True,
    "zero": 0,
    "one": 1,
    "minus": -1,
    "huge": 10**12,
    "minus_huge": -(10**12),
    "bigint": 10**400,
    "small": 1e-300,
    "large": 1e308,
    "nan": math.nan,
    "inf": math.inf,
    "minus_inf": -math.inf,
    "empty": "",
    "word": "bogus",
    "null_character": "a\0b",
    "lines": "a\nb\r\x1b[31m",
    "path": "../../etc/passwd",
    "long": "x" * 1_000_000,
    "list": [],
    "dict": {},
    "tuple": (1, 2),
    "nested": [{"a": [1, {"b": None}]}],
    "int_keys": {1: 2, None: 3},
    "dtype": torch.float16,
    "size": torch.Size([2, 3]),
    "complex": 1j,
    "tensor": torch.zeros(3),
    "nan_tensor": torch.tensor(math.nan),
    "class_path": {"class_path": "os.system", "init_args": {"command": "true"}},
}


def deep_list(depth: int) -> list[Any]:
    """Return a list in a list in a list, and so on."""
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


def alias_bomb(depth: int) -> list[Any]:
    """Return a list with 9 to the power of ``depth`` items that needs little memory."""
    value: list[Any] = [1] * 9
    for _ in range(depth):
        value = [value] * 9
    return value


def quantized(tensor: Tensor) -> Tensor:
    """Return a tensor of 8-bit numbers with a scale."""
    return torch.quantize_per_tensor(tensor.detach().float(), 0.1, 0, torch.qint8)


#: Changes of a tensor.
TENSORS: dict[str, Callable[[Tensor], Any]] = {
    "all_nan": lambda t: torch.full(t.shape, math.nan),
    "one_nan": lambda t: t.float().index_put([torch.tensor(0)] * t.ndim, torch.tensor(math.nan)),
    "inf": lambda t: t.float().index_put([torch.tensor(0)] * t.ndim, torch.tensor(math.inf)),
    "large": lambda t: torch.full(t.shape, 3e38),
    "wider": lambda t: torch.cat([t.reshape(-1), t.reshape(-1)]),
    "unsqueezed": lambda t: t.unsqueeze(0),
    "transposed": lambda t: t.transpose(0, -1) if t.ndim > 1 else t[None],
    "empty": lambda t: torch.empty(0),
    "int": lambda t: t.to(torch.int64),
    "bool": lambda t: t != 0,
    "half": lambda t: t.half(),
    "bfloat16": lambda t: t.bfloat16(),
    "float8": lambda t: t.to(torch.float8_e4m3fn),
    "double": lambda t: t.double(),
    "complex": lambda t: t.to(torch.complex64),
    "quantized": quantized,
    "sparse": lambda t: t.to_sparse(),
    "meta": lambda t: t.to("meta"),
    "expanded": lambda t: torch.zeros(1).expand(10**12),
    "parameter": lambda t: torch.nn.Parameter(t) if t.is_floating_point() else t,
    "list": lambda t: t.flatten()[:100].tolist(),
    "none": lambda t: None,
    "word": lambda t: "weights",
    "nan": lambda t: math.nan,
}

#: Entries that most of the changes are made in.
SECTIONS = ("mgc", "hyper_parameters", "state_dict", "loops", "optimizer_states", "callbacks")

#: Lists of labels that cannot be right, made from the good ones.
LABELS: dict[str, Callable[[list[str]], Any]] = {
    "fewer": lambda labels: labels[:-1],
    "more": lambda labels: [*labels, "other"],
    "twice": lambda labels: [labels[0], *labels[:-1]],
    "none": lambda labels: [],
    "number": lambda labels: [*labels[:-1], 3],
    "blank": lambda labels: [*labels[:-1], ""],
    "text": lambda labels: "".join(label[0] for label in labels),
    "lists": lambda labels: [[label] for label in labels],
    "keys": lambda labels: dict.fromkeys(labels, 1),
    "many": lambda labels: [str(number) for number in range(300_000)],
}


class Code:
    """Would create a file when unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


def hostile_checkpoints(
    good: Path, folder: Path, count: int, seed: int = 0
) -> Iterator[tuple[str, Path]]:
    """Write changed copies of a checkpoint, one at a time.

    Each file is removed when the next one is requested. Some copies are still right, such as those
    with another unused entry. A copy with code creates ``folder/executed`` if the code runs.

    Args:
        good: Checkpoint of ``mgc fit``.
        folder: Existing folder for the copies.
        count: Number of copies.
        seed: Seed of the choices.

    Yields:
        A name that describes the change, and the path of the copy.
    """
    rng = random.Random(seed)
    contents = good.read_bytes()
    for number in range(count):
        # Each of the rarer kinds of change gets every sixth copy.
        kind = number % 6
        path = folder / f"hostile{number}.ckpt"
        if kind == 0:
            name = _change_file(rng, good, path)
        else:
            checkpoint = torch.load(io.BytesIO(contents), weights_only=True)
            change = _change_labels if kind == 1 else _change_entry
            name = change(rng, checkpoint)
            torch.save(checkpoint, path)
        yield f"{number:04d} {name}", path
        _remove(path)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        path.rmdir()
    else:
        path.unlink(missing_ok=True)


def _change_labels(rng: random.Random, checkpoint: dict[str, Any]) -> str:
    about = checkpoint["mgc"]
    name = rng.choice([*LABELS, "task", "rate", "clip", "hop"])
    if name in LABELS:
        about["labels"] = LABELS[name](about["labels"])
    elif name == "task":
        about["task"] = rng.choice(["multilabel", "regression", None, "MULTICLASS"])
        name += f" {about['task']}"
    else:
        key = {"rate": "sample_rate", "clip": "clip_seconds", "hop": "hop_seconds"}[name]
        about[key] = rng.choice([1, 1e-9, 0.001, 99, 8001, 44_100.5, 10**7, 10**9, 86400, -8000])
        name += f" {about[key]}"
    return f"labels {name}"


def _change_entry(rng: random.Random, checkpoint: dict[str, Any]) -> str:
    """Replace, remove, rename or add an entry at a random depth."""
    section = rng.choice([*SECTIONS, None])
    if section is None or not checkpoint.get(section):
        parent: Any = checkpoint
        key = rng.choice(list(parent))
        where = str(key)
    else:
        parent, key, where = checkpoint, section, section
        while rng.random() < 0.9 and isinstance(parent[key], dict | list | tuple) and parent[key]:
            if isinstance(parent[key], tuple):
                parent[key] = list(parent[key])
            parent = parent[key]
            key = rng.choice(list(parent) if isinstance(parent, dict) else range(len(parent)))
            where += f".{key}"
    how = rng.choice(["value", "value", "value", "value", "missing", "renamed", "extra"])
    if how == "missing":
        del parent[key]
    elif how == "renamed" and isinstance(parent, dict):
        parent[rng.choice(["other", "", 3, f"{key}x"])] = parent.pop(key)
    elif how == "extra" and isinstance(parent, dict):
        parent[rng.choice(["other", "__class__", 3, "self"])] = rng.choice([*SCALARS.values()])
    elif isinstance(parent[key], Tensor):
        how = rng.choice(list(TENSORS))
        try:
            parent[key] = TENSORS[how](parent[key])
        except (RuntimeError, NotImplementedError, IndexError):  # not for a single number
            parent[key] = None
    else:
        how = rng.choice([*SCALARS, "deep", "aliases", "same_but_text", "doubled"])
        if how == "deep":
            parent[key] = deep_list(150)
        elif how == "aliases":
            parent[key] = alias_bomb(30)
        elif how == "same_but_text":
            parent[key] = str(parent[key])
        elif how == "doubled":
            parent[key] = [parent[key], parent[key]]
        else:
            parent[key] = SCALARS[how]
    return f"{where} {how}"


def _change_file(rng: random.Random, good: Path, path: Path) -> str:
    """Write something other than a changed checkpoint."""
    contents = bytearray(good.read_bytes())
    kinds = ["cut", "flipped", "code", "pickle", "legacy", "bomb", "deep", "empty", "text", "zip"]
    if hasattr(os, "mkfifo"):
        kinds += ["folder", "link", "loop", "pipe", "nothing"]
    kind = rng.choice(kinds)
    if kind == "cut":
        path.write_bytes(contents[: rng.randrange(len(contents))])
    elif kind == "flipped":
        for _ in range(rng.choice([1, 10, 1000])):
            contents[rng.randrange(len(contents))] = rng.randrange(256)
        path.write_bytes(contents)
    elif kind in ("code", "pickle", "legacy"):
        checkpoint = torch.load(good, weights_only=True)
        if kind == "code":
            place = rng.choice([checkpoint, *(checkpoint[name] for name in SECTIONS[:3])])
            place["code"] = Code(path.parent / "executed")
        if kind == "pickle":
            path.write_bytes(pickle.dumps({"state_dict": Code(path.parent / "executed")}))
        else:
            torch.save(checkpoint, path, _use_new_zipfile_serialization=kind == "code")
    elif kind in ("bomb", "deep", "zip"):
        _change_archive(kind, good, path)
    elif kind in ("empty", "text"):
        path.write_text("" if kind == "empty" else "I am no checkpoint.\n" * 1000)
    elif kind == "folder":
        path.mkdir()
    elif kind in ("link", "loop"):
        path.symlink_to(good.absolute() if kind == "link" else path.absolute())
    elif kind == "pipe":
        os.mkfifo(path)
    return f"file {kind}"


def _change_archive(kind: str, good: Path, path: Path) -> None:
    """Compress millions of zeros as weights, nest lists very deeply, or leave out the contents."""
    with (
        zipfile.ZipFile(good) as source,
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
    ):
        for entry in source.infolist():
            data = source.read(entry)
            if kind == "bomb" and entry.filename.endswith("/data/0"):
                data = bytes(100_000_000)
            if kind == "deep" and entry.filename.endswith("data.pkl"):
                # A protocol, 100,000 empty lists, and the appending of each to the one before.
                data = b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b"."
            if kind != "zip" or not entry.filename.endswith("data.pkl"):
                archive.writestr(entry, data, zipfile.ZIP_DEFLATED)
