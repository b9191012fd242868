"""Weights & Biases around a command: with or without a login or a network, begun and ended once."""

import logging
import multiprocessing
import netrc
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from multiprocessing.util import Finalize
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

import pandas as pd
from jsonargparse import Namespace
from lightning.pytorch import Callback, LightningModule, Trainer

from mgc.core.stopping import Stopped, signals
from mgc.errors import MgcError
from mgc.runs.folder import RUNS

log = logging.getLogger(__name__)

#: How long W&B's server has to answer, in seconds. W&B itself tries for a minute and a half, and
#: then ends the run.
PATIENCE = 5.0


def logged_in_to_wandb() -> bool:
    """Tell whether W&B knows who runs this, by a key in the environment or from ``wandb login``.

    Returns:
        Whether it does.
    """
    if "WANDB_API_KEY" in os.environ:
        return True
    try:
        return netrc.netrc().authenticators(_server().partition("//")[2]) is not None
    except (OSError, netrc.NetrcParseError):
        return False


def use_wandb_offline() -> None:
    """Keep W&B offline where nobody is logged in or its server does not answer."""
    if "WANDB_MODE" in os.environ:
        return
    if logged_in_to_wandb():
        reason = _unreachable(_server())
        if not reason:
            return
        log.warning(
            "W&B at %s does not answer (%s): the run is kept offline; wandb sync uploads it.",
            _server(),
            reason,
        )
    os.environ["WANDB_MODE"] = "offline"
    # What wandb prints about uploading is said in fewer words when a fit ends.
    os.environ.setdefault("WANDB_SILENT", "true")


@contextmanager
def one_wandb_run() -> Iterator[None]:
    """End the W&B run of a command with the command, also if others follow in the process.

    Raises:
        MgcError: If W&B does not take the run.
    """
    failed = 1
    try:
        yield
        failed = 0
    except Stopped as stopped:
        failed = 128 + stopped.signum
        raise
    except Exception as error:
        if "wandb" in sys.modules and isinstance(error, sys.modules["wandb"].Error):
            raise MgcError(
                f"W&B does not take the run: {error} Log in (wandb login), set WANDB_MODE=offline, "
                "or do without (--trainer.logger false, or no --wandb)."
            ) from error
        raise
    finally:
        end_wandb_run(failed)


def end_wandb_run(code: int) -> None:
    """End the W&B run of this process, if there is one.

    Args:
        code: Exit code that W&B keeps.
    """
    if "wandb" in sys.modules and sys.modules["wandb"].run is not None:
        sys.modules["wandb"].finish(exit_code=code)
        # wandb's own process would write the next run relative to where this one was started.
        sys.modules["wandb"].teardown()


def set_wandb_run(loggers: Any, **settings: Any) -> None:
    """Make the W&B run of a configuration one of an experiment, whatever it says itself.

    Args:
        loggers: The trainer's ``logger`` setting.
        **settings: Arguments of ``WandbLogger``, such as ``group``.
    """
    for logger in loggers if isinstance(loggers, list) else [loggers]:
        if isinstance(logger, Namespace) and logger.class_path.endswith("WandbLogger"):
            for name, value in settings.items():
                logger.init_args[name] = value


def stage_beside_runs(save_dir: str | os.PathLike[str]) -> None:
    """Keep what W&B stages for uploading out of the home folder.

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
    tables: Mapping[str, pd.DataFrame],
    images: Iterable[Path] = (),
    summary: Mapping[str, Any] | None = None,
    config: Mapping[str, Any] | None = None,
    save_dir: str = RUNS,
    **settings: Any,
) -> None:
    """Log results that no training logs: those of a report, or of all folds together.

    Args:
        name: Name of the run.
        job_type: Kind of job.
        project: Project in W&B.
        tables: Tables by the key that they are logged by.
        images: Pictures, logged by their file names without suffix.
        summary: Values that W&B lists for the run.
        config: Configuration of the run.
        save_dir: Folder whose ``wandb`` the run is kept in.
        **settings: More arguments of ``wandb.init``, such as ``entity``, ``group``, ``tags``.

    Raises:
        MgcError: If W&B does not take the run.
    """
    use_wandb_offline()
    stage_beside_runs(save_dir)
    with one_wandb_run():
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


class EndWandbRun(Callback):
    """Ends the W&B run in processes that Lightning forks or spawns, which end without a word."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """See to it that the run ends with the process, also by an error.

        Lightning tells callbacks of errors in the process that started this one, not here.
        """
        if _launched(trainer):
            Finalize(None, _end_failed, exitpriority=1)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """End the run."""
        if _launched(trainer):
            end_wandb_run(0)


def _end_failed() -> None:
    end_wandb_run(1 if signals.received is None else 128 + signals.received)


def _launched(trainer: Trainer) -> bool:
    """Whether Lightning forked or spawned this process, rather than somebody else."""
    return trainer.strategy.launcher is not None and bool(multiprocessing.parent_process())


def _server() -> str:
    return os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")


def _unreachable(server: str) -> str:
    """Why a server does not answer; an empty string if it does, whatever it says."""
    try:
        with urlopen(server, timeout=PATIENCE):  # noqa: S310 # the user's own setting
            return ""
    except HTTPError:
        return ""
    except (URLError, OSError, ValueError) as error:
        return str(getattr(error, "reason", error))
