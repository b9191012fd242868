"""Checks the description of a trained model, stored in checkpoints and exported files."""

from collections import Counter
from os import PathLike
from typing import Annotated, Any, Literal

from mgc.core.ranges import Range, SampleRate, Seconds, check_value
from mgc.errors import MgcError
from mgc.task import Task

#: How to handle tracks shorter than a clip.
Short = Literal["repeat", "pad", "keep"]

#: Quality of resampling. ``fast`` is torchaudio's default filter, which attenuates the highest
#: tenth of the spectrum. ``best`` is flat up to the cutoff; use it to compare features with
#: published ones. It is the Kaiser window of resampy's ``kaiser_best``, librosa's default in 2017,
#: with the cutoff that reproduces the MFCC vectors of Choi et al. (2017) within 0.2 %.
Resampling = Literal["fast", "best"]

#: Longest clip in samples: 23 minutes at 48 kHz, a quarter of a gigabyte.
MAX_CLIP_SAMPLES = 2**26

#: Most labels, and longest name in a description.
MAX_LABELS, MAX_NAME_CHARS = 2**16, 1000

Samples = Annotated[int, Range(1, MAX_CLIP_SAMPLES)]

#: Types and ranges of the entries of a description (see :func:`mgc.checkpoint.describe`).
REQUIRED: dict[str, Any] = {
    "class_path": str,
    "labels": list[str],
    "task": Task | None,
    "sample_rate": Annotated[int, Range(0, 384_000)],
    "clip_seconds": Seconds | None,
}

#: Entries that older or other files lack.
OPTIONAL: dict[str, Any] = {
    "version": str,
    "hop_seconds": Seconds | None,
    "channel": Annotated[int, Range(0, 255)] | None,
    "short": Short,
    "resampling": Resampling,
    "data": str | None,
    "init_args": dict | None,
    # Of exported graphs (see mgc.deployment.graph.describe_graph).
    "model": str | None,
    "outputs": list[str],
    "samples": Samples | None,
    "shortest": Samples | None,
}


def check_description(path: str | PathLike[str], about: Any) -> dict[str, Any]:
    """Check and return the description of a file (see :func:`mgc.checkpoint.describe`).

    Raises:
        MgcError: If an entry is missing, of the wrong type, out of range, or contradicts another.
    """
    if not isinstance(about, dict):
        raise MgcError(f"{path}: invalid description of the model. Was it written by mgc?")
    for name, hint in (REQUIRED | OPTIONAL).items():
        if name in about:
            if isinstance(about[name], list) and len(about[name]) > MAX_LABELS:
                raise MgcError(f"{path}: {name}: more than {MAX_LABELS}.")
            check_value(f"{path}: {name}", hint, about[name])
            values = about[name] if isinstance(about[name], list) else [about[name]]
            if any(isinstance(value, str) and len(value) > MAX_NAME_CHARS for value in values):
                raise MgcError(f"{path}: {name}: longer than {MAX_NAME_CHARS} characters.")
        elif name in REQUIRED:
            raise MgcError(
                f"{path}: its description has no valid '{name}'. It was not written by this "
                "version of mgc."
            )
    labels: list[str] = about["labels"]
    if len(set(labels)) < len(labels):
        twice = next(label for label, count in Counter(labels).items() if count > 1)
        raise MgcError(f"{path}: the label {twice!r} occurs twice in its description.")
    if labels and about["task"] is None:
        raise MgcError(f"{path}: its description has labels but no task.")
    if about["clip_seconds"] is not None:
        check_clips(about, f"{path}: ")
    return about


def check_clips(about: dict[str, Any], prefix: str = "") -> None:
    """Check that clips are neither shorter than one sample nor too long for the memory.

    Args:
        about: ``sample_rate``, ``clip_seconds`` and ``hop_seconds``, each in its own range.
        prefix: Start of error messages.

    Raises:
        MgcError: If one of them does not fit the others.
    """
    rate = about["sample_rate"]
    check_value(f"{prefix}sample_rate", SampleRate, rate)
    for name in ("clip_seconds", "hop_seconds"):
        seconds = about.get(name)
        if seconds is not None and not 1 <= round(seconds * rate) <= MAX_CLIP_SAMPLES:
            raise MgcError(
                f"{prefix}{name}={seconds:g} at {rate} Hz: must be from 1 to {MAX_CLIP_SAMPLES} "
                "samples."
            )
