"""Server that starts commands without importing PyTorch again.

    python warm_start.py SOCKET

It imports the libraries of commands once and forks a process per command. Each connection sends a
JSON object with the command and gets two lines of JSON: the process ID, and how the command ended.
"""

import atexit
import contextlib
import ctypes
import importlib
import json
import logging
import os
import resource
import runpy
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

#: Modules that commands import.
MODULES = (
    "torch", "lightning.pytorch", "lightning.pytorch.cli", "torchaudio", "torchmetrics", "timm",
    "pandas", "pyarrow.parquet", "scipy.signal", "scipy.stats", "sklearn.svm", "sklearn.manifold",
    "sklearn.model_selection", "sklearn.linear_model", "sklearn.neighbors", "joblib",
    "matplotlib.pyplot", "soundfile", "h5py", "onnx", "onnxruntime", "onnxscript", "torch.onnx",
    "wandb", "mgc.cli", "mgc.training.cli",
)  # fmt: skip

#: Option of ``prctl``: orphans become children of this process.
PR_SET_CHILD_SUBREAPER = 36

#: Seconds that child processes may outlive a command.
ORPHAN_SECONDS = 5


def import_for(request: dict[str, Any]) -> None:
    """Import the libraries and the module of a command."""
    from mgc.cli import COMMANDS

    words, modules = request["words"], request["modules"]
    targets = {name: command.target.partition(":")[0] for name, command in COMMANDS.items()}
    if modules is None:
        modules = [*MODULES, *targets.values()]
    else:
        modules = [*modules, *(targets[n] for n in (words[0], " ".join(words[:2])) if n in targets)]
    for name in modules:
        importlib.import_module(name)


def serve(path: str) -> Any:
    """Fork a process for each connection; return the request in the process of a command."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(64)
    parent = os.getppid()
    listener.settimeout(1)
    while os.getppid() == parent:
        try:
            connection, _ = listener.accept()
        except TimeoutError:
            continue
        finally:
            _reap()
        connection.setblocking(True)
        request = json.loads(connection.makefile().readline())
        import_for(request)
        if os.fork() == 0:
            listener.close()
            return supervise(connection, request)
        connection.close()
    return None


def _reap() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def supervise(connection: socket.socket, request: dict[str, Any]) -> Any:
    """Fork the process of a command and report how it ends, and which processes it leaves."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    stream = connection.makefile("w")
    start = time.monotonic()
    child = os.fork()
    if child == 0:
        prepare(request)
        connection.close()
        return request
    print(json.dumps({"pid": child}), file=stream, flush=True)
    _, status, usage = os.wait4(child, 0)
    ended = time.monotonic()
    orphans = _orphans(ended + ORPHAN_SECONDS)
    report = {
        "code": os.waitstatus_to_exitcode(status),
        "seconds": ended - start,
        "ended": ended,
        "cpu": usage.ru_utime + usage.ru_stime,
        "orphans": orphans,
    }
    print(json.dumps(report), file=stream, flush=True)
    os._exit(0)


def _orphans(deadline: float) -> list[str]:
    """Wait for the remaining child processes, kill them at the deadline and list them."""
    found: list[str] = []
    while True:
        _reap()
        children = _children(os.getpid())
        if not children:
            return found
        if time.monotonic() > deadline:
            for pid in children:
                found.append(_words(pid))
                os.kill(pid, signal.SIGKILL)
            deadline = time.monotonic() + 1
        time.sleep(0.05)


def _children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _words(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")


def prepare(request: dict[str, Any]) -> None:
    """Set the folder, output files, environment and limits of a command."""
    os.setsid()
    os.chdir(request["folder"])
    for descriptor, name in ((1, "stdout"), (2, "stderr")):
        file = os.open(request[name], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(file, descriptor)
        os.close(file)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.environ.update(request["environment"])
    for name, limit in request["limits"].items():
        resource.setrlimit(getattr(resource, name), (limit, limit))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.argv = ["mgc", *request["words"]]
    sys.path.insert(0, request["folder"])


def fork_python() -> None:
    """Let ``subprocess`` fork this process for ``python -m MODULE``, which saves the imports."""
    execute = subprocess.Popen._execute_child  # type: ignore[attr-defined]

    def execute_child(self: Any, args: Any, executable: Any, *others: Any) -> None:
        words = [str(word) for word in args] if isinstance(args, (list, tuple)) else []
        if words[:1] != [sys.executable] or "-m" not in words:
            execute(self, args, executable, *others)
            return
        _, _, pass_fds, cwd, env, _, _, _, read, _, _, written, _, errors = others[:14]
        self.pid = os.fork()
        self._child_created = True
        if self.pid == 0:
            _become(words[words.index("-m") + 1 :], cwd, env, (read, written, errors), pass_fds)

    subprocess.Popen._execute_child = execute_child  # type: ignore[attr-defined]


def _become(
    words: list[str], cwd: Any, env: Any, streams: tuple[int, ...], pass_fds: tuple[int, ...]
) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(
            number, signal.SIG_DFL if number == signal.SIGTERM else signal.default_int_handler
        )
    for target, source in enumerate(streams):
        if source != -1:
            os.dup2(source, target)
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2 and int(name) not in pass_fds:
            with contextlib.suppress(OSError):
                os.close(int(name))
    if env is not None:
        os.environ.clear()
        os.environ.update(env)
    if cwd is not None:
        os.chdir(cwd)
    sys.argv = words
    logger = logging.getLogger("mgc")
    logger.handlers.clear()
    logger.propagate = True
    finish(lambda: runpy.run_module(words[0], run_name="__main__", alter_sys=True))


def finish(run: Callable[[], Any]) -> None:
    """Call a function and end the process as Python does.

    Libraries' static destructors are skipped: they would join threads that a fork does not have.
    """
    code: Any = 0
    try:
        run()
    except SystemExit as stop:
        code = stop.code
    except BaseException:
        sys.excepthook(*sys.exc_info())
        code = 1
    if isinstance(code, str):
        print(code, file=sys.stderr)
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            stream.flush()
    os._exit(code or 0)


if __name__ == "__main__":
    print("ready", flush=True)
    started = serve(sys.argv[1])
    if started is not None:
        from mgc.cli import main

        fork_python()
        finish(main)
