"""Combinations of layers: how they are named, and the tables that hold the layers.

In a name, digits count the block layers (``block1``, ``block2``, …) and other layers stand with
their own names: ``135`` is blocks 1, 3 and 5, ``12345+mfcc`` all five blocks and the MFCC vector.
The notation is that of Choi et al. (2017), section 2.2.
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

MAX_BLOCKS = 9  # more cannot be named by one digit each


def load_tables(tables: Sequence[FeatureTable | str | os.PathLike[str]]) -> FeatureTable:
    """Join feature tables of the same tracks in one table with the layers of all.

    Args:
        tables: Feature tables, or Parquet files written by ``mgc extract``, in any order of
            tracks. The first decides the order, the targets and the splits.

    Raises:
        MgcError: If the files differ in task, labels, tracks or targets, hold the same layer, or
            hold a value that is not finite.
    """
    if not tables:
        raise MgcError("No feature table is given. Name one or more files of `mgc extract`.")
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
                    "Give tables of one data set."
                )
        row = pd.Series(np.arange(len(other.tracks)), index=other.tracks["track"])
        for ours, theirs, where in (
            (table.tracks["track"], other.tracks["track"], path),
            (other.tracks["track"], table.tracks["track"], paths[0]),
        ):
            missing = ours[~ours.isin(theirs)]
            if len(missing):
                raise MgcError(
                    f"{where} lacks {len(missing)} tracks of the other table, the first is "
                    f"{missing.iloc[0]!r}. Extract both from the same tracks."
                )
        order = row[table.tracks["track"]].to_numpy()
        different = np.asarray(table.targets != other.targets[order])
        if different.any():
            track = table.tracks["track"].iloc[int(np.argwhere(different)[0][0])]
            raise MgcError(f"{path} and {paths[0]} give track {track!r} different targets.")
        for name, values in other.layers.items():
            if name in table.layers:
                raise MgcError(
                    f"Layer {name!r} is in {path} and in another table: leave one of them out."
                )
            table.layers[name] = values[order]
    return table


def _check_finite(table: FeatureTable, path: str | os.PathLike[str]) -> None:
    for name, values in table.layers.items():
        bad = ~np.isfinite(values).all(1)
        if bad.any():
            track = table.tracks["track"].iloc[int(bad.argmax())]
            raise MgcError(
                f"{path}: layer {name!r} holds values that are not finite, first for track "
                f"{track!r} ({int(bad.sum())} tracks in all). Extract those tracks again."
            )
    duplicate = table.tracks["track"].duplicated()
    if duplicate.any():
        raise MgcError(
            f"{path} holds track {table.tracks['track'][duplicate].iloc[0]!r} more than once."
        )


def block_layers(layers: Sequence[str]) -> list[str]:
    """Names of the layers that digits count, ``block1``, ``block2`` and so on, in order."""
    blocks = [name for name in layers if re.fullmatch(r"block[1-9]\d*", name)]
    blocks.sort(key=lambda name: int(name.removeprefix("block")))
    return blocks if len(blocks) <= MAX_BLOCKS else []


def name_combination(combination: Sequence[str], layers: Sequence[str]) -> str:
    """Name of a combination, blocks first: ``12345+mfcc``."""
    blocks = block_layers(layers)
    digits = "".join(str(i + 1) for i, name in enumerate(blocks) if name in combination)
    others = [name for name in layers if name in combination and name not in blocks]
    return "+".join([digits, *others] if digits else others)


def parse_combinations(
    wanted: str, layers: Sequence[str], *, with_each: str | None = None
) -> dict[str, tuple[str, ...]]:
    """Combinations of layers by name, in the order in which they are asked for.

    Args:
        wanted: Names separated by commas, or ``all``: every combination of the block layers
            (31 for five), each other layer alone, and each other layer with all the blocks.
            Without block layers, ``all`` is each layer alone and all of them together.
        layers: Names of the layers that the tables hold.
        with_each: Name of a layer that is also joined to each combination of blocks.

    Raises:
        MgcError: If a layer is not known.
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
                f"There is no layer {piece!r} (in --layers {part}). "
                f"The tables hold {', '.join(layers)}{digits}."
            )
    return tuple(name for name in layers if name in names)
