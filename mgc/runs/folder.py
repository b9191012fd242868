"""Output folder of a run."""

import json
import os
import secrets
import string
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mgc.core.writing import replacing
from mgc.errors import MgcError

if TYPE_CHECKING:
    from lightning.pytorch import Trainer

#: Default folder of all runs.
RUNS = "runs"

#: Configuration of a fit, in the run's folder.
CONFIG = "config.yaml"

#: Provenance and best epoch, in the run's folder (see :mod:`mgc.training.run_record`).
RECORD = "run.json"

#: File in :data:`RUNS` with the folder of the newest fit.
NEWEST = "newest.txt"

#: Environment variable with the name of a run without a logger, for the processes of all devices.
RUN_ID = "MGC_RUN_ID"

#: Number of folders above a checkpoint in which to look for its run. Names such as
#: ``{val/accuracy:.2f}`` make folders.
MAX_DEPTH = 4


def run_folder(trainer: "Trainer") -> Path:
    """Return the folder for checkpoints, results and the configuration.

    It is that of :func:`set_run_folder`, else ``save_dir/name/version`` of the first logger, else
    ``default_root_dir``.
    """
    folder: Path | None = getattr(trainer, "mgc_run_folder", None)
    if folder is not None:
        return folder
    if not trainer.loggers:
        return Path(trainer.default_root_dir)
    logger = trainer.loggers[0]
    version = logger.version
    version = version if isinstance(version, str) else f"version_{version}"
    return Path(logger.save_dir or trainer.default_root_dir, str(logger.name), version)


def set_run_folder(trainer: "Trainer", folder: Path) -> None:
    """Set the folder of a run that continues another one, or has no logger."""
    trainer.mgc_run_folder = folder  # type: ignore[attr-defined]


def new_run_folder() -> Path:
    """Return the folder of a new run without a logger, the same one in all its processes."""
    return Path(RUNS, "mgc", os.environ.get(RUN_ID) or _new_id())


@contextmanager
def same_run_id() -> Iterator[None]:
    """Give the processes that this one starts the same run."""
    given = os.environ.get(RUN_ID)
    os.environ[RUN_ID] = given or _new_id()
    try:
        yield
    finally:
        if given is None:
            del os.environ[RUN_ID]


def find_run(ckpt: str | os.PathLike[str]) -> Path | None:
    """Return the folder of the run that wrote a checkpoint, by its configuration.

    It is relative to the working folder if it lies in it, as in the fit: Lightning forgets the best
    score if the folder is spelled differently.
    """
    path = Path(ckpt).absolute()
    if path.is_relative_to(Path.cwd()):
        path = path.relative_to(Path.cwd())
    folders = list(path.parents)[:MAX_DEPTH]
    return next((folder for folder in folders if (folder / CONFIG).is_file()), None)


def read_record(folder: Path) -> dict[str, Any]:
    """Read the record of a run folder; empty if there is none.

    Returns:
        For each stage (``fit``, ``test``) the result of :func:`mgc.runs.record.describe_run`;
        ``best``: ``metric``, ``mode``, ``value``, ``epoch``, ``step`` and all ``metrics`` of the
        best epoch; ``checkpoints``: paths by ``best`` and ``last``; ``wandb``: identifiers of the
        W&B run.
    """
    path = folder / RECORD
    record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return record


def remember_newest(folder: Path) -> None:
    """Record the folder of a fit, for :func:`find_newest`."""
    with replacing(Path(RUNS, NEWEST)) as partial:
        partial.write_text(f"{folder}\n", encoding="utf-8")


def find_newest(name: str) -> str:
    """Return the checkpoint ``best`` or ``last`` of the newest fit in this folder.

    Raises:
        MgcError: If there is none. The checkpoint of an older fit is never returned.
    """
    folder = _newest_run()
    if folder is None:
        raise MgcError(f"--ckpt_path {name}: no run in {RUNS}/. Set a path.")
    given = read_record(folder).get("checkpoints", {}).get(name)
    candidates = [folder / "checkpoints" / f"{name}.ckpt", *([Path(given)] if given else [])]
    found = next((path for path in candidates if path.is_file()), None)
    if found is None:
        raise MgcError(
            f"--ckpt_path {name}: the newest run, {folder}, has no such checkpoint. Set a path."
        )
    return str(found)


def _newest_run() -> Path | None:
    remembered = Path(RUNS, NEWEST)
    if remembered.is_file():
        folder = Path(remembered.read_text(encoding="utf-8").strip())
        if folder.is_dir():
            return folder
    # Runs of earlier versions.
    found = [path.parent for path in Path(RUNS).glob(f"*/*/{CONFIG}")]
    return max(found, key=lambda folder: _last_change(folder), default=None)


def _last_change(folder: Path) -> float:
    return max(path.stat().st_mtime for path in [folder, *folder.glob("checkpoints/*.ckpt")])


def _new_id() -> str:
    return "".join(secrets.choice(string.ascii_lowercase + string.digits) for _ in range(8))
