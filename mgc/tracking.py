"""Weights & Biases around a command: with or without a login or a network, begun and ended once."""

import logging
import multiprocessing
import netrc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

from lightning.pytorch import Callback, LightningModule, Trainer

from mgc.errors import MgcError
from mgc.stopping import Stopped

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
                "or do without (--trainer.logger false)."
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


class EndWandbRun(Callback):
    """Ends the W&B run in processes that Lightning forks or spawns, which end without a word."""

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """End the run as failed."""
        if multiprocessing.parent_process():
            end_wandb_run(128 + exception.signum if isinstance(exception, Stopped) else 1)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """End the run."""
        if multiprocessing.parent_process():
            end_wandb_run(0)


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
