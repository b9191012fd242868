"""Give plain modules of Lightning the steps that measuring needs."""

from functools import partial

from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch import Tensor

from mgc.data.clips import Batch
from mgc.errors import MgcError

#: Steps that Lightning skips, or refuses to run, where a module has none.
STEPS = ("validation_step", "test_step", "predict_step")


def complete(model: LightningModule) -> None:
    """Let a module that only knows how to train be validated, tested and used for prediction.

    Each step that its class does not define scores the clips of a batch by ``forward(audio)``.
    Steps that it does define stay as they are.

    Args:
        model: Any module, changed in place.
    """
    for step in STEPS:
        if not is_overridden(step, model):
            # A partial, as it can be copied and sent to other processes with the model.
            setattr(model, step, partial(_score, model))


def _score(
    model: LightningModule, batch: Batch, batch_idx: int, dataloader_idx: int = 0
) -> dict[str, Tensor]:
    if "audio" not in batch:
        raise MgcError(
            f"{type(model).__name__} defines no {', '.join(STEPS)} of its own, and the data gives "
            "no audio that it could be called with."
        )
    return {"logits": model(batch["audio"])}
