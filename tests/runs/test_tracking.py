"""Mode of W&B runs, for settings and logins written by wandb."""

import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import wandb
from wandb.sdk.lib import urls

from mgc.commands.compare import compare
from mgc.errors import MgcError
from mgc.runs.tracking import set_wandb_mode, wandb_session, wandb_status
from mgc.training.options import logs_to_wandb

KEYS = {"40 hexadecimal digits": "0123456789" * 4, "prefixed": "wandb_v1_" + "Ab3_" * 16}
KEY = KEYS["40 hexadecimal digits"]

#: The server that wandb uses unless it is given another one.
DEFAULT_SERVER = str(wandb.Settings().base_url)


class Server(HTTPServer):
    """A server that answers every request with 404."""

    def __init__(self) -> None:
        self.requests: list[str] = []
        requests = self.requests

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                requests.append(self.path)
                self.send_error(404)

            def log_message(self, *args: object) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        scheme = "https" if isinstance(self.socket, ssl.SSLSocket) else "http"
        return f"{scheme}://127.0.0.1:{self.server_port}"


@pytest.fixture(scope="module")
def running() -> Iterator[Server]:
    """A self-hosted W&B server."""
    server = Server()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def server(running: Server) -> Server:
    running.requests.clear()
    return running


@pytest.fixture(scope="module")
def refused() -> str:
    """URL that refuses connections."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{unused.getsockname()[1]}"


@pytest.fixture
def home(tmp_path: Path, refused: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Home folder of a user without W&B settings, on a machine without internet."""
    for name in ("WANDB_MODE", "WANDB_SILENT", "WANDB_CONFIG_DIR", "NETRC"):
        monkeypatch.delenv(name)
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, refused)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "127.0.0.1")
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    return home


def run_wandb(*words: str) -> None:
    """Run the wandb command."""
    subprocess.run([sys.executable, "-m", "wandb", *words], check=True, capture_output=True)


def move_login(home: Path, to: Path) -> None:
    """Move the netrc that ``wandb login`` wrote."""
    to.write_text((home / ".netrc").read_text())
    (home / ".netrc").unlink()


def write_settings(path: Path, **settings: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"{name} = {value}" for name, value in settings.items()]
    path.write_text("\n".join(["[default]", *lines]) + "\n")


def assert_not_logged_in() -> None:
    status = wandb_status()
    assert (status.mode, status.logged_in) == ("offline", False)
    assert status.reason == "not logged in"
    assert "wandb login" in status.warning


def test_not_logged_in(
    home: Path, server: Server, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert_not_logged_in()
    assert wandb_status().server == DEFAULT_SERVER
    monkeypatch.setenv("WANDB_BASE_URL", server.url)
    assert_not_logged_in()
    assert not server.requests
    assert not list(home.rglob("*"))
    assert not list(workdir.rglob("*"))


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
def test_logged_in_on_the_default_server(home: Path, refused: str, key: str) -> None:
    run_wandb("login", "--no-verify", key)
    status = wandb_status()
    assert (status.mode, status.server, status.logged_in) == ("offline", DEFAULT_SERVER, True)
    assert status.reason == f"{DEFAULT_SERVER} does not answer"
    assert "refused" in status.warning


def test_logged_in_on_the_default_server_of_older_versions(home: Path) -> None:
    """wandb uses the key that was stored for the old address of its server."""
    upstream = getattr(urls, "forge_upstream_url", str)(DEFAULT_SERVER)
    host = upstream.partition("//")[2]
    (home / ".netrc").write_text(f"machine {host}\n  login user\n  password {KEY}\n")
    status = wandb_status()
    assert (status.server, status.logged_in) == (DEFAULT_SERVER, True)


def test_logged_in_on_a_self_hosted_server(
    home: Path,
    server: Server,
    refused: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run_wandb("login", "--no-verify", KEY, "--host", server.url)
    written = {path for path in home.rglob("*") if path.is_file()}
    online = wandb_status()
    assert (online.mode, online.server, online.logged_in) == ("online", server.url, True)
    assert (online.reason, online.warning) == ("", "")
    assert server.requests == ["/"]
    assert {path for path in home.rglob("*") if path.is_file()} == written

    move_login(home, home / "_netrc")
    assert wandb_status() == online
    (home / "_netrc").rename(tmp_path / "elsewhere")
    assert_not_logged_in()
    monkeypatch.setenv("NETRC", str(tmp_path / "elsewhere"))
    assert wandb_status() == online

    # The key is for this server only.
    monkeypatch.setenv("WANDB_BASE_URL", refused)
    assert_not_logged_in()


def test_reading_the_status_prints_nothing(home: Path, server: Server) -> None:
    write_settings(home / ".config" / "wandb" / "settings", base_url=server.url, api_key=KEY)
    code = "from mgc.runs.tracking import wandb_status; print(wandb_status().mode)"
    words = [sys.executable, "-c", code]
    run = subprocess.run(words, check=True, capture_output=True, text=True)
    assert (run.stdout, run.stderr) == ("online\n", "")


def test_a_server_that_does_not_answer(home: Path, refused: str) -> None:
    run_wandb("login", "--no-verify", KEY, "--host", refused)
    status = wandb_status()
    assert (status.mode, status.server, status.logged_in) == ("offline", refused, True)
    assert status.reason == f"{refused} does not answer"
    assert status.warning.startswith(f"W&B at {refused} does not answer (")


def test_a_certificate_is_left_to_wandb(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only wandb may be configured to accept the certificate of a self-hosted server."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("needs openssl to make a certificate")
    words = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost"]
    subprocess.run([openssl, *words, "-keyout", "key", "-out", "cert"], check=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain("cert", "key")
    server = Server()
    server.socket = context.wrap_socket(server.socket, server_side=True)
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("WANDB_BASE_URL", server.url)
    assert server.url.startswith("https://")
    assert wandb_status().mode == "online"
    server.shutdown()
    server.server_close()
    assert wandb_status().mode == "offline"


@pytest.mark.parametrize("source", ["WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE", "settings"])
def test_other_credentials(
    home: Path, server: Server, source: str, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_BASE_URL", server.url)
    assert_not_logged_in()
    if source == "WANDB_API_KEY":
        monkeypatch.setenv(source, KEY)
    elif source == "WANDB_IDENTITY_TOKEN_FILE":
        Path("token").write_text("header.payload.signature")
        monkeypatch.setenv(source, "token")
    else:
        write_settings(home / ".config" / "wandb" / "settings", api_key=KEY)
    assert wandb_status().mode == "online"


@pytest.mark.parametrize(
    ("name", "value", "mode", "reason"),
    [
        ("WANDB_MODE", "offline", "offline", "WANDB_MODE=offline"),
        ("WANDB_MODE", "dryrun", "offline", "WANDB_MODE=dryrun"),
        ("WANDB_MODE", "disabled", "disabled", "WANDB_MODE=disabled"),
        ("WANDB_DISABLED", "true", "disabled", "WANDB_DISABLED is set"),
    ],
)
def test_modes_from_the_environment(
    home: Path,
    server: Server,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    value: str,
    mode: str,
    reason: str,
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("WANDB_BASE_URL", server.url)
    monkeypatch.setenv(name, value)
    status = wandb_status()
    assert (status.mode, status.reason, status.warning) == (mode, reason, "")
    assert status.logged_in
    assert not server.requests


@pytest.mark.parametrize("mode", ["offline", "disabled"])
def test_modes_from_wandbs_commands(
    home: Path, server: Server, workdir: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    """``wandb offline`` and ``wandb disabled`` write settings of the working folder."""
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("WANDB_BASE_URL", server.url)
    run_wandb(mode)
    status = wandb_status()
    assert (status.mode, status.reason) == (mode, f"set by 'wandb {mode}'")
    # The environment comes first.
    monkeypatch.setenv("WANDB_MODE", "online")
    assert wandb_status().mode == "online"


def test_settings_of_the_home_folder(home: Path, server: Server) -> None:
    settings = home / ".config" / "wandb" / "settings"
    write_settings(settings, base_url=server.url, api_key=KEY, mode="offline")
    status = wandb_status()
    assert (status.mode, status.server, status.logged_in) == ("offline", server.url, True)
    write_settings(settings, base_url=server.url, api_key=KEY)
    assert wandb_status().mode == "online"


def test_online_mode_raises_wandbs_error(
    home: Path, refused: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("WANDB_BASE_URL", refused)
    status = wandb_status()
    assert (status.mode, status.logged_in) == ("online", False)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"WANDB_MODE": "of"}, "WANDB_MODE=of: Input should be 'online', 'offline', "),
        ({"WANDB_BASE_URL": "here"}, "WANDB_BASE_URL=here: Input should be a valid URL"),
        ({"WANDB_API_KEY": "0"}, "WANDB_API_KEY invalid: API key must have 40+ characters"),
        (
            {"WANDB_API_KEY": KEY, "WANDB_IDENTITY_TOKEN_FILE": "token"},
            "Both WANDB_API_KEY and WANDB_IDENTITY_TOKEN_FILE are set",
        ),
    ],
)
def test_settings_that_wandb_rejects(
    home: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, str], message: str
) -> None:
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(MgcError, match=re.escape(message)):
        wandb_status()
    assert {name: os.environ[name] for name in settings} == settings


def test_a_broken_netrc_is_named(home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (home / ".netrc").write_text("machine\n")
    assert_not_logged_in()
    assert "netrc" in capfd.readouterr().err


def test_the_mode_is_set_once_per_command(
    home: Path,
    server: Server,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = dict(os.environ)
    with caplog.at_level("INFO", "mgc"):
        with wandb_session():
            set_wandb_mode()
            assert os.environ["WANDB_MODE"] == "offline"
            # Later runs and child processes do not repeat it.
            with wandb_session():
                set_wandb_mode()
            inherited = (
                "import logging; logging.basicConfig(level=0); import mgc.runs.tracking as t\n"
            )
            inherited += "with t.wandb_session():\n t.set_wandb_mode()\n"
            inherited += " t._offline_runs.append('run')\n"
            child = subprocess.run(
                [sys.executable, "-c", inherited], check=True, capture_output=True, text=True
            )
            assert (child.stdout, child.stderr) == ("", "")
        assert [record.getMessage() for record in caplog.records] == [
            "Not logged in to W&B: runs are kept offline. Run 'wandb login' to send them online."
        ]
        assert dict(os.environ) == before

        # The next command sees the new login.
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        with wandb_session():
            set_wandb_mode()
            assert "WANDB_MODE" not in os.environ
    assert len(caplog.records) == 1


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], True),
        (["--config", "plain.yaml"], True),
        (["--config=off.yaml"], False),
        (
            ["--config", "off.yaml", "--trainer.logger", "lightning.pytorch.loggers.WandbLogger"],
            True,
        ),
        (["--config", "csv.yaml"], False),
        (["--config", "both.yaml", "--trainer.logger.project", "mine"], True),
        (["--config", "both.yaml", "--trainer.logger=false"], False),
        (["--trainer.logger", "true"], False),
        (["--config", "broken.yaml"], True),
        (["--config", "missing.yaml"], True),
    ],
)
def test_fits_that_log_to_wandb(words: list[str], expected: bool, workdir: Path) -> None:
    csv, ours = "{class_path: CSVLogger}", "{class_path: lightning.pytorch.loggers.WandbLogger}"
    Path("plain.yaml").write_text("trainer: {max_epochs: 1}\n")
    Path("off.yaml").write_text("trainer: {logger: false}\n")
    Path("csv.yaml").write_text(f"trainer: {{logger: {csv}}}\n")
    Path("both.yaml").write_text(f"trainer: {{logger: [{csv}, {ours}]}}\n")
    Path("broken.yaml").write_text("trainer: [\n")
    assert logs_to_wandb(words) is expected


def test_comparing_runs_of_a_project_needs_a_login(home: Path) -> None:
    with pytest.raises(MgcError, match=r"team/project .*failed: not logged in"):
        compare(["team/project"])
