"""Output folders of runs."""

import os
import secrets
import string
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mgc.core.text_files import read_json_object
from mgc.core.writing import replacing
from mgc.errors import MgcError

if TYPE_CHECKING:
    from lightning.pytorch import Trainer

#: Default parent folder of all runs.
RUNS = "runs"

#: File in a run's folder with the configuration of the fit.
CONFIG = "config.yaml"

#: File in a run's folder with provenance and best epoch (see :mod:`mgc.training.run_record`).
RECORD = "run.json"

#: File in :data:`RUNS` with the path of the newest fit's folder.
NEWEST_RUN = "newest.txt"

#: Checkpoint of the last step, which every fit writes.
LAST_CHECKPOINT = "last.ckpt"

#: Environment variable that passes the ID of a run without a logger to its child processes.
RUN_ID_VARIABLE = "MGC_RUN_ID"

#: Number of parent folders of a checkpoint to search for its run. There may be several, because
#: checkpoint names such as ``{val/accuracy:.2f}`` create subfolders.
MAX_PARENTS = 4


def run_folder(trainer: "Trainer") -> Path:
    """Return the folder for checkpoints, results and the configuration.

    This is the folder set by :func:`set_run_folder`, or else ``save_dir/name/version`` of the first
    logger, or without a logger ``default_root_dir``.
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


def writes_files(trainer: "Trainer") -> bool:
    """Whether this process writes the files of a run: rank zero, unless in a ``fast_dev_run``."""
    return trainer.is_global_zero and not getattr(trainer, "fast_dev_run", False)


def set_run_folder(trainer: "Trainer", folder: Path) -> None:
    """Set the folder of a run that has no logger, or writes to the folder of another run."""
    trainer.mgc_run_folder = folder  # type: ignore[attr-defined]


def new_run_folder() -> Path:
    """Return the folder for a new run without a logger, identical in all of its processes."""
    return Path(RUNS, "mgc", os.environ.get(RUN_ID_VARIABLE) or _new_id())


@contextmanager
def share_run_id() -> Iterator[None]:
    """Make child processes use the same run ID as this process."""
    given = os.environ.get(RUN_ID_VARIABLE)
    os.environ[RUN_ID_VARIABLE] = given or _new_id()
    try:
        yield
    finally:
        if given is None:
            del os.environ[RUN_ID_VARIABLE]


def find_run(ckpt: str | os.PathLike[str]) -> Path | None:
    """Return the folder of the run that wrote a checkpoint: the nearest with a configuration.

    The path is relative if it is inside the working folder, as it was in the fit. When a fit is
    resumed, Lightning discards the best score if the path has changed.
    """
    path = Path(ckpt).absolute()
    if path.is_relative_to(Path.cwd()):
        path = path.relative_to(Path.cwd())
    folders = list(path.parents)[:MAX_PARENTS]
    return next((folder for folder in folders if (folder / CONFIG).is_file()), None)


def read_record(folder: Path) -> dict[str, Any]:
    """Read the record of a run.

    Returns:
        Dictionary, empty if the folder has no record, with the keys ``fit`` and ``test``: results
        of :func:`mgc.runs.record.describe_run`; ``best``: ``metric``, ``mode``, ``value``,
        ``epoch``, ``step`` and all ``metrics`` of the best epoch; ``checkpoints``: path of
        ``best``; ``wandb``: identifiers of the W&B run.

    Raises:
        MgcError: If the record is damaged.
    """
    path = folder / RECORD
    return read_json_object(path) if path.exists() else {}


def save_newest(folder: Path) -> None:
    """Save the folder of a fit for :func:`find_newest_checkpoint`."""
    with replacing(Path(RUNS, NEWEST_RUN)) as partial:
        partial.write_text(f"{folder}\n", encoding="utf-8")


def find_newest_checkpoint(name: str) -> str:
    """Return the path of the ``best`` or ``last`` checkpoint of the newest fit.

    Raises:
        MgcError: If the newest fit has no such checkpoint, even if an older fit has one.
    """
    folder = _newest_run()
    if folder is None:
        raise MgcError(f"--ckpt_path {name}: no run in {RUNS}/. Set a path.")
    given = read_record(folder).get("checkpoints", {}).get(name)
    candidates = [folder / "checkpoints" / f"{name}.ckpt", *([Path(given)] if given else [])]
    found = next((path for path in candidates if path.is_file()), None)
    if found is None and (folder / "checkpoints" / LAST_CHECKPOINT).is_file():
        raise MgcError(
            f"--ckpt_path {name}: the newest run, {folder}, has none: no validation ended, or its "
            "monitored metric was never a number. Use --ckpt_path last for the weights after its "
            "last step."
        )
    if found is None:
        raise MgcError(
            f"--ckpt_path {name}: the newest run, {folder}, has no such checkpoint. Set a path."
        )
    return str(found)


def _newest_run() -> Path | None:
    saved = Path(RUNS, NEWEST_RUN)
    if saved.is_file():
        folder = Path(saved.read_text(encoding="utf-8").strip())
        if folder.is_dir():
            return folder
    # Earlier versions of mgc did not save the newest folder.
    found = [path.parent for path in Path(RUNS).glob(f"*/*/{CONFIG}")]
    return max(found, key=lambda folder: _last_change(folder), default=None)


def _last_change(folder: Path) -> float:
    return max(path.stat().st_mtime for path in [folder, *folder.glob("checkpoints/*.ckpt")])


def _new_id() -> str:
    return "".join(secrets.choice(string.ascii_lowercase + string.digits) for _ in range(8))
