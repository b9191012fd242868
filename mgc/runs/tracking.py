"""Manages the mode, settings and end of runs of Weights & Biases.

wandb is imported only when a command logs to it.
"""

import logging
import os
import shlex
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mgc.core.stopping import Stopped
from mgc.errors import MgcError
from mgc.runs.folder import RUNS

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

#: Seconds to wait for W&B's server. wandb itself retries for 90 s and then ends the run.
SERVER_TIMEOUT = 5.0

#: Environment variable with the reason why a command keeps its runs offline. Child processes
#: inherit it and leave the report to the command.
OFFLINE_REASON = "MGC_WANDB_OFFLINE"

#: Environment variable of wandb: the group of runs.
WANDB_GROUP = "WANDB_RUN_GROUP"

#: Whether the command that started this process reports its offline runs.
_parent_reports = OFFLINE_REASON in os.environ

#: Number of nested sessions in this process.
_sessions = 0

#: Offline runs of the outermost session, as arguments of ``wandb sync``.
_offline_runs: list[str] = []


@dataclass(frozen=True)
class WandbStatus:
    """Mode and server of W&B runs.

    Attributes:
        mode: ``online``, ``offline`` or ``disabled``.
        server: URL of the server.
        logged_in: Whether wandb has credentials for the server. They are not verified.
        reason: Why runs are not sent to the server.
        warning: Message to log if runs are kept offline without the user asking for it.
    """

    mode: str
    server: str
    logged_in: bool
    reason: str = ""
    warning: str = ""


def wandb_status() -> WandbStatus:
    """Return whether W&B runs are sent online, without prompting.

    wandb reads its environment variables, settings files, netrc and identity token file. The server
    is contacted only if wandb has credentials for it.

    Raises:
        MgcError: If wandb rejects one of its settings.
    """
    mode, server, logged_in = _read_wandb_settings()
    given = os.environ.get("WANDB_MODE")
    if os.environ.get("WANDB_DISABLED", "").lower() in ("true", "1", "yes"):
        return WandbStatus("disabled", server, logged_in, "WANDB_DISABLED is set")
    if mode == "disabled":
        reason = "WANDB_MODE=disabled" if given else "set by 'wandb disabled'"
        return WandbStatus(mode, server, logged_in, reason)
    if mode in ("offline", "dryrun"):
        reason = f"WANDB_MODE={given}" if given else "set by 'wandb offline'"
        return WandbStatus("offline", server, logged_in, reason)
    if given:
        # WANDB_MODE=online: let wandb raise its error instead of going offline.
        return WandbStatus("online", server, logged_in)
    if not logged_in:
        return WandbStatus(
            "offline",
            server,
            logged_in,
            "not logged in",
            "Not logged in to W&B: runs are kept offline. Run 'wandb login' to send them online.",
        )
    problem = _connection_problem(server)
    if problem:
        return WandbStatus(
            "offline",
            server,
            logged_in,
            f"{server} does not answer",
            f"W&B at {server} does not answer ({problem}): runs are kept offline.",
        )
    return WandbStatus("online", server, logged_in)


def set_wandb_mode() -> None:
    """Set ``WANDB_MODE`` for this command and its child processes, once per command.

    Logs a warning if runs are kept offline without the user asking for it.

    Raises:
        MgcError: If wandb rejects one of its settings.
    """
    if OFFLINE_REASON in os.environ:
        return
    status = wandb_status()
    if status.mode == "disabled":
        os.environ["WANDB_MODE"] = "disabled"
    elif status.mode == "offline":
        if status.warning:
            log.warning(status.warning)
        keep_offline(status.reason)


def keep_offline(reason: str) -> None:
    """Keep the W&B runs of this command offline; :func:`report_offline_runs` logs the reason."""
    os.environ[OFFLINE_REASON] = reason
    os.environ["WANDB_MODE"] = "offline"
    # Hide wandb's own message about uploading.
    os.environ.setdefault("WANDB_SILENT", "true")


@contextmanager
def wandb_session() -> Iterator[None]:
    """Finish the active W&B run on exit, also after an error.

    The outermost session then reports offline runs and restores W&B's environment variables, so
    that later commands in this process choose their own mode.

    Raises:
        MgcError: If W&B rejects the run.
    """
    global _sessions
    environment = _wandb_environment()
    exit_code = 1
    _sessions += 1
    try:
        yield
        exit_code = 0
    except Stopped as stopped:
        exit_code = 128 + stopped.signum
        raise
    except Exception as error:
        if "wandb" in sys.modules and isinstance(error, sys.modules["wandb"].Error):
            raise MgcError(
                f"W&B rejected the run: {error} Log in (wandb login), set WANDB_MODE=offline, or "
                "turn W&B off (--trainer.logger=false, or no --wandb)."
            ) from error
        raise
    finally:
        _sessions -= 1
        finish_wandb_run(exit_code)
        if not _sessions:
            report_offline_runs()
            _restore_wandb_environment(environment)


def finish_wandb_run(exit_code: int) -> None:
    """Finish the active W&B run of this process, if any, with the exit code that W&B shows."""
    wandb = sys.modules.get("wandb")
    run = getattr(wandb, "run", None)
    if wandb is None or run is None:
        return
    if run.offline:
        _offline_runs.append(shlex.quote(run.sync_dir))
    wandb.finish(exit_code=exit_code)
    # wandb's service process resolves relative paths against the folder that it started in.
    wandb.teardown()


def report_offline_runs() -> None:
    """Log the runs that were kept offline, with the command to upload them."""
    if _offline_runs and not _parent_reports:
        reason = os.environ.get(OFFLINE_REASON, "offline=true in the logger's settings")
        login = "wandb login && " if reason == "not logged in" else ""
        patterns = {path for path in _offline_runs if "*" in path}
        paths = " ".join(
            path
            for path in dict.fromkeys(_offline_runs)
            if path in patterns or not any(fnmatch(path, pattern) for pattern in patterns)
        )
        log.info("W&B: kept offline (%s). Upload with: %swandb sync %s", reason, login, paths)
    _offline_runs.clear()


def add_offline_runs(records: Iterable[Mapping[str, Any]], group: str) -> None:
    """Add runs of child processes to the report of offline runs.

    Args:
        records: Records of the runs (see :func:`mgc.runs.record.read_record`).
        group: W&B group of the runs. Their ids begin with it.
    """
    for record in records:
        folder = record.get("wandb", {}).get("offline_folder")
        if folder:
            parent = shlex.quote(str(Path(folder).parent))
            _offline_runs.append(f"{parent}/offline-run-*-{group}-*")


def wandb_loggers(loggers: Any) -> list[Any]:
    """Return the W&B loggers in the trainer's ``logger`` setting."""
    return [
        logger
        for logger in (loggers if isinstance(loggers, list) else [loggers])
        if str(getattr(logger, "class_path", "")).endswith("WandbLogger")
    ]


def wandb_group(own: str) -> str:
    """Return the group of runs that the user or a parent command has set, or ``own``."""
    return os.environ.get(WANDB_GROUP) or own


@contextmanager
def share_wandb_group(name: str) -> Iterator[None]:
    """Log all runs, also of child processes, in one W&B group, unless the user has set another.

    Works as a decorator, too.
    """
    if os.environ.get(WANDB_GROUP):
        yield
        return
    os.environ[WANDB_GROUP] = name
    try:
        yield
    finally:
        del os.environ[WANDB_GROUP]


def set_wandb_run(loggers: Any, **settings: Any) -> None:
    """Override arguments of ``WandbLogger``, such as ``group``, in the ``logger`` setting."""
    for logger in wandb_loggers(loggers):
        for name, value in settings.items():
            logger.init_args[name] = value


def set_staging_folder(save_dir: str | os.PathLike[str]) -> None:
    """Make W&B stage uploads in ``save_dir/wandb``, next to its runs, not in the home folder."""
    staging = Path(save_dir, "wandb").absolute()
    staging.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("WANDB_DATA_DIR", str(staging))
    os.environ.setdefault("WANDB_CACHE_DIR", str(staging / "cache"))


def log_results(
    name: str,
    job_type: str,
    project: str,
    tables: "Mapping[str, pd.DataFrame]",
    images: Iterable[Path] = (),
    summary: Mapping[str, Any] | None = None,
    config: Mapping[str, Any] | None = None,
    save_dir: str = RUNS,
    **settings: Any,
) -> None:
    """Log a report, or the results of an experiment, as a W&B run.

    Tables are logged under their keys, image files under their names without suffix. The run is
    stored in ``save_dir/wandb``. Other settings are arguments of ``wandb.init``.

    Raises:
        MgcError: If W&B rejects the run.
    """
    with wandb_session():
        set_wandb_mode()
        set_staging_folder(save_dir)
        import wandb

        run = wandb.init(
            name=name,
            job_type=job_type,
            project=project,
            dir=save_dir,
            config=dict(config or {}),
            **settings,
        )
        logged: dict[str, Any] = {
            key: wandb.Table(dataframe=table) for key, table in tables.items()
        }
        run.log(logged | {path.stem: wandb.Image(str(path)) for path in images})
        run.summary.update(dict(summary or {}))


def _read_wandb_settings() -> tuple[str, str, bool]:
    """Return wandb's mode, the URL of its server, and whether it has credentials for it."""
    import wandb
    from wandb.sdk import wandb_setup

    environment = _wandb_environment()
    # Keep wandb from printing where it found settings and credentials, but not its warnings.
    wandb.termsetup(wandb.Settings(show_info=False), None)
    os.environ["WANDB_SHOW_INFO"] = "false"
    wandb.teardown()
    try:
        settings = wandb_setup.singleton().settings
        mode, server = settings.mode, settings.base_url
        # wandb.login finds credentials in online mode only. Unless silent, it asks the server for
        # the user's name to print it.
        settings.mode, settings.silent = "online", True
        return mode, server, bool(wandb.login(prompt=False, verify=False))
    except (wandb.Error, ValueError) as error:
        raise MgcError(f"W&B: {_setting_problem(error)}") from error
    finally:
        # wandb reads its settings once per process and would ignore a mode set later.
        wandb.teardown()
        _restore_wandb_environment(environment)


def _setting_problem(error: Exception) -> str:
    """Describe a setting that wandb rejects."""
    if not hasattr(error, "errors"):
        return str(error)
    # A validation error of pydantic, raised for environment variables only.
    return "; ".join(
        f"WANDB_{'_'.join(map(str, problem['loc'])).upper()}={problem['input']}: {problem['msg']}."
        for problem in error.errors()
    )


def _connection_problem(server: str) -> str:
    """Return why a server does not answer; empty if it does."""
    import ssl
    from urllib.error import HTTPError
    from urllib.request import build_opener

    try:
        # urlopen keeps the proxies of its first call.
        with build_opener().open(server, timeout=SERVER_TIMEOUT):
            return ""
    except HTTPError:
        return ""
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        # The server did answer; wandb decides whether to trust its certificate.
        return "" if isinstance(reason, ssl.SSLError) else str(reason)


def _wandb_environment() -> dict[str, str]:
    return {n: v for n, v in os.environ.items() if n.startswith(("WANDB_", OFFLINE_REASON))}


def _restore_wandb_environment(environment: Mapping[str, str]) -> None:
    for name in _wandb_environment().keys() - environment.keys():
        del os.environ[name]
    os.environ.update(environment)
