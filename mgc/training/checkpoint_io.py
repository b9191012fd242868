"""Checkpoints that are written whole or not at all."""

import os
from typing import Any

import torch
from lightning.fabric.plugins.io import TorchCheckpointIO

from mgc.core.writing import replacing
from mgc.errors import MgcError


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes beside the file that it replaces, so that a good checkpoint is never lost.

    Lightning's own writes to the folder for temporary files and moves the file from there: where
    that is another disk the move is a copy, which a full disk or a kill leaves half done.
    """

    def save_checkpoint(
        self,
        checkpoint: dict[str, Any],
        path: str | os.PathLike[str],
        storage_options: Any | None = None,
    ) -> None:
        """Write a checkpoint.

        Args:
            checkpoint: What to write.
            path: Where to.
            storage_options: Options of a remote store, where the path is one.

        Raises:
            MgcError: If it cannot be written; an older file of that name stays as it is.
        """
        if "://" in str(path):
            super().save_checkpoint(checkpoint, os.fspath(path), storage_options)
            return
        try:
            with replacing(path) as partial, partial.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
        except (OSError, RuntimeError) as error:
            # Torch tells of its own surprise first, and of the disk in the context.
            cause = error.__context__ if "inline_container" in str(error) else error
            if not isinstance(cause, OSError):
                raise
            kept = " The one that was there is kept." if os.path.exists(path) else ""
            raise MgcError(
                f"{path}: the checkpoint could not be written: {cause.strerror}.{kept} Make room "
                "and go on from the last checkpoint."
            ) from error
