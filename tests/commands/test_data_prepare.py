import hashlib
import tarfile
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

import mgc
from mgc import registry
from mgc.commands.data_prepare import prepare
from mgc.data.download import Source
from mgc.data.gtzan import GTZAN
from mgc.errors import MgcError


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


def test_data_set_is_downloaded_once(
    tones: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    served = tmp_path / "served"
    served.mkdir()
    with tarfile.open(served / "tones.tar.gz", "w:gz") as tar:
        tar.add(tones / "genres", "Tones/genres")
    content = (served / "tones.tar.gz").read_bytes()
    handler = partial(QuietHandler, directory=str(served))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    source = Source(
        f"http://127.0.0.1:{server.server_port}/tones.tar.gz",
        len(content),
        f"sha256:{hashlib.sha256(content).hexdigest()}",
        "Tones",
    )
    monkeypatch.setattr(GTZAN, "sources", (source,))
    tracks = len(list(tones.glob("genres/*/*.wav")))
    prepare("gtzan", str(tmp_path / "data"))
    server.shutdown()
    server.server_close()
    assert f"data has {tracks} of {tracks} tracks." in capsys.readouterr().out
    assert len(list((tmp_path / "data").glob("genres/*/*.wav"))) == tracks
    assert not (tmp_path / "data" / "tones.tar.gz").exists()
    prepare("gtzan", str(tmp_path / "data"))
    assert f"data already has {tracks} of {tracks} tracks." in capsys.readouterr().out


def test_data_set_without_download_is_described(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(MgcError, match="cannot download extended_ballroom"):
        prepare("extended_ballroom", str(tmp_path / "data"))
    printed = " ".join(capsys.readouterr().out.split())
    assert "a script published with the catalogue at anasynth.ircam.fr" in printed
    assert "folder contains ``extendedballroom_v1.1.xml``" in printed


@pytest.mark.parametrize(
    "name",
    [
        name
        for name, points in registry.find("data").items()
        if points[0].dist.name == mgc.DISTRIBUTION
    ],
)
def test_sources_are_complete(name: str) -> None:
    for source in registry.load("data", name).sources:
        assert source.url.startswith("https://")
        algorithm, _, checksum = source.checksum.partition(":")
        assert len(checksum) == 2 * hashlib.new(algorithm).digest_size
        assert source.size > 0
