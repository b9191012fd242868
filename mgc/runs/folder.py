"""Where a run keeps what it writes."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lightning.pytorch import Trainer

#: Where runs go, unless the configuration says otherwise.
RUNS = "runs"

#: Configuration of a fit, in its folder.
CONFIG = "config.yaml"

#: What a run is made of and what its best epoch was, in its folder (see
#: :mod:`mgc.training.run_record`).
RECORD = "run.json"


def run_folder(trainer: "Trainer") -> Path:
    """Find the folder of a run, where checkpoints, results and the configuration go.

    Args:
        trainer: The trainer of the run.

    Returns:
        ``save_dir/name/version`` of the first logger, or the trainer's own root folder.
    """
    if not trainer.loggers:
        return Path(trainer.default_root_dir)
    logger = trainer.loggers[0]
    version = logger.version
    version = version if isinstance(version, str) else f"version_{version}"
    return Path(logger.save_dir or trainer.default_root_dir, str(logger.name), version)
