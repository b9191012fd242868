"""Compilation and memory layout of models on GPUs."""

import torch
from lightning.pytorch import Callback, LightningModule, Trainer


class FastKernels(Callback):
    """Compiles a model and stores the weights of its 2-D convolutions channels-last.

    Convolutions in bf16 are faster channels-last, and ``torch.compile`` fuses the small operations
    of a front end. Compiling takes about a minute per batch shape and did not pay off on CPUs.
    Checkpoints do not change.

    Example: --trainer.callbacks+=mgc.training.kernels.FastKernels
    --trainer.callbacks.mode=max-autotune
    """

    def __init__(
        self,
        compile: bool = True,
        channels_last: bool = True,
        mode: str | None = None,
        backend: str = "inductor",
        dynamic: bool | None = False,
    ) -> None:
        """Initialize.

        Args:
            compile: Compile ``forward``, which training and evaluation call.
            channels_last: Store weights of 2-D convolutions with the channels last.
            mode: Mode of ``torch.compile``: ``default``, ``reduce-overhead``, ``max-autotune``.
            backend: Backend of ``torch.compile``.
            dynamic: Whether batches of different sizes share code; false compiles again for the
                last, smaller batch of an epoch.
        """
        self.compile = compile
        self.channels_last = channels_last
        self.mode = mode
        self.backend = backend
        self.dynamic = dynamic

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Convert the model before it moves to the device."""
        if self.channels_last:
            pl_module.to(memory_format=torch.channels_last)
        # In place, to keep the names in checkpoints; setup may be called more than once.
        if self.compile and pl_module._compiled_call_impl is None:
            pl_module.compile(mode=self.mode, backend=self.backend, dynamic=self.dynamic)
