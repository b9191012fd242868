"""Writes checkpoints atomically."""

import os
from typing import Any

import torch
from lightning.fabric.plugins.io import TorchCheckpointIO

from mgc.core.writing import WriteError, replacing
from mgc.errors import MgcError


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint to a temporary file in the same folder, then renames it.

    Lightning uses the system's temporary folder. If that is on another disk, the final move is a
    copy, which may stop halfway if the disk is full or the process is killed.
    """

    def save_checkpoint(
        self,
        checkpoint: dict[str, Any],
        path: str | os.PathLike[str],
        storage_options: Any | None = None,
    ) -> None:
        """Write a checkpoint. ``storage_options`` only apply to remote paths.

        Raises:
            MgcError: If writing fails. An existing checkpoint is kept.
        """
        if "://" in str(path):
            super().save_checkpoint(checkpoint, os.fspath(path), storage_options)
            return
        try:
            with replacing(path) as partial, partial.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
        except WriteError as error:
            kept = " The previous file is kept." if os.path.exists(path) else ""
            raise MgcError(
                f"{error}{kept} Free disk space and resume from the last checkpoint."
            ) from error
