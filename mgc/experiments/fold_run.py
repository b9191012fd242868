"""Trains and tests one fold of a cross-validation.

``python -m mgc.experiments.fold_run FOLDER`` reads the fold from ``fold.json`` in the folder and
writes the results of the best checkpoint to ``validate`` and ``test``.
"""

import json
import shutil
import sys
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from mgc.core.text_files import read_json_object
from mgc.core.writing import replacing
from mgc.data.split_checks import check_folds
from mgc.errors import MgcError
from mgc.evaluation.results import Results
from mgc.experiments.child_run import LAST_EPOCH, ChildCLI, fit, run_child
from mgc.runs.folder import CONFIG, RECORD, run_folder

#: File of a fold whose evaluation is not complete.
EVALUATING = "evaluating"

#: Lightning's stages that write results, in order.
STAGES = ("validate", "test")


@dataclass(frozen=True)
class Fold:
    """Fold of a cross-validation.

    Attributes:
        folder: Folder for its results and last checkpoint.
        config: Configuration file, or name of a shipped one.
        overrides: Options of ``mgc fit`` that change the configuration.
        seed: Seed of the split and of training.
        fold: Number of the test fold, from 0.
        folds: Number of folds. With 1, the configuration sets the split.
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
        """Name for messages."""
        return f"seed {self.seed}, fold {self.fold}"

    @property
    def options(self) -> list[str]:
        """Options of ``mgc fit`` that distinguish this fold from others."""
        options = [f"--data.seed={self.seed}", f"--seed_everything={self.seed}"]
        if self.folds > 1:
            options += [f"--data.fold={self.fold}", f"--data.folds={self.folds}"]
        return options

    @property
    def finished(self) -> bool:
        """Whether the results are complete."""
        if Path(self.folder, EVALUATING).exists():
            return False
        return all(Path(self.folder, stage, "tracks.parquet").is_file() for stage in STAGES)

    def write(self) -> None:
        """Write ``fold.json``."""
        with replacing(Path(self.folder, "fold.json")) as partial:
            partial.write_text(json.dumps(asdict(self), indent=1), encoding="utf-8")

    @classmethod
    def read(cls, folder: str) -> "Fold":
        """Read ``fold.json``."""
        settings = read_json_object(Path(folder, "fold.json"))
        return cls(**settings | {"overrides": tuple(settings["overrides"])})


class CheckFolds(Callback):
    """Checks the number of predefined folds and, in the first fold, the splits of all folds."""

    def __init__(self, folds: int, in_advance: bool = False) -> None:
        """Initialize with the requested number of folds, and whether to check all of them."""
        self.folds = folds
        self.in_advance = in_advance and folds > 1

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Check the folds.

        Raises:
            MgcError: If their number is wrong, or one has no tracks or an untrained class.
        """
        data = trainer.datamodule  # type: ignore[attr-defined]
        if data.split == "fold" and "fold" in data.tracks:
            given = data.tracks["fold"].nunique()
            if given != self.folds:
                raise MgcError(f"The data set has {given} predefined folds. Set --folds {given}.")
        if self.in_advance and stage == "fit" and data.labels:
            check_folds(data)


class FoldCLI(ChildCLI):
    """Trains on a fold, then evaluates the best checkpoint."""

    def __init__(self, fold: Fold, **kwargs: Any) -> None:
        """Initialize with a fold and the arguments of :class:`mgc.training.cli.MgcCLI`."""
        self.fold = fold
        run = {
            "group": fold.group,
            "name": f"{fold.group} {fold.name}",
            # A fixed ID, so that a resumed fit continues its W&B run.
            "id": f"{fold.group}-{fold.seed}-{fold.fold}",
            "job_type": "fold",
        }
        super().__init__(fold.folder, run, **kwargs)

    def before_instantiate_classes(self) -> None:
        """Set ``data.split``.

        Raises:
            MgcError: If the configuration's split has several folds but one was requested.
        """
        config = self.config[self.subcommand]
        split = str(config.data.init_args.get("split"))
        if self.fold.folds == 1 and split.startswith("fold"):
            raise MgcError(
                f"--folds 1 uses the split of the configuration, but {split} has several folds. "
                "Set a single split, such as -- --data.split=stratified, or train one of several "
                "folds: --folds 10 --test_folds 1."
            )
        if self.fold.folds > 1 and not split.startswith("fold"):
            config.data.init_args["split"] = "fold"
        super().before_instantiate_classes()

    def before_fit(self) -> None:
        """Add the callbacks of a fold after those of the configuration."""
        check = CheckFolds(self.fold.folds, in_advance=self.fold.fold == 0)
        self.trainer.callbacks.append(check)  # type: ignore[attr-defined]
        super().before_fit()

    def after_fit(self) -> None:
        """Evaluate the best checkpoint on the validation and test folds.

        Raises:
            MgcError: If the model's steps return no logits.
        """
        trainer, folder = self.trainer, Path(self.fold.folder)
        best = getattr(trainer.checkpoint_callback, "best_model_path", "") or str(
            folder / LAST_EPOCH
        )
        evaluating = folder / EVALUATING
        if trainer.is_global_zero:
            evaluating.touch()
        for stage in STAGES:
            # Read the results from disk: the processes of other devices may have exited.
            results_path = run_folder(trainer) / stage
            if trainer.is_global_zero:
                shutil.rmtree(results_path, ignore_errors=True)
            getattr(trainer, stage)(self.model, datamodule=self.datamodule, ckpt_path=best)
            if not trainer.is_global_zero:
                continue
            if not results_path.is_dir():
                raise MgcError(
                    f"{self.fold.config}: no results. The model's steps must return logits."
                )
            if results_path != folder / stage:
                Results.load(results_path).save(folder / stage)
        if trainer.is_global_zero and run_folder(trainer) != folder:
            # mgc compare reads these from the fold's folder.
            for name in (CONFIG, RECORD):
                shutil.copyfile(run_folder(trainer) / name, folder / name)
        if trainer.is_global_zero:
            evaluating.unlink(missing_ok=True)
        if trainer.is_global_zero and Path(best) != folder / LAST_EPOCH:
            (folder / LAST_EPOCH).unlink(missing_ok=True)


def run_fold(fold: Fold) -> None:
    """Train on a fold, resuming if possible, and evaluate the best checkpoint.

    Raises:
        MgcError: If a setting is wrong, or the data set has a different number of folds.
    """
    args = ["--config", fold.config, *fold.overrides, *fold.options]
    fit(fold.folder, args, partial(FoldCLI, fold))


def main(folder: str) -> None:
    """Run the fold in a folder."""
    run_child(lambda: run_fold(Fold.read(folder)))


if __name__ == "__main__":
    main(sys.argv[1])
