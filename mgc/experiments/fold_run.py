"""One fold of a cross-validation, in a process of its own: fit, validation, test.

``python -m mgc.experiments.fold_run FOLDER`` reads what to do from ``fold.json`` in the folder and
writes the results of the best checkpoint there, ``validate`` and ``test``.
"""

import json
import shutil
import sys
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from mgc.core.writing import replacing
from mgc.errors import MgcError
from mgc.evaluation.results import Results
from mgc.experiments.child_run import LAST_EPOCH, ChildCLI, fit, run_child
from mgc.runs.folder import CONFIG, RECORD, run_folder

#: Lightning's stages that leave results, in this order.
STAGES = ("validate", "test")


@dataclass(frozen=True)
class Fold:
    """A fold of a cross-validation.

    Attributes:
        folder: Where its results and its last checkpoint go.
        config: Configuration as for ``mgc fit``, a file or the name of a shipped one.
        overrides: Options of ``mgc fit`` that change the configuration.
        seed: Seed of the split and of training.
        fold: Number of the test fold.
        folds: Number of folds; 1 is the split that the configuration names.
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
    def options(self) -> list[str]:
        """Options of ``mgc fit`` that the fold sets itself."""
        own = [f"--data.seed={self.seed}", f"--seed_everything={self.seed}"]
        if self.folds > 1:
            own += [f"--data.fold={self.fold}", f"--data.folds={self.folds}"]
        return own

    @property
    def finished(self) -> bool:
        """Whether its results are there."""
        return all(Path(self.folder, stage, "tracks.parquet").is_file() for stage in STAGES)

    def write(self) -> None:
        """Write ``fold.json``, for :func:`main`."""
        with replacing(Path(self.folder, "fold.json")) as partial:
            partial.write_text(json.dumps(asdict(self), indent=1), encoding="utf-8")

    @classmethod
    def read(cls, folder: str) -> "Fold":
        """Read what :meth:`write` wrote."""
        settings = json.loads(Path(folder, "fold.json").read_text(encoding="utf-8"))
        return cls(**settings | {"overrides": tuple(settings["overrides"])})


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


class FoldCLI(ChildCLI):
    """A fit whose split and W&B run are those of a fold."""

    def __init__(self, fold: Fold, **kwargs: Any) -> None:
        """Initialize.

        Args:
            fold: The fold.
            **kwargs: Arguments of :class:`mgc.training.cli.MgcCLI`.
        """
        self.fold = fold
        run = {
            "group": fold.group,
            "name": f"{fold.group} {fold.name}",
            # The same run of W&B goes on where an unfinished fold does.
            "id": f"{fold.group}-{fold.seed}-{fold.fold}",
            "job_type": "fold",
        }
        super().__init__(fold.folder, run, **kwargs)

    def before_instantiate_classes(self) -> None:
        """Set the kind of split, whatever the configuration says of it.

        Raises:
            MgcError: If a single split is asked for, and the configuration's is one of folds.
        """
        config = self.config[self.subcommand]
        split = str(config.data.init_args.get("split"))
        if self.fold.folds == 1 and split.startswith("fold"):
            raise MgcError(
                f"--folds 1 is the split of the configuration, which is {split}, one of several "
                "folds. Set another (-- --data.split=stratified, or one that the data set comes "
                "with), or ask for 3 or more --folds, of which --test_folds 1 tests one."
            )
        if self.fold.folds > 1 and not split.startswith("fold"):
            config.data.init_args["split"] = "fold"
        super().before_instantiate_classes()

    def before_fit(self) -> None:
        """Add what every fold needs, after the callbacks of the configuration."""
        self.trainer.callbacks.append(CheckFolds(self.fold.folds))  # type: ignore[attr-defined]
        super().before_fit()

    def after_fit(self) -> None:
        """Measure the best checkpoint on the validation and the test fold.

        Raises:
            MgcError: If the model gives nothing to measure.
        """
        trainer, folder = self.trainer, Path(self.fold.folder)
        best = getattr(trainer.checkpoint_callback, "best_model_path", "") or str(
            folder / LAST_EPOCH
        )
        for stage in STAGES:
            # Read back from the run, as the processes of several devices may be gone by now.
            written = run_folder(trainer) / stage
            if trainer.is_global_zero:
                shutil.rmtree(written, ignore_errors=True)
            getattr(trainer, stage)(self.model, datamodule=self.datamodule, ckpt_path=best)
            if not trainer.is_global_zero:
                continue
            if not written.is_dir():
                raise MgcError(
                    f"{self.fold.config}: no results. The model's steps must return logits."
                )
            if written != folder / stage:
                Results.load(written).save(folder / stage)
        if trainer.is_global_zero and run_folder(trainer) != folder:
            # What compares cross-validations needs them, and the run may be moved.
            for name in (CONFIG, RECORD):
                shutil.copyfile(run_folder(trainer) / name, folder / name)
        if trainer.is_global_zero and Path(best) != folder / LAST_EPOCH:
            (folder / LAST_EPOCH).unlink(missing_ok=True)


def run_fold(fold: Fold) -> None:
    """Train, choose the checkpoint by the validation fold, measure it on both folds.

    Args:
        fold: The fold. If its folder holds a checkpoint, training goes on from there.

    Raises:
        MgcError: If a setting is wrong, or the data set comes with another number of folds.
    """
    words = ["--config", fold.config, *fold.overrides, *fold.options]
    fit(fold.folder, words, partial(FoldCLI, fold))


def main(folder: str) -> None:
    """Run the fold that a folder describes.

    Args:
        folder: Folder with ``fold.json``.

    Raises:
        SystemExit: As :func:`mgc.cli.main` tells.
    """
    run_child(lambda: run_fold(Fold.read(folder)))


if __name__ == "__main__":
    main(sys.argv[1])
