"""Fingerprints of results, so that a command skips only work whose result is up to date.

A result depends on the content of its input files, on settings and on the version of mgc. They are
stored with the result: in the metadata of a table or plan, or in a :class:`Record` beside other
files. Work is skipped only if they are equal and the result is undamaged.

Files are compared by SHA-256. The digest of an unchanged file is cached: a file is unchanged if its
size, its modification time and, except on Windows, the time of its last change of status are the
same. Of files of more than 4 MiB, :data:`BLOCKS` blocks and the modification time are hashed. This
does not detect

* a change between the blocks of such a file if its modification time was set back
* a change of any file that sets back the modification time, on a file system without change time

With ``check="full"``, files are read again and hashed as a whole. A file of more than 4 MiB then
counts as changed if its result was made with ``check="sampled"``.
"""

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, TypeVar

import mgc
from mgc.core.file_cache import FileCache, stamp_file
from mgc.core.writing import replacing
from mgc.errors import MgcError

T = TypeVar("T")
R = TypeVar("R")

#: How to compare files: ``sampled`` or ``full``.
Check = Literal["sampled", "full"]

#: Files up to this size are hashed as a whole.
WHOLE_BYTES = 4 * 2**20
#: Number and size of the blocks of larger files.
BLOCKS, BLOCK_BYTES = 64, 2**16

#: Columns of a table of files that :func:`find_changed` compares.
SOURCE_COLUMNS = ("path", "size", "mtime_ns", "checksum")

#: Time after a change during which a digest is not cached, in nanoseconds. A second change may
#: leave the same time stamp, because file systems count in steps of up to two seconds.
RECENT_NS = 2 * 10**9

#: Maximum length of a setting shown in a message.
MAX_MESSAGE_CHARS = 300

_CACHE = FileCache("digests.sqlite", "digests_1", {"digest": "TEXT"}, kind=True)


def hash_file(
    path: str | os.PathLike[str], check: Check = "sampled", content_only: bool = False
) -> str:
    """Hash a file (see :func:`hash_files`)."""
    return hash_files([path], check, content_only)[0]


def hash_files(
    paths: Sequence[str | os.PathLike[str]], check: Check = "sampled", content_only: bool = False
) -> list[str]:
    """Return the digest of each file; empty if it is missing or unreadable.

    Args:
        paths: The files.
        check: ``sampled`` uses cached digests, and blocks of large files; ``full`` neither.
        content_only: Whether to hash large files as a whole, so that their digest does not depend
            on the modification time.
    """
    whole = content_only or check == "full"
    stamps = _map(stamp_file, paths)
    keys = [
        (*stamp, "whole" if whole or stamp.size <= WHOLE_BYTES else "sampled")
        for stamp in stamps
        if stamp
    ]
    known = {} if check == "full" else {key: row[0] for key, row in _CACHE.load(keys).items()}
    new = list(dict.fromkeys(key for key in keys if key not in known))
    found = dict(zip(new, _map(_hash, new), strict=True))
    latest = time.time_ns() - RECENT_NS
    _CACHE.save((*key, value) for key, value in found.items() if value and max(key[2:4]) < latest)
    digests = iter([(known | found)[key] for key in keys])
    return [next(digests) if stamp else "" for stamp in stamps]


def hash_values(*values: Any) -> str:
    """Hash NumPy arrays, bytes and JSON values."""
    digest = hashlib.sha256()
    for value in values:
        if hasattr(value, "__array_interface__"):
            digest.update(f"{value.dtype.str}{value.shape}".encode())
            digest.update(value.tobytes() if value.dtype.hasobject else _buffer(value))
        elif isinstance(value, bytes | memoryview):
            digest.update(value)
        else:
            digest.update(json.dumps(value, sort_keys=True, default=str).encode())
        digest.update(b"\0")
    return digest.hexdigest()


def hash_inputs(settings: Any, check: Check = "sampled") -> dict[str, str]:
    """Return the digests of all files named by the strings in ``settings``, by path.

    Settings are JSON values, such as the arguments of a model.
    """
    paths = sorted(set(_iterate_paths(settings)))
    return dict(zip(paths, hash_files(paths, check), strict=True))


def find_changed(
    files: Iterable[tuple[str, int, int, str]],
    root: str | os.PathLike[str],
    made_ns: int,
    check: Check = "sampled",
) -> list[str]:
    """Return the files that have changed since they were hashed, without those that are missing.

    Args:
        files: Path relative to ``root``, size, modification time in nanoseconds and digest
            (``content_only``) of each file.
        root: Folder of the files.
        made_ns: Time when they were hashed. Files with equal size and modification time, and
            without a change of status since, are not read.
        check: ``full`` reads all files.
    """
    files = list(files)

    def is_unchanged(file: tuple[str, int, int, str]) -> bool | None:
        path, size, modified_ns, _ = file
        stamp = stamp_file(os.path.join(root, path))
        if stamp is None:
            return True
        if stamp.size != size:
            return False
        same = stamp.modified_ns == modified_ns and stamp.changed_ns <= made_ns
        return True if same and check == "sampled" else None

    known = dict(zip(files, _map(is_unchanged, files), strict=True))
    unknown = [file for file in files if known[file] is None]
    digests = hash_files([os.path.join(root, file[0]) for file in unknown], check, True)
    known |= {file: digest == file[3] for file, digest in zip(unknown, digests, strict=True)}
    return [file[0] for file in files if not known[file]]


def find_difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Describe the first difference between two fingerprints; empty if they are equal."""
    for name in dict.fromkeys([*before, *now]):
        old, new = before.get(name), now.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            difference = find_difference(old, new)
            if difference:
                return difference
        elif old != new:
            texts = [value if isinstance(value, str) else json.dumps(value) for value in (old, new)]
            if all(map(_is_digest, filter(None, texts))) and any(texts):
                return f"{name} has changed"
            if max(map(len, texts)) > MAX_MESSAGE_CHARS:
                return f"{name} is different"
            return f"{name} was {texts[0] or 'none'}, now {texts[1] or 'none'}"
    return ""


class Record:
    """Hidden JSON file beside the outputs of a command, with their fingerprint.

    Args:
        name: Path of the outputs without their endings, such as ``out/song``.
        outputs: The outputs, all in the same folder.
        settings: JSON values that the outputs depend on.
        inputs: Input files by name.
        check: How to compare files.
    """

    def __init__(
        self,
        name: str | os.PathLike[str],
        outputs: Sequence[Path],
        settings: dict[str, Any],
        inputs: Mapping[str, str | os.PathLike[str]],
        check: Check = "sampled",
    ) -> None:
        self.path = Path(name).with_name(f".{Path(name).name}.mgc.json")
        self.outputs = outputs
        self.check: Check = check
        digests = dict(zip(inputs, hash_files(list(inputs.values()), check), strict=True))
        made_from = {"version": mgc.__version__, "settings": settings, "inputs": digests}
        self.fingerprint = json.loads(json.dumps(made_from))  # lists instead of tuples

    def find_change(self) -> str:
        """Return why the outputs must be written (again); empty if they are up to date.

        Raises:
            MgcError: If an output exists but has no record.
        """
        saved = self._read()
        if saved is None:
            for path in self.outputs:
                if path.exists():
                    raise MgcError(
                        f"{path} exists, but mgc has no record of writing it. Remove it, or choose "
                        "another --out."
                    )
            return "it does not exist"
        if saved["outputs"] is None:
            return "it is incomplete"
        difference = find_difference(saved["fingerprint"], self.fingerprint)
        if difference:
            return difference
        for path, digest in zip(self.outputs, self._hash_outputs(), strict=True):
            if saved["outputs"].get(path.name) != digest:
                return f"{path} has changed" if digest else f"{path} is missing"
        return ""

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Record the outputs that are written in this context, and remove those of before."""
        saved = self._read() or {}
        self._write(None)
        yield
        names = [path.name for path in self.outputs]
        for name in (saved.get("outputs") or {}).keys() - set(names):
            self.path.with_name(name).unlink(missing_ok=True)
        self._write(dict(zip(names, self._hash_outputs(), strict=True)))

    def _hash_outputs(self) -> list[str]:
        return hash_files(self.outputs, self.check, content_only=True)

    def _read(self) -> dict[str, Any] | None:
        try:
            saved = json.loads(self.path.read_text(encoding="utf-8"))
            return {name: saved[name] for name in ("fingerprint", "outputs")}
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError):
            return {"fingerprint": {}, "outputs": None}  # damaged, so write the outputs again

    def _write(self, outputs: dict[str, str] | None) -> None:
        with replacing(self.path) as partial:
            text = json.dumps({"fingerprint": self.fingerprint, "outputs": outputs}, indent=1)
            partial.write_text(text, encoding="utf-8")


def _map(function: Callable[[T], R], items: Sequence[T]) -> list[R]:
    """Call a function on all items in threads, which hide the latency of network disks.

    Threads suffice, because hashlib releases the interpreter lock.
    """
    if len(items) < 2:
        return list(map(function, items))
    size = min(64, -(-len(items) // 8))
    chunks = [items[start : start + size] for start in range(0, len(items), size)]
    with ThreadPoolExecutor(8) as pool:
        found = pool.map(lambda chunk: list(map(function, chunk)), chunks)
        return [result for results in found for result in results]


def _hash(key: tuple[str, int, int, int, str]) -> str:
    path, size, modified, _, kind = key
    try:
        with open(path, "rb") as file:
            if kind == "whole":
                return hashlib.file_digest(file, "sha256").hexdigest()
            digest = hashlib.sha256(f"{size} {modified}".encode())
            for block in range(BLOCKS):
                file.seek((size - BLOCK_BYTES) * block // (BLOCKS - 1))
                digest.update(file.read(BLOCK_BYTES))
            return digest.hexdigest()
    except OSError:
        return ""


def _buffer(array: Any) -> Any:
    return memoryview(array if array.flags.c_contiguous else array.copy(order="C")).cast("B")


def _iterate_paths(settings: Any) -> Iterator[str]:
    if isinstance(settings, str) and stamp_file(settings):
        yield settings
    elif isinstance(settings, Mapping):
        for value in settings.values():
            yield from _iterate_paths(value)
    elif isinstance(settings, list | tuple):
        for value in settings:
            yield from _iterate_paths(value)


def _is_digest(text: str) -> bool:
    return len(text) in (16, 64) and all(char in "0123456789abcdef" for char in text)
