"""MFCC vectors as a feature extractor, the baseline of transfer learning."""

from typing import ClassVar

from lightning.pytorch import Callback, LightningModule
from torch import Tensor

from mgc.errors import MgcError
from mgc.features.mfcc import MFCCStatistics


class MFCC(LightningModule):
    """Summary of a clip's MFCCs for ``mgc extract --model mfcc``; there is nothing to train.

    See :class:`mgc.features.mfcc.MFCCStatistics`.
    """

    kind: ClassVar[str] = "audio"

    def __init__(self, sample_rate: int = 12000, n_mfcc: int = 20) -> None:
        """Initialize a new extractor.

        Args:
            sample_rate: Rate of the audio in Hz.
            n_mfcc: Number of coefficients, the 0th among them.
        """
        super().__init__()
        self.statistics = MFCCStatistics(sample_rate, n_mfcc)

    def features(self, audio: Tensor) -> dict[str, Tensor]:
        """Compute the vectors of clips.

        Args:
            audio: Clips of shape (batch, samples) at ``sample_rate``.

        Returns:
            ``mfcc`` of shape (batch, 6 × coefficients).
        """
        return {"mfcc": self.statistics(audio)}

    def configure_callbacks(self) -> list[Callback]:
        """Refuse to be trained or tested, before a trainer looks at anything else.

        Raises:
            MgcError: Always.
        """
        raise MgcError(
            "The model 'mfcc' only offers features, there is nothing to train or test: use "
            "mgc extract --model mfcc, then mgc transfer."
        )
