"""Fetch the files of a data set: resumed after interruptions, checked, and unpacked safely."""

import hashlib
import logging
import lzma
import shutil
import stat
import tarfile
import tempfile
import time
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO
from urllib.parse import unquote, urlsplit

import requests
import urllib3
from tqdm import tqdm

from mgc.errors import MgcError

log = logging.getLogger(__name__)

#: How often in a row a transfer may fail without a byte of progress.
ATTEMPTS = 5
#: Seconds before the first new attempt; each further one waits twice as long.
PAUSE = 1.0
#: Seconds until a server that does not answer, or sends nothing more, counts as failed.
TIMEOUT = (10, 60)
CHUNK = 1 << 20

#: Audio hardly compresses: an archive that unpacks to more than this many times its size is no
#: data set.
MAX_RATIO = 10
#: A data set of a million tracks has fewer files than this.
MAX_FILES = 5_000_000

#: What reading a damaged archive raises; zipfile has a RuntimeError for encrypted ones.
DAMAGES = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    RuntimeError,
)
ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")


@dataclass(frozen=True)
class Source:
    """A file that a data set is served as.

    Attributes:
        url: Where it is.
        size: Its size in bytes.
        checksum: Its checksum, as ``md5:…`` or ``sha256:…``.
        folder: Folder in an archive whose content belongs in the data set's folder; by default
            all of the archive. What lies outside is left out.
    """

    url: str
    size: int
    checksum: str
    folder: str = ""

    @property
    def name(self) -> str:
        """Name of the file."""
        return PurePosixPath(unquote(urlsplit(self.url).path)).name


def fetch(source: Source, root: Path) -> None:
    """Download a file and, if it is an archive, unpack it.

    An interrupted download goes on where it stopped when it is called again. Files appear in the
    folder when they are complete; an archive is removed when all of it is there.

    Args:
        source: What to fetch.
        root: Folder of the data set.

    Raises:
        MgcError: If the file cannot be had, is not the expected one, or does not fit on the disk;
            or an archive is damaged or would write outside of the folder.
    """
    path = root / source.name
    try:
        root.mkdir(parents=True, exist_ok=True)
        if not path.is_file() or not _is_original(source, path):
            _check_space(root, source.size)
            download(source, path)
        if source.name.endswith(ARCHIVES):
            log.info("Unpacking %s", path)
            unpack(path, root, source.folder)
            path.unlink()
    except OSError as error:
        raise MgcError(f"{root}: cannot be written: {error.strerror or error}.") from error


def download(source: Source, path: Path) -> None:
    """Download a file.

    Args:
        source: What to download.
        path: File to write. What has arrived of it is kept beside it until it is complete.

    Raises:
        MgcError: If the file cannot be had or is not the expected one.
        OSError: If it cannot be written.
    """
    partial = path.with_name(f".{path.name}.partial")
    validator = path.with_name(f".{path.name}.validator")
    with (
        requests.Session() as session,
        tqdm(total=source.size, unit="B", unit_scale=True, desc=source.name) as progress,
    ):
        failures = 0
        while _size(partial) < source.size:
            before = _size(partial)
            try:
                _transfer(session, source, partial, validator, progress)
                reason = "the connection was closed early"
            except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
                reason = _reason(error)
            if _size(partial) >= source.size:
                break
            failures = 1 if _size(partial) > before else failures + 1
            if failures >= ATTEMPTS:
                raise MgcError(
                    f"{source.url}: {reason}; {_size(partial)} of {source.size} bytes have "
                    "arrived. Run the command again to go on from there."
                )
            log.warning("%s: %s; trying again.", source.name, reason)
            time.sleep(PAUSE * 2 ** (failures - 1))
    validator.unlink(missing_ok=True)
    if not _is_original(source, partial):
        partial.unlink()
        raise MgcError(
            f"{source.url}: the checksum is not {source.checksum}. What arrived was removed: run "
            "the command again, or get the file elsewhere."
        )
    partial.replace(path)


def unpack(archive: Path, root: Path, folder: str = "") -> None:
    """Unpack an archive into a folder, and never outside of it.

    Only plain files are written, with the system's usual permissions.

    Args:
        archive: ZIP or TAR file.
        root: Folder to unpack into.
        folder: Folder in the archive whose content is wanted; by default all of it.

    Raises:
        MgcError: If the archive is damaged, holds anything but files and folders, a path that
            leads out of the folder, or far more than its size suggests.
        OSError: If a file cannot be written.
    """
    limit = MAX_RATIO * archive.stat().st_size
    unpacked = Path(tempfile.mkdtemp(prefix=".unpacking-", dir=root))
    try:
        total = 0
        prefix = f"{folder}/" if folder else ""
        for count, (name, size, content) in enumerate(_read_archive(archive)):
            target = unpacked / _safe(name, archive)
            total += size
            if total > limit or count >= MAX_FILES:
                raise MgcError(f"{archive}: unpacks to more than a data set would. Not unpacked.")
            if not name.startswith(prefix):
                continue
            _check_space(root, size)
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("xb") as file:
                shutil.copyfileobj(content, file, CHUNK)
            if target.stat().st_size != size:
                raise MgcError(f"{archive}: {name} is cut short. Download it again.")
        wanted = unpacked / folder
        if not wanted.is_dir():
            raise MgcError(f"{archive}: there is no folder {folder} in it. Not unpacked.")
        for path in sorted(wanted.rglob("*")):
            if path.is_file():
                target = root / path.relative_to(wanted)
                target.parent.mkdir(parents=True, exist_ok=True)
                path.replace(target)
    except DAMAGES as error:
        raise MgcError(f"{archive}: damaged ({error}). Remove it and download it again.") from error
    finally:
        shutil.rmtree(unpacked, ignore_errors=True)


def _transfer(
    session: requests.Session, source: Source, partial: Path, validator: Path, progress: tqdm
) -> None:
    """Ask for what is missing of a file, and append what comes until the connection ends."""
    start = _size(partial)
    # A compressed transfer has other offsets than the file.
    headers = {"Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
        if validator.is_file():
            # If the file has changed at its source, all of the new one comes.
            headers["If-Range"] = validator.read_text(encoding="utf-8")
    with session.get(source.url, headers=headers, stream=True, timeout=TIMEOUT) as response:
        if response.status_code == requests.codes.requested_range_not_satisfiable:
            partial.unlink(missing_ok=True)
            raise requests.ConnectionError("the server refused to go on from there")
        if 400 <= response.status_code < 500 and response.status_code not in (408, 429):
            raise MgcError(
                f"{source.url}: the server answers {response.status_code} {response.reason}. It "
                "may not serve the file any more."
            )
        response.raise_for_status()
        resumed = response.status_code == requests.codes.partial_content
        if resumed and not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            partial.unlink(missing_ok=True)
            raise requests.ConnectionError("the server sent another part than the one asked for")
        length = response.headers.get("Content-Length")
        expected = source.size - (start if resumed else 0)
        if length is not None and int(length) != expected:
            raise MgcError(
                f"{source.url}: has changed: {int(length)} bytes instead of {expected}. Get the "
                "file elsewhere."
            )
        etag = response.headers.get("ETag", "")
        # A weak validator does not promise the same bytes.
        known = etag if not etag.startswith("W/") else ""
        known = known or response.headers.get("Last-Modified", "")
        if known:
            validator.write_text(known, encoding="utf-8")
        progress.reset()
        progress.update(start if resumed else 0)
        with partial.open("ab" if resumed else "wb") as file:
            # Not response.iter_content: some servers call a .gz file a compressed transfer.
            for chunk in response.raw.stream(CHUNK, decode_content=False):
                file.write(chunk[: source.size - file.tell()])
                progress.update(len(chunk))


def _read_archive(archive: Path) -> Iterator[tuple[str, int, IO[bytes]]]:
    """Name, size and content of every file in an archive."""
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive) as packed:
            for info in packed.infolist():
                kind = stat.S_IFMT(info.external_attr >> 16)
                if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                    raise MgcError(f"{archive}: {info.filename} is no plain file. Not unpacked.")
                if info.is_dir():
                    _safe(info.filename, archive)
                    continue
                with packed.open(info) as inside:
                    yield info.filename, info.file_size, inside
        return
    with tarfile.open(archive, "r|*") as tar:
        for member in tar:
            if not (member.isfile() or member.isdir()):
                raise MgcError(f"{archive}: {member.name} is no plain file. Not unpacked.")
            if member.isdir():
                _safe(member.name, archive)
                continue
            content = tar.extractfile(member)
            if content is not None:
                yield member.name.removeprefix("./"), member.size, content


def _safe(name: str, archive: Path) -> PurePosixPath:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name.split("/")[0]:
        raise MgcError(f"{archive}: {name} leads out of the folder. Not unpacked.")
    return path


def _is_original(source: Source, path: Path) -> bool:
    algorithm, _, checksum = source.checksum.partition(":")
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=False))
    return digest.hexdigest() == checksum


def _check_space(root: Path, size: int) -> None:
    free = shutil.disk_usage(root).free
    if size > free:
        raise MgcError(
            f"{root}: {size / 1e9:.1f} GB are needed, {free / 1e9:.1f} GB are free. Make room."
        )


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _reason(error: Exception) -> str:
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"the server answers {error.response.status_code} {error.response.reason}"
    if isinstance(error, requests.Timeout | urllib3.exceptions.TimeoutError):
        return "the server does not answer"
    return f"the transfer was interrupted ({type(error).__name__})"
