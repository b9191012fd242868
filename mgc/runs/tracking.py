"""Weights & Biases: whether runs go online, and what every command does around its runs.

Importing this module is cheap; wandb is imported when a command logs to it.
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

#: Seconds that W&B's server has to answer. wandb itself retries for 90 s and then ends the run.
SERVER_TIMEOUT = 5.0

#: Environment variable with the reason why a command keeps its runs offline. The processes that it
#: starts inherit it and log nothing about it.
OFFLINE_REASON = "MGC_WANDB_OFFLINE"

#: Whether the command that started this process reports its offline runs.
_parent_reports = OFFLINE_REASON in os.environ

#: Number of sessions that are open in this process, one inside the other.
_sessions = 0

#: What to pass to ``wandb sync``: offline runs of the outermost session.
_offline_runs: list[str] = []


@dataclass(frozen=True)
class WandbStatus:
    """Where W&B runs go.

    Attributes:
        mode: ``online``, ``offline`` or ``disabled``.
        server: URL of the server.
        logged_in: Whether wandb has credentials for the server. They are not verified.
        reason: Why runs are not sent to the server; empty if they are.
        warning: What to log before the first run, if nobody chose to keep runs offline.
    """

    mode: str
    server: str
    logged_in: bool
    reason: str = ""
    warning: str = ""


def wandb_status() -> WandbStatus:
    """Find out whether W&B runs go online.

    Asks wandb, which reads its environment variables, settings files, netrc and identity token
    file. Does not prompt. The server is contacted only if wandb has credentials for it.

    Returns:
        The status.

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
        # Whoever insists on it gets wandb's error instead of an offline run.
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
    """Set ``WANDB_MODE`` for this command and the processes that it starts.

    Logs one line if runs are kept offline although nobody asked for it. Later calls of the same
    command do nothing.

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
    """Keep the W&B runs of this command offline.

    Args:
        reason: Why, for the line that the command ends with.
    """
    os.environ[OFFLINE_REASON] = reason
    os.environ["WANDB_MODE"] = "offline"
    # wandb's own lines about uploading would repeat ours.
    os.environ.setdefault("WANDB_SILENT", "true")


@contextmanager
def wandb_session() -> Iterator[None]:
    """Finish the W&B run of a command when the command ends, whether or not it fails.

    The outermost session then logs one line about runs that were kept offline, and restores the
    environment variables of W&B, so that another command in this process decides for itself.

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
    """Finish the active W&B run of this process, if any.

    Args:
        exit_code: Exit code that W&B shows.
    """
    wandb = sys.modules.get("wandb")
    run = getattr(wandb, "run", None)
    if wandb is None or run is None:
        return
    if run.offline:
        _offline_runs.append(shlex.quote(run.sync_dir))
    wandb.finish(exit_code=exit_code)
    # wandb's service process would write the next run relative to where this one was started.
    wandb.teardown()


def report_offline_runs() -> None:
    """Log one line about the runs that were kept offline, with the command that uploads them."""
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
    """Include the runs of other processes in the line about offline runs.

    Args:
        records: Records of the runs, with ``wandb`` as in
            :func:`mgc.training.run_record.read_record`.
        group: W&B group of the runs, with which their ids begin.
    """
    for record in records:
        folder = record.get("wandb", {}).get("offline_folder")
        if folder:
            place = shlex.quote(str(Path(folder).parent))
            _offline_runs.append(f"{place}/offline-run-*-{group}-*")


def wandb_loggers(loggers: Any) -> list[Any]:
    """Find the W&B loggers in a configuration.

    Args:
        loggers: The trainer's ``logger`` setting.

    Returns:
        Their sections, each with ``class_path`` and ``init_args``.
    """
    return [
        logger
        for logger in (loggers if isinstance(loggers, list) else [loggers])
        if str(getattr(logger, "class_path", "")).endswith("WandbLogger")
    ]


def set_wandb_run(loggers: Any, **settings: Any) -> None:
    """Set arguments of the W&B run of a configuration, over those that it has itself.

    Args:
        loggers: The trainer's ``logger`` setting.
        **settings: Arguments of ``WandbLogger``, such as ``group``.
    """
    for logger in wandb_loggers(loggers):
        for name, value in settings.items():
            logger.init_args[name] = value


def set_staging_folder(save_dir: str | os.PathLike[str]) -> None:
    """Let W&B stage files for upload beside its runs, not in the home folder.

    Args:
        save_dir: Folder whose ``wandb`` holds the runs.
    """
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
    """Log results of a report or of a whole experiment as a W&B run.

    Args:
        name: Name of the run.
        job_type: W&B job type.
        project: W&B project.
        tables: Tables by the key that they are logged under.
        images: Image files, logged under their names without suffix.
        summary: Summary values of the run.
        config: Configuration of the run.
        save_dir: Folder whose ``wandb`` holds the run.
        **settings: More arguments of ``wandb.init``, such as ``entity``, ``group``, ``tags``.

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
    """Ask wandb for its mode, the URL of its server, and whether somebody is logged in there."""
    import wandb
    from wandb.sdk import wandb_setup

    environment = _wandb_environment()
    # Otherwise wandb prints where it found settings and credentials. Its warnings still appear.
    wandb.termsetup(wandb.Settings(show_info=False), None)
    os.environ["WANDB_SHOW_INFO"] = "false"
    wandb.teardown()
    try:
        settings = wandb_setup.singleton().settings
        mode, server = settings.mode, settings.base_url
        # wandb.login answers in online mode only, and otherwise asks the server for the user's
        # name in order to print it.
        settings.mode, settings.silent = "online", True
        return mode, server, bool(wandb.login(prompt=False, verify=False))
    except (wandb.Error, ValueError) as error:
        raise MgcError(f"W&B: {_setting_problem(error)}") from error
    finally:
        # wandb reads its settings once in a process, and would ignore the mode that follows.
        wandb.teardown()
        _restore_wandb_environment(environment)


def _setting_problem(error: Exception) -> str:
    """Describe the environment variable that wandb rejects."""
    if not hasattr(error, "errors"):
        return str(error)
    # An error of pydantic; files with wrong settings are reported by wandb, and ignored.
    return "; ".join(
        f"WANDB_{'_'.join(map(str, problem['loc'])).upper()}={problem['input']}: {problem['msg']}."
        for problem in error.errors()
    )


def _connection_problem(server: str) -> str:
    """Why a server does not answer; empty if it does, whatever it answers."""
    import ssl
    from urllib.error import HTTPError
    from urllib.request import urlopen

    try:
        with urlopen(server, timeout=SERVER_TIMEOUT):  # noqa: S310 # the user's own setting
            return ""
    except HTTPError:
        return ""
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        # It did answer. Whether to trust its certificate is a setting of wandb.
        return "" if isinstance(reason, ssl.SSLError) else str(reason)


def _wandb_environment() -> dict[str, str]:
    return {n: v for n, v in os.environ.items() if n.startswith(("WANDB_", OFFLINE_REASON))}


def _restore_wandb_environment(environment: Mapping[str, str]) -> None:
    for name in _wandb_environment().keys() - environment.keys():
        del os.environ[name]
    os.environ.update(environment)
