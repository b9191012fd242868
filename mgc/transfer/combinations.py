"""Parses names of layer combinations, and joins the tables that contain the layers.

Digits stand for block layers (``block1``, ``block2``, …); other layers keep their names. ``135`` is
blocks 1, 3 and 5, and ``12345+mfcc`` is all five blocks and the MFCC vector. Source of the
notation: Choi et al. (2017), section 2.2.
"""

import os
import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np
import pandas as pd

from mgc.errors import MgcError
from mgc.transfer.feature_table import FeatureTable

MAX_BLOCKS = 9  # one digit each

#: Features above this are errors of their computation. Their products lose all digits.
MAX_VALUE = 1e9


def load_tables(tables: Sequence[FeatureTable | str | os.PathLike[str]]) -> FeatureTable:
    """Join feature tables, or their files, into one table with all layers.

    The order of tracks, the splits and the source are taken from the first table.

    Raises:
        MgcError: If tables differ in task, labels, tracks or targets, share a layer, or contain NaN
            or infinite values.
    """
    if not tables:
        raise MgcError("No feature table given. Pass one or more files written by mgc extract.")
    paths = [
        f"table {number}" if isinstance(given, FeatureTable) else given
        for number, given in enumerate(tables, 1)
    ]
    loaded = [
        given if isinstance(given, FeatureTable) else FeatureTable.load(given) for given in tables
    ]
    table = replace(loaded[0], layers=dict(loaded[0].layers))
    _check_finite(table, paths[0])
    for path, other in zip(paths[1:], loaded[1:], strict=True):
        _check_finite(other, path)
        for what in ("task", "labels"):
            ours, theirs = getattr(table, what), getattr(other, what)
            if ours != theirs:
                raise MgcError(
                    f"{path} and {paths[0]} differ in their {what}: {theirs} and {ours}. "
                    "Use tables of the same dataset."
                )
        row = pd.Series(np.arange(len(other.tracks)), index=other.tracks["track"])
        for ours, theirs, where in (
            (table.tracks["track"], other.tracks["track"], path),
            (other.tracks["track"], table.tracks["track"], paths[0]),
        ):
            missing = ours[~ours.isin(theirs)]
            if len(missing):
                raise MgcError(
                    f"{where} lacks {len(missing)} tracks of the other table, for example "
                    f"{missing.iloc[0]!r}. Extract both from the same tracks."
                )
        order = row[table.tracks["track"]].to_numpy()
        different = np.asarray(table.targets != other.targets[order])
        if different.any():
            track = table.tracks["track"].iloc[int(np.argwhere(different)[0][0])]
            raise MgcError(f"{path} and {paths[0]} have different targets for track {track!r}.")
        for name, values in other.layers.items():
            if name in table.layers:
                raise MgcError(
                    f"Layer {name!r} is in {path} and in another table. Omit one of them."
                )
            table.layers[name] = values[order]
    return table


def _check_finite(table: FeatureTable, path: str | os.PathLike[str]) -> None:
    for name, values in table.layers.items():
        bad = ~np.isfinite(values).all(1)
        if bad.any():
            track = table.tracks["track"].iloc[int(np.argmax(bad))]
            raise MgcError(
                f"{path}: layer {name!r} has NaN or infinite values in {int(bad.sum())} tracks, "
                f"for example {track!r}. Extract the features again."
            )
        if values.size and np.abs(values).max() > MAX_VALUE:
            row, column = np.unravel_index(np.argmax(np.abs(values)), values.shape)
            raise MgcError(
                f"{path}: layer {name!r} has the value {values[row, column]:.3g} for track "
                f"{table.tracks['track'].iloc[int(row)]!r}; expected at most {MAX_VALUE:g}. Scale "
                "the features, or extract them again."
            )
    duplicate = table.tracks["track"].duplicated()
    if duplicate.any():
        raise MgcError(
            f"{path}: duplicate track {table.tracks['track'][duplicate].iloc[0]!r}. Extract the "
            "features without --per_clip."
        )


def block_layers(layers: Sequence[str]) -> list[str]:
    """Return the layers ``block1``, ``block2``, … in order, or none if there are more than nine."""
    blocks = [name for name in layers if re.fullmatch(r"block[1-9]\d*", name)]
    blocks.sort(key=lambda name: int(name.removeprefix("block")))
    return blocks if len(blocks) <= MAX_BLOCKS else []


def name_combination(combination: Sequence[str], layers: Sequence[str]) -> str:
    """Return the name of a combination, blocks first."""
    blocks = block_layers(layers)
    digits = "".join(str(i + 1) for i, name in enumerate(blocks) if name in combination)
    others = [name for name in layers if name in combination and name not in blocks]
    return "+".join([digits, *others] if digits else others)


def parse_combinations(
    wanted: str, layers: Sequence[str], *, with_each: str | None = None
) -> dict[str, tuple[str, ...]]:
    """Return the layers of each requested combination, by its name.

    Args:
        wanted: Comma-separated names, or ``all``: every combination of block layers (31 for five),
            each other layer alone, and each other layer with all blocks. Without block layers,
            ``all`` is each layer alone and all layers together.
        layers: Names of the available layers.
        with_each: Layer to add to each combination of blocks.
    """
    blocks = block_layers(layers)
    others = [name for name in layers if name not in blocks]
    chosen: list[tuple[str, ...]] = []
    for part in (part.strip() for part in wanted.split(",")):
        if part == "all":
            for size in range(len(blocks), 0, -1):
                chosen += combinations(blocks, size)
            chosen += [(name,) for name in others]
            if blocks:
                chosen += [(*blocks, name) for name in others]
            elif len(others) > 1:
                chosen.append(tuple(others))
        else:
            chosen.append(_parse(part, layers, blocks))
    if with_each is not None:
        _parse(with_each, layers, [])
        chosen += [(*names, with_each) for names in chosen if set(names) <= set(blocks)]
    return {name_combination(names, layers): names for names in chosen}


def _parse(part: str, layers: Sequence[str], blocks: Sequence[str]) -> tuple[str, ...]:
    names: list[str] = []
    for piece in part.split("+"):
        if piece in layers:
            names.append(piece)
        elif piece.isdigit() and all(0 < int(digit) <= len(blocks) for digit in piece):
            names += [blocks[int(digit) - 1] for digit in piece]
        else:
            digits = f", digits 1 to {len(blocks)} for the blocks" if blocks else ""
            raise MgcError(
                f"No layer {piece!r} (in --layers {part}). Choose from {', '.join(layers)}{digits}."
            )
    return tuple(name for name in layers if name in names)
