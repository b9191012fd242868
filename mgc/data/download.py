"""Downloads the files of a data set, resumes interrupted downloads, and unpacks archives."""

import hashlib
import logging
import lzma
import shutil
import tarfile
import tempfile
import time
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, cast
from urllib.parse import unquote, urlsplit

import requests
import urllib3
from tqdm import tqdm

from mgc.core.writing import output_folder
from mgc.errors import MgcError

log = logging.getLogger(__name__)

#: Number of consecutive failures without progress after which a download is abandoned.
MAX_FAILURES = 5
#: Seconds to wait before the first retry; doubles with each retry.
RETRY_SECONDS = 1.0
#: Timeouts in seconds to connect and to receive data.
TIMEOUT = (10, 60)
CHUNK_BYTES = 1 << 20

#: Exceptions of damaged archives; zipfile raises RuntimeError for encrypted ones.
ARCHIVE_ERRORS = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    RuntimeError,
)
ARCHIVE_SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")


@dataclass(frozen=True)
class Source:
    """A downloadable file of a data set.

    ``size`` is in bytes, ``checksum`` is ``md5:…`` or ``sha256:…``. Only the files in ``folder`` of
    an archive are unpacked; all by default.
    """

    url: str
    size: int
    checksum: str
    folder: str = ""

    @property
    def name(self) -> str:
        """File name in the address."""
        return PurePosixPath(unquote(urlsplit(self.url).path)).name


def fetch(source: Source, root: Path) -> None:
    """Download a file, or resume its download, and unpack it if it is an archive.

    Files appear in the folder once they are complete. An archive is removed after unpacking.

    Raises:
        MgcError: If the file cannot be downloaded, has a wrong checksum or does not fit on the
            disk, or if the archive is damaged or unsafe.
    """
    path = root / source.name
    with output_folder(root, advice=""):
        if not path.is_file() or not _has_checksum(source, path):
            _check_free_space(root, source.size)
            download(source, path)
        if source.name.endswith(ARCHIVE_SUFFIXES):
            log.info("Unpacking %s", path)
            unpack(path, root, source.folder)
            path.unlink()


def download(source: Source, path: Path) -> None:
    """Download a file to a path. Incomplete downloads are kept in the same folder.

    Raises:
        MgcError: If the file cannot be downloaded or has a wrong checksum.
        OSError: If the file cannot be written.
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
                reason = _failure_reason(error)
            if _size(partial) >= source.size:
                break
            failures = 1 if _size(partial) > before else failures + 1
            if failures >= MAX_FAILURES:
                raise MgcError(
                    f"{source.url}: {reason}, received {_size(partial)} of {source.size} bytes. "
                    "Run the command again to resume."
                )
            log.warning("%s: %s, retrying.", source.name, reason)
            time.sleep(RETRY_SECONDS * 2 ** (failures - 1))
    validator.unlink(missing_ok=True)
    if not _has_checksum(source, partial):
        partial.unlink()
        raise MgcError(
            f"{source.url}: wrong checksum (expected {source.checksum}), the download was deleted. "
            "Run the command again, or get the file elsewhere."
        )
    partial.replace(path)


def unpack(archive: Path, root: Path, folder: str = "") -> None:
    """Unpack the regular files in a folder of a ZIP or TAR archive into ``root``.

    Raises:
        MgcError: If the archive is damaged, or contains paths outside of the folder.
        OSError: If a file cannot be written.
    """
    unpacked = Path(tempfile.mkdtemp(prefix=".unpacking-", dir=root)).resolve()
    try:
        prefix = f"{folder}/" if folder else ""
        for name, content in _read_archive(archive):
            target = (unpacked / name).resolve()
            if not target.is_relative_to(unpacked):
                raise MgcError(f"{archive}: {name} would be written outside of the folder.")
            if not name.startswith(prefix):
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("xb") as file:
                shutil.copyfileobj(content, file, CHUNK_BYTES)
        if not (unpacked / folder).is_dir():
            raise MgcError(f"{archive}: no folder {folder} in the archive.")
        for path in sorted((unpacked / folder).rglob("*")):
            if path.is_file():
                target = root / path.relative_to(unpacked / folder)
                target.parent.mkdir(parents=True, exist_ok=True)
                path.replace(target)
    except ARCHIVE_ERRORS as error:
        raise MgcError(f"{archive}: damaged ({error}). Remove it and download it again.") from error
    finally:
        shutil.rmtree(unpacked, ignore_errors=True)


def _transfer(
    session: requests.Session, source: Source, partial: Path, validator: Path, progress: tqdm
) -> None:
    """Request the missing part of a file, and append data until the connection ends."""
    start = _size(partial)
    # Offsets in a compressed transfer differ from those in the file.
    headers = {"Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
        if validator.is_file():
            # The server sends the whole file if it has changed.
            headers["If-Range"] = validator.read_text(encoding="utf-8")
    with session.get(source.url, headers=headers, stream=True, timeout=TIMEOUT) as response:
        if response.status_code == requests.codes.requested_range_not_satisfiable:
            partial.unlink(missing_ok=True)
            raise requests.ConnectionError("the server refused to resume")
        if 400 <= response.status_code < 500 and response.status_code not in (408, 429):
            raise MgcError(
                f"{source.url}: the server answers {response.status_code} {response.reason}. The "
                "file may no longer be available."
            )
        response.raise_for_status()
        resumed = response.status_code == requests.codes.partial_content
        if resumed and not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            partial.unlink(missing_ok=True)
            raise requests.ConnectionError("the server sent a wrong part of the file")
        length = response.headers.get("Content-Length")
        expected = source.size - (start if resumed else 0)
        if length is not None and int(length) != expected:
            raise MgcError(
                f"{source.url}: the file has changed, {int(length)} bytes instead of {expected}. "
                "Get it elsewhere."
            )
        etag = response.headers.get("ETag", "")
        # Weak validators do not guarantee identical bytes.
        strong = etag if not etag.startswith("W/") else ""
        strong = strong or response.headers.get("Last-Modified", "")
        if strong:
            validator.write_text(strong, encoding="utf-8")
        progress.reset()
        progress.update(start if resumed else 0)
        with partial.open("ab" if resumed else "wb") as file:
            # response.iter_content would decompress .gz files of some servers.
            for chunk in response.raw.stream(CHUNK_BYTES, decode_content=False):
                file.write(chunk[: source.size - file.tell()])
                progress.update(len(chunk))


def _read_archive(archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """Yield the name and content of every regular file in an archive."""
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive) as packed:
            for info in packed.infolist():
                if not info.is_dir():
                    with packed.open(info) as inside:
                        yield info.filename, inside
        return
    with tarfile.open(archive, "r|*") as tar:
        for member in tar:
            if member.isfile():
                yield member.name.removeprefix("./"), cast(IO[bytes], tar.extractfile(member))


def _has_checksum(source: Source, path: Path) -> bool:
    algorithm, _, checksum = source.checksum.partition(":")
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=False))
    return digest.hexdigest() == checksum


def _check_free_space(root: Path, size: int) -> None:
    free = shutil.disk_usage(root).free
    if size > free:
        raise MgcError(f"{root}: needs {size / 1e9:.1f} GB, only {free / 1e9:.1f} GB are free.")


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _failure_reason(error: Exception) -> str:
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"the server answers {error.response.status_code} {error.response.reason}"
    if isinstance(error, requests.Timeout | urllib3.exceptions.TimeoutError):
        return "the server does not answer"
    return f"the transfer was interrupted ({type(error).__name__})"
