import hashlib
import io
import os
import shutil
import stat
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from mgc.data import download
from mgc.data.download import Source, fetch, unpack
from mgc.errors import MgcError

CONTENT = bytes(range(256)) * 1000


class Server:
    """A file server with configurable failures.

    Attributes:
        content: Content of the file.
        etag: ETag of the file.
        ranges: Whether range requests are supported.
        cuts: Number of bytes after which to close the connection, one entry per response.
        answers: Error codes of the first responses.
        requests: Range header of every request.
    """

    def __init__(self) -> None:
        self.content = CONTENT
        self.etag = '"1"'
        self.ranges = True
        self.cuts: list[int] = []
        self.answers: list[int] = []
        self.requests: list[str | None] = []
        self.length: int | None = None
        self.encoding: str | None = None
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.answer(self)

            def log_message(self, *args: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/files/set.bin?download=1"
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        requested = request.headers["Range"]
        self.requests.append(requested)
        if self.answers:
            request.send_error(self.answers.pop(0))
            return
        start = 0
        if requested and self.ranges and request.headers["If-Range"] in (None, self.etag):
            start = int(requested.removeprefix("bytes=").rstrip("-"))
        body = self.content[start:]
        request.send_response(206 if start else 200)
        request.send_header("ETag", self.etag)
        request.send_header("Content-Length", str(self.length or len(body)))
        if self.encoding:
            request.send_header("Content-Encoding", self.encoding)
        if start:
            last = len(self.content) - 1
            request.send_header("Content-Range", f"bytes {start}-{last}/{last + 1}")
        request.end_headers()
        request.wfile.write(body[: self.cuts.pop(0)] if self.cuts else body)

    def source(self, content: bytes = CONTENT, **settings) -> Source:
        return Source(self.url, len(content), f"md5:{hashlib.md5(content).hexdigest()}", **settings)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(download, "RETRY_SECONDS", 0.001)
    server = Server()
    yield server
    server.http.shutdown()
    server.http.server_close()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "data"


def names(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def test_file_is_named_by_its_url(server: Server, root: Path) -> None:
    fetch(server.source(), root)
    assert (root / "set.bin").read_bytes() == CONTENT
    assert names(root) == ["set.bin"]


def test_existing_file_is_not_downloaded_again(server: Server, root: Path) -> None:
    fetch(server.source(), root)
    fetch(server.source(), root)
    assert len(server.requests) == 1


def test_closed_connection_is_resumed(server: Server, root: Path) -> None:
    server.cuts = [100_000, 50_000]
    fetch(server.source(), root)
    assert server.requests == [None, "bytes=100000-", "bytes=150000-"]
    assert (root / "set.bin").read_bytes() == CONTENT
    assert names(root) == ["set.bin"]


def test_next_run_resumes_the_download(server: Server, root: Path) -> None:
    server.cuts = [100_000]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(download, "MAX_FAILURES", 1)
        with pytest.raises(MgcError, match="received 100000 of 256000 bytes"):
            fetch(server.source(), root)
    assert not (root / "set.bin").exists()
    fetch(server.source(), root)
    assert server.requests == [None, "bytes=100000-"]
    assert (root / "set.bin").read_bytes() == CONTENT


def test_server_without_ranges_restarts_the_download(server: Server, root: Path) -> None:
    server.ranges = False
    server.cuts = [100_000]
    fetch(server.source(), root)
    assert server.requests == [None, "bytes=100000-"]
    assert (root / "set.bin").read_bytes() == CONTENT


def test_download_without_progress_is_abandoned(server: Server, root: Path) -> None:
    server.ranges = False
    server.cuts = [100_000] * 100
    with pytest.raises(MgcError, match="100000 of 256000 bytes"):
        fetch(server.source(), root)
    assert len(server.requests) == download.MAX_FAILURES


def test_changed_file_restarts_the_download(server: Server, root: Path) -> None:
    server.cuts = [100_000]
    changed = CONTENT[::-1]
    answer = server.answer

    def change(request: BaseHTTPRequestHandler) -> None:
        answer(request)
        server.content, server.etag = changed, '"2"'

    server.answer = change
    fetch(server.source(changed), root)
    assert server.requests == [None, "bytes=100000-"]
    assert (root / "set.bin").read_bytes() == changed


def test_wrong_checksum_removes_the_download(server: Server, root: Path) -> None:
    server.content = CONTENT[::-1]
    with pytest.raises(MgcError, match=r"wrong checksum \(expected md5:"):
        fetch(server.source(), root)
    assert names(root) == []


def test_wrong_size_raises_error(server: Server, root: Path) -> None:
    server.content = CONTENT * 2
    with pytest.raises(MgcError, match="the file has changed, 512000 bytes instead of 256000"):
        fetch(server.source(), root)
    assert names(root) == []


def test_busy_server_is_retried(server: Server, root: Path) -> None:
    server.answers = [503, 429]
    fetch(server.source(), root)
    assert len(server.requests) == 3


def test_missing_file_is_not_retried(server: Server, root: Path) -> None:
    server.answers = [404]
    with pytest.raises(MgcError, match="answers 404"):
        fetch(server.source(), root)
    assert len(server.requests) == 1


def test_unreachable_server_raises_error(server: Server, root: Path) -> None:
    server.http.shutdown()
    server.http.server_close()
    with pytest.raises(MgcError, match=r"interrupted .*0 of 256000 bytes"):
        fetch(server.source(), root)


def test_content_encoding_of_an_archive_is_ignored(server: Server, root: Path) -> None:
    server.encoding = "gzip"
    fetch(server.source(), root)
    assert (root / "set.bin").read_bytes() == CONTENT


def test_full_disk_raises_error_before_the_download(
    server: Server, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage("/")._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(MgcError, match=r"only 0\.0 GB are free"):
        fetch(server.source(), root)
    assert server.requests == []


def make_tar(*members: tarfile.TarInfo, mode: str = "w:gz") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as tar:
        for member in members:
            tar.addfile(member, io.BytesIO(b"a" * member.size))
    return buffer.getvalue()


def member(name: str, size: int = 3, **settings) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size = size
    for key, value in settings.items():
        setattr(info, key, value)
    return info


def make_zip(files: dict[str, bytes], mode: int = stat.S_IFREG | 0o644) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in files.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            packed.writestr(info, content)
    return buffer.getvalue()


def unpack_bytes(root: Path, name: str, content: bytes, folder: str = "") -> list[str]:
    root.mkdir(exist_ok=True)
    (root / name).write_bytes(content)
    try:
        unpack(root / name, root, folder)
    finally:
        (root / name).unlink()
    return names(root)


def test_archive_is_downloaded_unpacked_and_removed(server: Server, root: Path) -> None:
    server.content = make_tar(member("Set/lists/a.csv"), member("Set/b.wav"), member("other/c"))
    server.url = server.url.replace("set.bin", "set.tar.gz")
    fetch(server.source(server.content, folder="Set"), root)
    assert names(root) == ["b.wav", "lists/a.csv"]
    assert (root / "b.wav").read_bytes() == b"aaa"


def test_unpacking_keeps_existing_files(root: Path) -> None:
    (root / "audio").mkdir(parents=True)
    (root / "audio" / "mine.wav").write_bytes(b"mine")
    found = unpack_bytes(root, "set.zip", make_zip({"audio/x.wav": b"x", "audio/": b""}))
    assert found == ["audio/mine.wav", "audio/x.wav"]


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_tar_compressions(root: Path, mode: str) -> None:
    assert unpack_bytes(root, "set.tar", make_tar(member("./a"), mode=mode)) == ["a"]


@pytest.mark.parametrize("name", ["/evil", "../evil", "a/../../evil"])
def test_paths_outside_of_the_folder_raise_error(root: Path, name: str) -> None:
    for archive, content in (
        ("set.tar.gz", make_tar(member("good"), member(name))),
        ("set.zip", make_zip({"good": b"", name: b"x"})),
    ):
        with pytest.raises(MgcError, match="would be written outside of the folder"):
            unpack_bytes(root, archive, content)
        assert names(root.parent) == []


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE]
)
def test_links_and_devices_are_skipped(root: Path, kind: bytes) -> None:
    evil = member("link", 0, type=kind, linkname="/etc/passwd")
    content = make_tar(evil, member("good"), mode="w")
    assert unpack_bytes(root, "set.tar", content) == ["good"]


def test_links_in_a_zip_become_files(root: Path) -> None:
    unpack_bytes(root, "set.zip", make_zip({"link": b"/etc/passwd"}, stat.S_IFLNK | 0o777))
    assert not (root / "link").is_symlink()


def test_zip_with_wrong_size_is_damaged(root: Path) -> None:
    content = make_zip({"zeros": os.urandom(100) * 100})
    lie = content.replace((10_000).to_bytes(4, "little"), (10).to_bytes(4, "little"))
    with pytest.raises(MgcError, match="damaged"):
        unpack_bytes(root, "set.zip", lie)
    assert names(root) == []


def test_permissions_of_an_archive_are_ignored(root: Path) -> None:
    unpack_bytes(root, "set.tar", make_tar(member("a", mode=0o6777), mode="w"))
    assert stat.S_IMODE((root / "a").stat().st_mode) & 0o6111 == 0


@pytest.mark.parametrize("name", ["set.tar.gz", "set.zip"])
def test_damaged_archive_leaves_no_files(root: Path, name: str) -> None:
    noise = os.urandom(20_000)
    tar = make_tar(member("a", 9000), member("b", 9000), mode="w")
    for content in (noise, (tar if "tar" in name else make_zip({"a": noise}))[:-12_000]):
        with pytest.raises(MgcError, match="damaged"):
            unpack_bytes(root, name, content)
        assert names(root) == []


def test_missing_folder_in_the_archive_raises_error(root: Path) -> None:
    with pytest.raises(MgcError, match="no folder Set in the archive"):
        unpack_bytes(root, "set.zip", make_zip({"other/a": b"a"}), "Set")
