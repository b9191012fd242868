"""Writes files and folders atomically, and checks and locks the outputs of commands."""

import errno
import functools
import inspect
import os
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Any, TypeVar, cast

from mgc.core import locking
from mgc.errors import MgcError

F = TypeVar("F", bound=Callable[..., Any])

#: Errors of an output path: not writable, not valid, or something else in its place. Other
#: OSErrors may be bugs.
WRITE_ERRORS = (
    errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.EACCES, errno.EPERM,
    errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENOTEMPTY, errno.ENAMETOOLONG,
    errno.ELOOP, errno.EIO, errno.ESTALE, errno.EILSEQ,
)  # fmt: skip

#: Bytes to append to a file that a library failed to write, to find out why.
PROBE_BYTES = 1 << 20

#: Suffix of the names of partial files and folders.
PARTIAL = ".partial"

#: Folders whose abandoned partial files were removed since this process last locked an output.
_cleaned: set[str] = set()

#: Device and inode of the input files that must not be overwritten.
_inputs: ContextVar[frozenset[tuple[int, int]]] = ContextVar("inputs", default=frozenset())


class WriteError(MgcError):
    """An output cannot be written.

    Args:
        path: File or folder.
        reason: Reason.
        number: Number of the system's error, if known.
    """

    def __init__(self, path: str | os.PathLike[str], reason: str, number: int = 0) -> None:
        super().__init__(f"{os.fspath(path)}: {reason}")
        self.path, self.reason, self.number = path, reason, number

    @property
    def is_general(self) -> bool:
        """Whether other files in the same folder cannot be written either."""
        return self.number not in (0, errno.ENAMETOOLONG, errno.EISDIR, errno.EEXIST)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.path, self.reason, self.number)


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path that replaces ``path`` on success. Creates the parent folder.

    Temporary files of killed processes in the same folder are removed.

    Raises:
        WriteError: If the file cannot be written, is an input of the command or not a regular
            file. The error of a library is replaced if the disk is full, read-only or the like.
    """
    path = Path(path)
    with _partial(path, path.parent) as partial:
        _check_replaceable(path)
        yield partial
        _check_replaceable(path)
        partial.replace(path)


@contextmanager
def all_or_nothing(folder: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary folder whose files move to ``folder`` on success. Creates ``folder``.

    Raises:
        WriteError: As for :func:`replacing`.
    """
    target = Path(folder)
    with _partial(target, target, is_folder=True) as partial:
        yield partial
        for path in partial.iterdir():
            if path.is_file():
                _check_replaceable(target / path.name)
        for path in partial.iterdir():
            path.replace(target / path.name)


@contextmanager
def output_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Check and lock a file that a command writes. Links are followed, ``~`` is expanded.

    Raises:
        MgcError: If it is in use, an input, a folder or not a regular file, or cannot be written.
    """
    target = Path(os.path.expanduser(path))
    if target.is_symlink():
        target = Path(os.path.realpath(target))
    with ExitStack() as stack:
        with naming_errors(target):
            _check_replaceable(target)
            stack.enter_context(_created(target.parent))
            stack.enter_context(locking.locked(target))
        _cleaned.clear()
        yield target


@contextmanager
def output_folder(
    path: str | os.PathLike[str],
    shard: tuple[int, int] = (0, 1),
    advice: str = ", or choose another --out",
) -> Iterator[Path]:
    """Check and lock a folder that a command writes; create it. ``~`` is expanded.

    A new folder without files is removed at the end. If several processes each write a share of
    the files, ``shard`` is the index of this one and their number. ``advice`` is as for
    :func:`mgc.core.locking.locked`.

    Raises:
        MgcError: If it is in use, not a folder, or cannot be written.
    """
    target = Path(os.path.expanduser(path))
    with ExitStack() as stack:
        with naming_errors(target):
            if target.exists() and not target.is_dir():
                raise WriteError(target, "is a file, not a folder.", errno.ENOTDIR)
            stack.enter_context(_created(target))
            share = target / f"shard-{shard[0]}-of-{shard[1]}" if shard[1] > 1 else target
            stack.enter_context(locking.locked(share, advice))
        _cleaned.clear()
        yield target


def writes_file(name: str = "out") -> Callable[[F], F]:
    """Decorate a function that writes the file given by the argument ``name``.

    The output is checked and locked (see :func:`output_file`); the function receives its expanded
    path. No file given by another argument may be overwritten. None writes nothing.
    """
    return functools.partial(_writes, output=output_file, name=name)


def writes_folder(name: str = "out", apart: bool = False) -> Callable[[F], F]:
    """Decorate a function that writes into the folder given by the argument ``name``.

    See :func:`writes_file`. With ``apart``, no other argument may be the same folder.
    """
    return functools.partial(_writes, output=output_folder, name=name, apart=apart)


@contextmanager
def protected(paths: Iterable[Any]) -> Iterator[None]:
    """Refuse to overwrite these input files. Strings that are no paths are ignored."""
    found = set()
    for path in paths:
        with suppress(OSError, ValueError):
            status = os.stat(path)
            found.add((status.st_dev, status.st_ino))
    token = _inputs.set(_inputs.get() | found)
    try:
        yield
    finally:
        _inputs.reset(token)


def _writes(function: F, output: Callable[..., Any], name: str, apart: bool = False) -> F:
    signature = inspect.signature(function)

    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        arguments = signature.bind(*args, **kwargs)
        arguments.apply_defaults()
        path = arguments.arguments[name]
        others = [value for key, value in arguments.arguments.items() if key != name]
        with protected(_paths(others)), nullcontext() if path is None else output(path) as target:
            if target is not None:
                if apart and _is_input(target.stat()):
                    raise WriteError(target, "is an input of this command. Choose another --out.")
                arguments.arguments[name] = os.fspath(target) if isinstance(path, str) else target
            return function(*arguments.args, **arguments.kwargs)

    return cast(F, wrapped)


def _paths(value: Any) -> Iterator[str | os.PathLike[str]]:
    """Find all strings and paths in nested arguments."""
    if isinstance(value, str | os.PathLike):
        yield value
    elif isinstance(value, dict):
        yield from _paths(list(value.values()))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _paths(item)


def _check_replaceable(path: Path) -> None:
    """Raise an error if a path exists and must not be replaced by a file."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return
    if stat.S_ISDIR(status.st_mode):
        raise WriteError(path, "is a folder, not a file.", errno.EISDIR)
    if not stat.S_ISREG(status.st_mode):
        raise WriteError(path, "is not a regular file. Choose another output.", errno.EEXIST)
    if _is_input(status):
        raise WriteError(path, "is an input of this command. Choose another output.")


def _is_input(status: os.stat_result) -> bool:
    return (status.st_dev, status.st_ino) in _inputs.get()


@contextmanager
def _created(folder: Path) -> Iterator[None]:
    """Create a folder; at the end, remove what was created if it is still empty."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    finally:
        for path in missing:
            with suppress(OSError):
                path.rmdir()


@contextmanager
def naming_errors(path: Path) -> Iterator[None]:
    """Convert the errors of opening and writing a file to errors that name it."""
    try:
        yield
    except OSError as error:
        raise _write_error(path, error) from error


def _write_error(path: Path, error: OSError) -> WriteError:
    # Libraries write paragraphs into strerror.
    reason = os.strerror(error.errno) if error.errno else str(error)
    return WriteError(path, f"cannot be written: {reason}.", error.errno or 0)


@contextmanager
def _partial(path: Path, folder: Path, is_folder: bool = False) -> Iterator[Path]:
    """Yield a new name in ``folder`` for what is written to ``path``; remove what is left there."""
    with ExitStack() as stack:
        with naming_errors(path):
            folder.mkdir(parents=True, exist_ok=True)
            if os.fspath(folder) not in _cleaned:
                _cleaned.add(os.fspath(folder))
                locking.remove_abandoned(folder, PARTIAL)
            # Short, so that the name is valid if the target's is.
            partial = folder / f"{stack.enter_context(locking.locked_name(folder))}{PARTIAL}"
            if is_folder:
                partial.mkdir()
        stack.callback(_remove, partial)
        try:
            yield partial
        except Exception as error:
            failure = _find_cause(error, path, partial)
            if failure is None:
                raise
            raise failure from error


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _find_cause(error: Exception, path: Path, partial: Path) -> WriteError | None:
    """Return the error to report if ``path`` could not be written; None for other errors.

    Libraries raise their own errors, with or without the system's as context. Otherwise the same
    file is written to once more.
    """
    if isinstance(error, MgcError):
        return None
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno in WRITE_ERRORS:
            names = [Path(os.fsdecode(n)) for n in (cause.filename, cause.filename2) if n]
            if not names or any(partial in (name, *name.parents) for name in names):
                return _write_error(path, cause)
            if path in (names[0], names[0].parent):
                return _write_error(names[0], cause)
        cause = cause.__cause__ or cause.__context__
    try:
        with (partial / "probe" if partial.is_dir() else partial).open("ab") as file:
            file.write(bytes(PROBE_BYTES))
            file.flush()
            os.fsync(file.fileno())
    except OSError as probed:
        return _write_error(path, probed) if probed.errno in WRITE_ERRORS else None
    return None
