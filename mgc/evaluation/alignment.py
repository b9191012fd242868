"""Aligns the results of several systems on the same tracks."""

from dataclasses import replace

import numpy as np
import pandas as pd

from mgc.errors import MgcError
from mgc.evaluation.intervals import fold_names
from mgc.evaluation.results import Results

#: Maximum difference in seconds between the starts of the same clip at different sample rates.
START_TOLERANCE = 0.01

#: Columns that identify a row of ``tracks``.
TRACK_KEY = ["seed", "fold", "track"]


def align(results: Results) -> Results:
    """Sort rows by seed, fold, track and clip."""
    key = [column for column in TRACK_KEY if column in results.tracks]
    tracks = results.tracks.sort_values(key, ignore_index=True)
    clips = results.clips.sort_values([*key, "clip"], ignore_index=True)
    return replace(results, clips=clips, tracks=tracks)


def check_alike(runs: dict[str, Results], clips: bool) -> None:
    """Check that aligned results have the same task, labels, tracks, folds and targets.

    With ``clips``, also compare number and starts of the clips. The MgcError names the first
    difference.
    """
    (first, one), *others = runs.items()
    for name, two in others:
        prefix = f"{first} and {name} do not match: "
        if one.task != two.task:
            raise MgcError(f"{prefix}one is {one.task}, the other {two.task}.")
        if one.labels != two.labels:
            pairs = zip((*one.labels, None), (*two.labels, None), strict=False)
            label, other = next(pair for pair in pairs if pair[0] != pair[1])
            raise MgcError(f"{prefix}the labels differ, first {label!r} and {other!r}.")
        _check_tracks(prefix, (first, one.tracks), (name, two.tracks), one.task == "multiclass")
        if clips:
            _check_clips(prefix, (first, one), (name, two))


def _check_tracks(
    prefix: str, one: tuple[str, pd.DataFrame], two: tuple[str, pd.DataFrame], multiclass: bool
) -> None:
    for (name, here), (_, there) in ((one, two), (two, one)):
        alone = set(here["track"]) - set(there["track"])
        if alone:
            raise MgcError(
                f"{prefix}track {min(alone)!r} is in {name} only ({len(alone)} such tracks)."
            )
    folds = [fold_names(tracks).groupby(tracks["track"]).agg(sorted) for _, tracks in (one, two)]
    for track, fold, other in zip(folds[0].index, *folds, strict=True):
        if fold != other:
            where, elsewhere = ("; ".join(names) or "no fold" for names in (fold, other))
            raise MgcError(
                f"{prefix}track {track!r} is in {where} of {one[0]} and {elsewhere} of {two[0]}."
            )
    columns = [c for c in map(str, one[1]) if c.startswith("target.")]
    if multiclass:
        columns = ["label"]
    for column in columns:
        differ = (one[1][column] != two[1][column]).to_numpy()
        if differ.any():
            row, other_row = one[1][differ].iloc[0], two[1][differ].iloc[0]
            raise MgcError(
                f"{prefix}the {column} of track {row['track']!r} is {row[column]!r} in {one[0]} "
                f"and {other_row[column]!r} in {two[0]}."
            )


def _check_clips(prefix: str, one: tuple[str, Results], two: tuple[str, Results]) -> None:
    counts = [results.clips.groupby("track").size() for _, results in (one, two)]
    differ = (counts[0] != counts[1]).to_numpy()
    if differ.any():
        track = str(counts[0].index[differ][0])
        raise MgcError(
            f"{prefix}track {track!r} has {counts[0][track]} clips in {one[0]} and "
            f"{counts[1][track]} in {two[0]}. Test them with the same clip_seconds and "
            "hop_seconds, or fuse by track (weighted, product)."
        )
    starts, others = (results.clips["start"].to_numpy() for _, results in (one, two))
    differ = np.abs(starts - others) > START_TOLERANCE
    if differ.any():
        row = int(np.flatnonzero(differ)[0])
        track = one[1].clips["track"].iloc[row]
        raise MgcError(
            f"{prefix}clip {one[1].clips['clip'].iloc[row]} of track {track!r} starts at "
            f"{starts[row]:.2f} s in {one[0]} and {others[row]:.2f} s in {two[0]}. Test them with "
            "the same hop_seconds, or fuse by track (weighted, product)."
        )
