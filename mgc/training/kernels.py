"""Faster kernels for a network, without a change to the model or its checkpoints."""

import torch
from lightning.pytorch import Callback, LightningModule, Trainer


class FastKernels(Callback):
    """Compiles a model and puts the weights of its 2-D convolutions into channels-last order.

    For GPUs: there convolutions in bf16 are faster with channels last, and ``torch.compile`` joins
    the many small operations of a front end. Compiling takes a minute or so, once per shape of a
    batch, and did not pay on a CPU. Checkpoints are as without: same names, same shapes.

    Example: --trainer.callbacks+=mgc.training.kernels.FastKernels
    --trainer.callbacks.mode=max-autotune
    """

    def __init__(
        self,
        compile: bool = True,  # torch's name for it
        channels_last: bool = True,
        mode: str | None = None,
        backend: str = "inductor",
        dynamic: bool | None = False,
    ) -> None:
        """Initialize.

        Args:
            compile: Compile ``forward``, which training and evaluation call.
            channels_last: Store weights of 2-D convolutions with the channels last.
            mode: What the compiler optimises: ``default``, ``reduce-overhead``, ``max-autotune``.
            backend: What compiles, as ``torch.compile`` names it.
            dynamic: Whether batches of another size share code; false compiles again for the last,
                smaller batch of an epoch.
        """
        self.compile = compile
        self.channels_last = channels_last
        self.mode = mode
        self.backend = backend
        self.dynamic = dynamic

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Prepare the model, before it goes to the device."""
        if self.channels_last:
            pl_module.to(memory_format=torch.channels_last)
        # In place, so that the names in checkpoints stay; twice would compile what is compiled.
        if self.compile and pl_module._compiled_call_impl is None:
            pl_module.compile(mode=self.mode, backend=self.backend, dynamic=self.dynamic)
