"""Adds the steps that evaluation needs to plain Lightning modules."""

from functools import partial

from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch import Tensor

from mgc.data.clips import Batch
from mgc.errors import MgcError

#: Steps that Lightning skips or refuses to run if a module does not define them.
STEPS = ("validation_step", "test_step", "predict_step")


def add_missing_steps(model: LightningModule) -> None:
    """Add the validation, test and prediction steps that a module does not define, in place.

    An added step calls ``forward(audio)`` on the clips of a batch.
    """
    for step in STEPS:
        if not is_overridden(step, model):
            # A partial can be copied and pickled with the model.
            setattr(model, step, partial(_score, model))


def _score(
    model: LightningModule, batch: Batch, batch_idx: int, dataloader_idx: int = 0
) -> dict[str, Tensor]:
    if "audio" not in batch:
        raise MgcError(
            f"{type(model).__name__} defines no {', '.join(STEPS)}, and the data module "
            "provides no audio to call its forward with."
        )
    return {"logits": model(batch["audio"])}
