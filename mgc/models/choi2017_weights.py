"""Imports the weights of Choi, Fazekas, Sandler and Cho (ISMIR 2017) into a :class:`VGGTagger`.

The released file, ``weights_theano.hdf5``, was written by Keras 1.2.2 with Theano and kapre. Theano
convolves where PyTorch correlates, so all kernels are flipped. Batch normalization used the
statistics of the current batch in prediction too (Keras' ``mode=2``); the stored running statistics
are the initial ones. Use the statistics of each clip, as the released script does with its batches
of one, or those of a collection of music (:func:`calibrate`). The decibel reference was the maximum
of the batch; here it is that of each clip or of the collection.
"""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

import h5py
import lightning
import numpy as np
import torch
from torch import Tensor, nn

from mgc import checkpoint
from mgc.core.hdf5 import describe_hdf5_error, open_hdf5
from mgc.core.writing import replacing
from mgc.data import audio
from mgc.data.msd.tagging import MSDTagging
from mgc.errors import MgcError
from mgc.features.spectrogram import LogMelSpectrogram
from mgc.models.vgg import VGGBlock, VGGTagger

SAMPLE_RATE = 12000
CLIP_SECONDS = 29.0
CHANNELS = 32
N_MELS = 96

#: Names of a block's arrays in the file and in a :class:`VGGBlock`.
BLOCK_NAMES = {
    "convolution2d_{}_W": "conv.weight",
    "convolution2d_{}_b": "conv.bias",
    "batchnormalization_{}_gamma": "norm.weight",
    "batchnormalization_{}_beta": "norm.bias",
}

MEL_BASIS = "melgram/param_2"

#: Maximum difference between the file's mel matrix and ours, whose maximum is 0.035.
MEL_TOLERANCE = 1e-5


def read_weights(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """Read the state of a :class:`mgc.models.vgg.VGGNet`, without statistics.

    Raises:
        MgcError: If the file is missing, damaged, not HDF5, or has different contents.
    """
    if not Path(path).is_file():
        raise MgcError(f"{path}: no such file. Use the released weights_theano.hdf5.")
    try:
        with open_hdf5(path) as file:
            return _read_network(path, file)
    except (OSError, RuntimeError, KeyError) as error:
        reason = describe_hdf5_error(error)
        if not getattr(error, "errno", None):
            hdf5 = h5py.is_hdf5(path)
            reason = "truncated or damaged" if hdf5 else "not an HDF5 file, or damaged"
        raise MgcError(f"{path}: {reason}. Use the released weights_theano.hdf5.") from error


def make_model(weights: dict[str, Tensor], per_clip: bool, reference_db: float | None) -> VGGTagger:
    """Create the tagger with the weights of :func:`read_weights`, in evaluation mode.

    Without ``per_clip`` normalization, call :func:`calibrate` to set the statistics.
    """
    model = VGGTagger(
        channels=CHANNELS,
        n_mels=N_MELS,
        norm="clip" if per_clip else "batch",
        reference_db=reference_db,
        num_classes=len(MSDTagging.labels),
        task="multilabel",
        sample_rate=SAMPLE_RATE,
        lr=5e-3,  # as in the released code
    )
    model.net.load_state_dict(model.net.state_dict() | weights)
    return model.eval()


def mel_decibels(clips: Iterable[Tensor]) -> Tensor:
    """Compute mel-spectrograms with an absolute level, of shape (clips, bands, frames).

    Raises:
        MgcError: If there are no clips.
    """
    absolute = LogMelSpectrogram(SAMPLE_RATE, n_mels=N_MELS, reference_db=0.0, top_db=float("inf"))
    spectrograms = [absolute(clip.unsqueeze(0)) for clip in clips]
    if not spectrograms:
        raise MgcError("None of the calibration files could be read.")
    return torch.cat(spectrograms)


@torch.no_grad()
def calibrate(model: VGGTagger, decibels: Tensor, batch_size: int = 8) -> None:
    """Set the batch normalization statistics to those of some clips, block by block.

    Afterwards, the network computes the same as for a single batch of all these clips. The tagger
    must have batch normalization and a ``reference_db``; ``decibels`` are those of
    :func:`mel_decibels`. ``batch_size`` bounds memory.
    """
    front = model.spectrogram
    reference = cast(float, front.reference_db)
    maps = (decibels - reference).clamp(min=-front.top_db).unsqueeze(1)
    for block in cast(Iterable[VGGBlock], model.net.eval().blocks):
        norm = cast(nn.BatchNorm2d, block.norm)
        moments = []
        for part in maps.split(batch_size):
            variance, mean = torch.var_mean(block.conv(part), dim=(0, 2, 3), correction=0)
            moments.append(torch.stack([mean, variance + mean**2]).double() * len(part))
        mean, square = torch.stack(moments).sum(dim=0) / len(maps)
        norm.running_mean, norm.running_var = mean.float(), (square - mean**2).float()
        maps = torch.cat([block(part) for part in maps.split(batch_size)])


def read_clips(paths: Iterable[Path], broken: list[str]) -> Iterable[Tensor]:
    """Yield the first 29 s of audio files, of shape (samples,); shorter files are repeated.

    Error messages of unreadable files are appended to ``broken``.
    """
    samples = round(CLIP_SECONDS * SAMPLE_RATE)
    for path in paths:
        try:
            clip = audio.read(path, SAMPLE_RATE, 0, samples, resampling="best")
        except audio.AudioError as error:
            broken.append(str(error))
            continue
        yield torch.from_numpy(audio.fit_length(clip, samples, "repeat"))


def write_checkpoint(model: VGGTagger, path: str | os.PathLike[str]) -> None:
    """Write a checkpoint like those of ``mgc fit``, atomically."""
    # Describes the tags that the tagger was trained on; reads no files.
    data = MSDTagging(sample_rate=SAMPLE_RATE, clip_seconds=CLIP_SECONDS)
    contents: dict[str, Any] = {
        "epoch": 0,
        "global_step": 0,
        "pytorch-lightning_version": lightning.__version__,
        "state_dict": model.state_dict(),
        # Lightning needs these to resume training.
        "callbacks": {},
        "optimizer_states": [],
        "lr_schedulers": [],
        "hparams_name": "kwargs",
        "hyper_parameters": dict(model.hparams),
        checkpoint.KEY: checkpoint.describe(model, data) | {"resampling": "best"},
    }
    with replacing(path) as partial:
        torch.save(contents, partial)


def _read_network(path: str | os.PathLike[str], file: h5py.File) -> dict[str, Tensor]:
    weights = {}
    for index in range(5):
        for theirs, ours in BLOCK_NAMES.items():
            name = "ConvBNEluDr/" + theirs.format(index + 1)
            shape: tuple[int, ...] = (CHANNELS,)
            if ours == "conv.weight":
                shape = (CHANNELS, CHANNELS if index else 1, 3, 3)
            array = _read_array(path, file, name, shape)
            # Theano convolves, PyTorch correlates.
            weights[f"blocks.{index}.{ours}"] = array.flip(2, 3) if array.ndim == 4 else array
    tags = len(MSDTagging.labels)
    weights["head.weight"] = _read_array(path, file, "dense_1/dense_1_W", (CHANNELS, tags)).T
    weights["head.bias"] = _read_array(path, file, "dense_1/dense_1_b", (tags,))
    ours_mel = LogMelSpectrogram(SAMPLE_RATE, n_mels=N_MELS).mel_basis.T
    theirs_mel = _read_array(path, file, MEL_BASIS, tuple(ours_mel.shape))
    if not torch.allclose(theirs_mel, ours_mel, rtol=0, atol=MEL_TOLERANCE):
        raise MgcError(
            f"{path}: {MEL_BASIS} is not the matrix of {N_MELS} Slaney mel bands from 0 to 6000 Hz "
            "of the released network. Use the released weights_theano.hdf5."
        )
    return {name: array.contiguous() for name, array in weights.items()}


def _read_array(
    path: str | os.PathLike[str], file: h5py.File, name: str, shape: tuple[int, ...]
) -> Tensor:
    """Read an array. Links, other types and other shapes are rejected before reading."""
    group, _, last = name.rpartition("/")
    link = file.get(name, getlink=True) if group in file and last in file[group] else None
    node = file[name] if isinstance(link, h5py.HardLink) else None
    if not isinstance(node, h5py.Dataset) or node.is_virtual or node.external:
        raise MgcError(
            f"{path}: contains no array {name}. Use the released weights_theano.hdf5 (Theano "
            "layout)."
        )
    if node.shape != shape or node.dtype.kind != "f":
        raise MgcError(
            f"{path}: {name} has shape {node.shape} and type {node.dtype}, expected floats of "
            f"shape {shape}. Use the released weights_theano.hdf5 (Theano layout)."
        )
    array = np.asarray(node[...], dtype=np.float32)
    if not np.isfinite(array).all():
        raise MgcError(f"{path}: {name} contains NaN or infinity: the file is damaged.")
    return torch.from_numpy(array)
