"""Saves an experiment's settings in its output folder so that a rerun can resume it."""

import json
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import pandas as pd

from mgc.core.file_cache import stamp_file
from mgc.core.fingerprint import (
    SOURCE_COLUMNS,
    find_changed,
    find_difference,
    hash_files,
    hash_inputs,
)
from mgc.core.locking import locked
from mgc.core.parquet import read_parquet, write_parquet
from mgc.core.text_files import read_json_object
from mgc.core.writing import replacing
from mgc.data.audio import find_files
from mgc.errors import MgcError
from mgc.training.options import read_settings

#: Table of the audio files of an experiment, beside its plan.
AUDIO = "audio.parquet"

#: Maximum length of a setting shown in an error message.
MAX_MESSAGE_CHARS = 300


def load_or_create_plan(
    path: Path,
    settings: dict[str, Any],
    kind: str,
    has_results: bool,
    options: Sequence[str] = (),
) -> dict[str, Any]:
    """Load the experiment's plan, or create it.

    A plan without results may be overwritten; with results, different settings or files raise an
    error. Files that the options name, and the audio files in ``data.root``, count by content.
    Audio files that were deleted are ignored, because a packed store may replace them.

    Args:
        path: JSON file in the experiment's output folder. Created if missing.
        settings: Settings that identify the experiment.
        kind: Name of the experiment type, used in error messages.
        has_results: Whether any fit has written a checkpoint or results.
        options: Options of ``mgc fit``.

    Returns:
        The settings, and ``group``, the name of the W&B group.

    Raises:
        MgcError: If the folder contains an experiment with different settings or files.
    """
    named = {name: value for name, value, _ in read_settings(options) if name != "config"}
    settings = settings | {"files": hash_inputs(list(named.values()))}
    audio_files = find_files(str(named["data.root"])) if named.get("data.root") else []
    if not path.is_file():
        return _write(path, settings, audio_files)
    try:
        saved = read_json_object(path)
    except MgcError as error:
        raise MgcError(f"{error} Choose another --out, or remove the folder.") from error
    changed = [name for name, value in settings.items() if saved.get(name) != value]
    changed_audio = [] if changed else _find_changed_audio(path.with_name(AUDIO), audio_files)
    if not changed and not changed_audio:
        return saved
    if has_results and not changed:
        raise MgcError(
            f"{len(changed_audio)} audio files have changed since the {kind} in {path.parent} was "
            f"started, the first is {changed_audio[0]}. Choose another --out, or remove the folder."
        )
    if has_results:
        name = changed[0]
        if name == "files":
            difference = find_difference(saved.get(name, {}), settings[name])
            raise MgcError(
                f"{path.parent} contains a {kind} with other files: {difference}. Choose another "
                "--out, or remove the folder."
            )
        raise MgcError(
            f"{path.parent} contains a {kind} with a different value of {name}"
            f"{_describe_change(saved.get(name), settings[name])}. Choose another --out, or remove "
            "the folder."
        )
    # The first epoch of a fit may still be running.
    with locked(path.parent):
        return _write(path, settings, audio_files)


def _describe_change(before: Any, now: Any) -> str:
    """Describe a changed setting, unless it is too long to show."""
    old, new = (shlex.join(x) if isinstance(x, list) else str(x) for x in (before, now))
    if max(len(old), len(new)) > MAX_MESSAGE_CHARS:
        return ""
    return f" ({old or 'none'}; now {new or 'none'})"


def _find_changed_audio(table: Path, audio_files: Sequence[Path]) -> list[str]:
    if not table.is_file():
        return []  # started with an earlier version
    saved, _ = read_parquet(table)
    rows = saved[list(SOURCE_COLUMNS)].itertuples(index=False, name=None)
    changed = find_changed(rows, "", table.stat().st_mtime_ns)
    return changed + sorted(set(map(str, audio_files)) - set(saved["path"]))


def _write(path: Path, settings: dict[str, Any], audio_files: Sequence[Path]) -> dict[str, Any]:
    rows = [
        (str(file), stamp.size, stamp.modified_ns, digest)
        for file, stamp, digest in zip(
            audio_files,
            map(stamp_file, audio_files),
            hash_files(audio_files, content_only=True),
            strict=True,
        )
        if stamp
    ]
    write_parquet(pd.DataFrame(rows, columns=SOURCE_COLUMNS), path.with_name(AUDIO), {})
    name = re.sub(r"[^\w-]+", "-", path.parent.absolute().name)
    settings = settings | {"group": f"{name}-{uuid4().hex[:6]}"}
    with replacing(path) as partial:
        partial.write_text(json.dumps(settings, indent=1), encoding="utf-8")
    return settings
