"""Output folder of a run."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lightning.pytorch import Trainer

#: Default folder of all runs.
RUNS = "runs"

#: Configuration of a fit, in the run's folder.
CONFIG = "config.yaml"

#: Provenance and best epoch, in the run's folder (see :mod:`mgc.training.run_record`).
RECORD = "run.json"


def run_folder(trainer: "Trainer") -> Path:
    """Return the folder for checkpoints, results and the configuration.

    It is ``save_dir/name/version`` of the first logger, or else ``default_root_dir``.
    """
    if not trainer.loggers:
        return Path(trainer.default_root_dir)
    logger = trainer.loggers[0]
    version = logger.version
    version = version if isinstance(version, str) else f"version_{version}"
    return Path(logger.save_dir or trainer.default_root_dir, str(logger.name), version)
