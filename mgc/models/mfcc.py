"""MFCC statistics as a feature extractor, the baseline of transfer learning."""

from typing import Annotated, ClassVar

from lightning.pytorch import Callback, LightningModule
from torch import Tensor

from mgc.core.ranges import CheckedArguments, Range, SampleRate
from mgc.errors import MgcError
from mgc.features.mfcc import MFCCStatistics


class MFCC(CheckedArguments, LightningModule):
    """MFCC statistics of clips, for ``mgc extract --model mfcc``. It cannot be trained.

    See :class:`mgc.features.mfcc.MFCCStatistics`.

    Args:
        sample_rate: Sample rate in Hz.
        n_mfcc: Number of coefficients, including the 0th.
    """

    kind: ClassVar[str] = "audio"

    def __init__(
        self,
        sample_rate: SampleRate = 12000,
        n_mfcc: Annotated[int, Range(1, 128)] = 20,
    ) -> None:
        super().__init__()
        self.statistics = MFCCStatistics(sample_rate, n_mfcc)

    def features(self, audio: Tensor) -> dict[str, Tensor]:
        """Return ``mfcc`` of shape (batch, 6 × coefficients) for clips (batch, samples)."""
        return {"mfcc": self.statistics(audio)}

    def configure_callbacks(self) -> list[Callback]:
        """Raise an ``MgcError`` before training or testing."""
        raise MgcError(
            "The model 'mfcc' only extracts features; it has nothing to train or test. Use "
            "mgc extract --model mfcc, then mgc transfer."
        )
