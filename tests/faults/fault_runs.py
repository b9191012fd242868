"""Runs of commands under faults."""

import contextlib
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

#: Seconds after which a command counts as hanging.
TIMEOUT = 90.0

STDOUT, STDERR = "stdout.txt", "stderr.txt"


class Server:
    """Starts commands in forked processes (:mod:`warm_start`).

    Args:
        folder: Folder of its socket.
        libraries: Modules that it imports before a command; None for all.
    """

    def __init__(self, folder: Path, libraries: dict[str, tuple[str, ...] | None]) -> None:
        self.libraries = libraries
        self.path = str(folder / "server")
        script = Path(__file__).with_name("warm_start.py")
        self.process = subprocess.Popen(
            [sys.executable, str(script), self.path], stdout=subprocess.PIPE, cwd=folder
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"ready\n"
        while not Path(self.path).exists():
            time.sleep(0.01)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()

    def start(self, command: str, folder: Path, log: str = "", **limits: int) -> "Process":
        """Start ``mgc COMMAND`` in a folder and log its output next to the folder.

        Args:
            command: Words after ``mgc``.
            folder: Working folder.
            log: Name of the run, if several run in the folder.
            **limits: Resource limits, such as ``RLIMIT_FSIZE``.
        """
        logs = folder.with_name(folder.name + ".logs" + log)
        logs.mkdir(exist_ok=True)
        for name in (STDOUT, STDERR):
            (logs / name).unlink(missing_ok=True)
        request = {
            "words": shlex.split(command),
            "folder": str(folder),
            "stdout": str(logs / STDOUT),
            "stderr": str(logs / STDERR),
            "environment": {"MGC_CACHE_DIR": str(folder.with_name(folder.name + ".cache"))},
            "limits": limits,
            "modules": self.modules(command),
        }
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(self.path)
        stream = connection.makefile("rw")
        print(json.dumps(request), file=stream, flush=True)
        return Process(command, stream, json.loads(stream.readline())["pid"], logs, connection)

    def modules(self, command: str) -> list[str] | None:
        """Return the modules to import before a command; None for all."""
        names = [name for name in self.libraries if f"{command} ".startswith(f"{name} ")]
        libraries = self.libraries[max(names, key=len)] if names else None
        return None if libraries is None else [*libraries]

    def run(self, command: str, folder: Path, timeout: float = TIMEOUT, **limits: int) -> "Ended":
        """Run a command to its end."""
        return self.start(command, folder, **limits).wait(timeout)


@dataclass
class Ended:
    """How a command ended.

    Attributes:
        command: Words after ``mgc``.
        code: Exit code, negative after an unhandled signal.
        seconds: Wall time.
        ended: Time of the end, on the clock of :func:`time.monotonic`.
        cpu: CPU time, with child processes that were waited for.
        orphans: Processes that outlived the command by five seconds.
        hung: Whether it was killed after a timeout.
        out: Output.
        err: Standard error.
    """

    command: str
    code: int
    seconds: float
    ended: float
    cpu: float
    orphans: list[str]
    hung: bool = False
    out: str = field(default="", repr=False)
    err: str = field(default="", repr=False)

    @property
    def text(self) -> str:
        return self.out + self.err

    @property
    def errors(self) -> list[str]:
        """Error lines."""
        return [line for line in self.text.splitlines() if line.startswith("mgc: error:")]

    def problem(self, *codes: int) -> str:
        """Describe what is wrong with any end of a command; empty if nothing.

        Args:
            *codes: Accepted exit codes. 2 requires a single error line.
        """
        if self.hung:
            return f"hung for {self.seconds:.0f} s"
        # A signal may arrive after the command, while Python ends.
        ending = self.code == 0 and "Exception ignored in" in self.text
        if "Traceback (most recent call last)" in self.text and not ending:
            lines = [line for line in self.text.splitlines() if line[:1].strip()]
            last = next((x for x in reversed(lines) if "Error" in x or "Exception" in x), "")
            return f"traceback, exit {self.code}: {last[:160]}"
        if self.code not in codes:
            last = (
                ([*self.text.splitlines(), ""])[-1] if not self.text else self.text.splitlines()[-1]
            )
            return f"exit {self.code}, not {' or '.join(map(str, codes))}: {last[:160]}"
        if self.code == 2 and len(self.errors) != 1:
            return f"exit 2 with {len(self.errors)} error lines: {self.err[-160:]!r}"
        if self.orphans:
            return f"left processes: {self.orphans[0][:120]}"
        return ""


@dataclass
class Process:
    """A running command."""

    command: str
    stream: Any
    pid: int
    logs: Path
    connection: socket.socket

    def send(self, signum: int) -> None:
        """Send a signal to the process group, like a terminal."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signum)

    def wait(self, timeout: float = TIMEOUT) -> Ended:
        """Wait for the end; kill the command after ``timeout`` seconds."""
        self.connection.settimeout(timeout)
        start, hung = time.monotonic(), False
        line = ""
        try:
            line = self.stream.readline()
        except (TimeoutError, OSError):
            hung = True
            self.send(signal.SIGKILL)
            line = self._read_report()
        report = json.loads(line)
        out, err = ((self.logs / name).read_text(errors="replace") for name in (STDOUT, STDERR))
        if hung:
            report["seconds"] = time.monotonic() - start
        self.connection.close()
        return Ended(self.command, hung=hung, out=out, err=err, **report)

    def _read_report(self) -> str:
        self.connection.settimeout(30)
        data = b""
        while not data.endswith(b"\n"):
            data += self.connection.recv(65536)
        return data.decode()

    def descendants(self) -> list[int]:
        """Return the processes that the command started, except Python's resource tracker."""
        found, pending = [], [self.pid]
        while pending:
            pid = pending.pop()
            try:
                tasks = list(Path(f"/proc/{pid}/task").iterdir())
                children = [int(w) for t in tasks for w in (t / "children").read_text().split()]
            except OSError:
                continue
            pending += children
            found += children
        return [pid for pid in found if not _is_helper(pid)]


def _is_helper(pid: int) -> bool:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return True
    return b"resource_tracker" in words or b"wandb" in words
