"""One fold of a cross-validation, in a process of its own: fit, validation, test.

``python -m mgc.evaluation.fold_run FOLDER`` reads what to do from ``fold.json`` in the folder and
writes the results of the best checkpoint there, ``validate`` and ``test``.
"""

import json
import logging
import os
import sys
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from jsonargparse import Namespace
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from mgc import training
from mgc.cli import TRACEBACK, one_line
from mgc.errors import MgcError
from mgc.evaluation.callback import TrackEvaluation

#: Name of the checkpoint that an unfinished fold goes on from.
LAST = "last_epoch.ckpt"

#: Lightning's stages that leave results, in this order.
STAGES = ("validate", "test")


@dataclass(frozen=True)
class Fold:
    """A fold of a cross-validation.

    Attributes:
        folder: Where its results and its last checkpoint go.
        config: YAML file as for ``mgc fit``.
        overrides: Options of ``mgc fit`` that change the configuration.
        seed: Seed of the split and of training.
        fold: Number of the test fold.
        folds: Number of folds.
        group: W&B group.
    """

    folder: str
    config: str
    overrides: tuple[str, ...]
    seed: int
    fold: int
    folds: int
    group: str

    @property
    def name(self) -> str:
        """Name of the fold."""
        return f"seed {self.seed}, fold {self.fold}"

    @property
    def finished(self) -> bool:
        """Whether its results are there."""
        return all(Path(self.folder, stage, "tracks.parquet").is_file() for stage in STAGES)

    def write(self) -> None:
        """Write ``fold.json``, for :func:`main`."""
        Path(self.folder).mkdir(parents=True, exist_ok=True)
        Path(self.folder, "fold.json").write_text(json.dumps(asdict(self), indent=1))

    @classmethod
    def read(cls, folder: str) -> "Fold":
        """Read what :meth:`write` wrote."""
        settings = json.loads(Path(folder, "fold.json").read_text())
        return cls(**settings | {"overrides": tuple(settings["overrides"])})


class LastEpoch(ModelCheckpoint):
    """Keeps the last epoch, to go on from; the configuration's own checkpoints choose the best."""

    def __init__(self, dirpath: str) -> None:
        """Initialize.

        Args:
            dirpath: Folder for the checkpoint.
        """
        super().__init__(dirpath, filename=Path(LAST).stem, enable_version_counter=False)


class CheckFolds(Callback):
    """Stops before training where a data set comes with another number of folds."""

    def __init__(self, folds: int) -> None:
        """Initialize.

        Args:
            folds: Number of folds that were asked for.
        """
        self.folds = folds

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Count the folds of the catalogue."""
        data = trainer.datamodule  # type: ignore[attr-defined]
        if data.split == "fold" and "fold" in data.tracks:
            given = data.tracks["fold"].nunique()
            if given != self.folds:
                raise MgcError(f"The data set comes with {given} folds: set --folds {given}.")


class FoldCLI(training.MgcCLI):
    """A fit whose split and W&B run are those of a fold."""

    def __init__(self, fold: Fold, **kwargs: Any) -> None:
        """Initialize.

        Args:
            fold: The fold.
            **kwargs: Arguments of :class:`mgc.training.MgcCLI`.
        """
        self.fold = fold
        super().__init__(**kwargs)

    def before_instantiate_classes(self) -> None:
        """Set the kind of split and name the W&B run, whatever the configuration says of them."""
        config = self.config[self.subcommand]
        if not str(config.data.init_args.get("split")).startswith("fold"):
            config.data.init_args["split"] = "fold"
        loggers = config.trainer.get("logger")
        for logger in loggers if isinstance(loggers, list) else [loggers]:
            if isinstance(logger, Namespace) and logger.class_path.endswith("WandbLogger"):
                settings = {
                    "group": self.fold.group,
                    "name": f"{self.fold.group} {self.fold.name}",
                    # The same run of W&B goes on where an unfinished fold does.
                    "id": f"{self.fold.group}-{self.fold.seed}-{self.fold.fold}",
                    "job_type": "fold",
                }
                for name, value in settings.items():
                    logger.init_args[name] = value
        super().before_instantiate_classes()

    def before_fit(self) -> None:
        """Add what every fold needs, after the callbacks of the configuration."""
        self.trainer.callbacks += [  # type: ignore[attr-defined]
            CheckFolds(self.fold.folds),
            LastEpoch(self.fold.folder),
        ]

    def after_fit(self) -> None:
        """Measure the best checkpoint on the validation and the test fold.

        Raises:
            MgcError: If the model gives nothing to measure.
        """
        trainer, folder = self.trainer, Path(self.fold.folder)
        evaluation = next(c for c in trainer.callbacks if isinstance(c, TrackEvaluation))  # type: ignore[attr-defined]
        best = trainer.checkpoint_callback.best_model_path  # type: ignore[union-attr] # LastEpoch
        for stage in STAGES:
            evaluation.results = None
            getattr(trainer, stage)(self.model, datamodule=self.datamodule, ckpt_path=best)
            if evaluation.results is None:
                raise MgcError(
                    f"{self.fold.config}: no results. The model's steps must return logits."
                )
            if trainer.is_global_zero:
                evaluation.results.save(folder / stage)
        if trainer.is_global_zero and Path(best) != folder / LAST:
            (folder / LAST).unlink(missing_ok=True)


def run_fold(fold: Fold) -> None:
    """Train, choose the checkpoint by the validation fold, measure it on both folds.

    Args:
        fold: The fold. If its folder holds a checkpoint, training goes on from there.

    Raises:
        MgcError: If a setting is wrong, or the data set comes with another number of folds.
    """
    last = Path(fold.folder, LAST)
    training.main(
        [
            *("fit", "--config", fold.config, *fold.overrides),
            *(f"--data.fold={fold.fold}", f"--data.folds={fold.folds}"),
            *(f"--data.seed={fold.seed}", f"--seed_everything={fold.seed}"),
            f"--trainer.default_root_dir={fold.folder}",
            *([f"--ckpt_path={last}"] if last.is_file() else []),
        ],
        partial(FoldCLI, fold),
    )


def main(folder: str) -> None:
    """Run the fold that a folder describes.

    Args:
        folder: Folder with ``fold.json``.

    Raises:
        SystemExit: With code 2 after an error that the user can mend, told in one line.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    try:
        run_fold(Fold.read(folder))
    except MgcError as error:
        if os.environ.get(TRACEBACK):
            raise
        print(f"mgc: error: {one_line(error)}", file=sys.stderr)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main(sys.argv[1])
