"""Model checks pass for valid models and explain what is wrong with invalid ones."""

from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from mgc.errors import MgcError
from mgc.models.base import MusicModel
from mgc.testing import MODEL_CHECKS, ModelCase


class Good(MusicModel):
    """Classifies clips by the energies of a few bands."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.norm = nn.BatchNorm1d(16)
        self.head = nn.Linear(16, self.num_classes)

    def bands(self, audio: Tensor) -> Tensor:
        with torch.autocast("cpu", enabled=False):
            power = torch.fft.rfft(audio.float()).abs().square()
            bands = nn.functional.adaptive_avg_pool1d(power[:, None], 16)[:, 0]
            return (bands + 1e-6).log()

    def forward(self, audio: Tensor) -> Tensor:
        return self.head(self.norm(self.bands(audio)))

    def features(self, audio: Tensor) -> dict[str, Tensor]:
        return {"bands": self.bands(audio)}


class Plain(LightningModule):
    """LightningModule without mgc's base class, for classification."""

    def __init__(self, num_classes: int, lr: float = 0.1) -> None:
        super().__init__()
        self.net = Good(num_classes=num_classes)
        self.lr = lr

    def forward(self, audio: Tensor) -> Tensor:
        return self.net(audio)

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        return nn.functional.cross_entropy(self(batch["audio"]), batch["target"])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), self.lr)


class OneLength(Good):
    def forward(self, audio: Tensor) -> Tensor:
        if audio.shape[1] != 8000:
            raise MgcError(f"clips of {audio.shape[1]} samples: this takes 8000.")
        return super().forward(audio)

    def features(self, audio: Tensor) -> dict[str, Tensor]:
        if audio.shape[1] != 8000:
            raise MgcError(f"clips of {audio.shape[1]} samples: this takes 8000.")
        return super().features(audio)


CASES = {
    "good": ModelCase(Good, {"lr": 0.1}),
    "plain": ModelCase(Plain, tasks=("multiclass",)),
    "one length": ModelCase(OneLength, {"lr": 0.1}, tasks=("multilabel",)),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
@pytest.mark.parametrize("check", MODEL_CHECKS)
def test_good_model(check, case):
    check(case)


class TransposedLogits(Good):
    def forward(self, audio):
        return super().forward(audio).T


class RelativeToTheBatch(Good):
    def forward(self, audio):
        return super().forward(audio - audio.mean(0) / 2)


class RandomScores(Good):
    def forward(self, audio):
        return super().forward(audio) + torch.rand(())


class NothingForSilence(Good):
    def bands(self, audio):
        return (super().bands(audio).exp() - 1e-6).clamp(min=0).log()


class FailsForShortClips(Good):
    def forward(self, audio):
        return super().forward(audio.unfold(1, 5000, 1)[:, 0])


class WideFeatures(Good):
    def features(self, audio):
        return {"wave": audio}


class DottedFeatures(Good):
    def features(self, audio):
        return {"net.0": audio[:, :1]}


class FeatureMaps(Good):
    def features(self, audio):
        return {"maps": audio[:, None]}


class WeightWithoutUse(Good):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.forgotten = nn.Linear(2, 2)


class LearnsNothing(Good):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.lr = 1e-9


class StateElsewhere(Good):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.offset = torch.rand(1)

    def forward(self, audio):
        return super().forward(audio) + self.offset


class ObjectAsArgument(Good):
    def __init__(self, act=torch.relu, **kwargs):
        super().__init__(**kwargs)


class SpectrumInHalfPrecision(Good):
    def bands(self, audio):
        power = torch.fft.rfft(audio).abs().square()
        if torch.is_autocast_enabled("cpu"):
            power = power.half().float()  # which ends at 65504
        return (nn.functional.adaptive_avg_pool1d(power[:, None], 16)[:, 0] + 1e-6).log()


class OwnWeightsOnEachProcess(Good):
    def on_train_batch_end(self, *args):
        with torch.no_grad():
            self.head.bias += self.global_rank


@pytest.mark.parametrize(
    ("model", "check", "message"),
    [
        (TransposedLogits, "logits", r"shape \(3, 4\); expected .* shape \(4, 3\)"),
        (RelativeToTheBatch, "logits", "depend on the other clips in the batch"),
        (RandomScores, "logits", "different logits for the same clips in eval"),
        (NothingForSilence, "logits", "NaN or infinite logits for silence"),
        (FailsForShortClips, "lengths", "fails for clips of 800 samples. Score them, or raise"),
        (WideFeatures, "features", "expected the same layers and widths for every batch"),
        (DottedFeatures, "features", "a layer named 'net.0'; expected a name without dots"),
        (FeatureMaps, "features", r"values of shape \(2, 1, 8000\) for layer 'maps'"),
        (WeightWithoutUse, "trains", "without a gradient.*forgotten.bias, forgotten.weight"),
        (LearnsNothing, "learns", "does not learn eight clips: the loss is .* after 60 steps"),
        (StateElsewhere, "checkpoint", "it gives different logits"),
        (ObjectAsArgument, "checkpoint", "cannot be loaded by mgc.checkpoint.load"),
        (SpectrumInHalfPrecision, "mixed_precision", "NaN or infinite logits in bfloat16"),
        (OwnWeightsOnEachProcess, "two_processes", "parameters differ between processes"),
    ],
)
def test_bad_model(model, check, message):
    checks = {function.__name__: function for function in MODEL_CHECKS}
    settings = {"act": nn.ReLU()} if model is ObjectAsArgument else {}
    case = ModelCase(model, {"lr": 0.1} | settings)
    with pytest.raises(AssertionError, match=f"(?s){model.__name__}.*{message}"):
        checks[f"check_{check}"](case)


def test_settings_that_the_constructor_does_not_take():
    case = ModelCase(Good, {"chanels": 8})
    with pytest.raises(AssertionError, match=r"Good cannot be built .*chanels.*settings of ModelC"):
        case.make("multiclass")
