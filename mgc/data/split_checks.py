"""Checks the splits of data modules, before a fit and before the folds of a cross-validation."""

import copy
import logging
from collections.abc import Sequence
from typing import Any

import pandas as pd

from mgc.core.launching import is_global_zero
from mgc.data.contract import check_splits, check_targets
from mgc.data.corrections import correct
from mgc.data.split_problems import find_split_problems
from mgc.data.splits import TEST, TRAIN, VAL
from mgc.errors import MgcError

log = logging.getLogger(__name__)


def check_split(data: Any, names: Sequence[str], fitting: bool) -> None:
    """Check the split of a data module after its tracks were read.

    Warns of labels without a score, of groups in several splits, and of a group that is larger
    than a fold.

    Args:
        data: A :class:`mgc.data.base.MusicDataModule`.
        names: Splits that are used.
        fitting: Whether a model is trained on this split.

    Raises:
        MgcError: If the training tracks lack a class of the others, or have equal targets.
    """
    tracks = data.tracks
    splits = tracks["split"].to_numpy(str)
    targets = check_targets(data, data.targets()).numpy()
    where = f"{data.root}: split={data.split!r}"
    if "fold" in data.split:
        where += f", fold={data.fold}"
    train, *others = (targets[splits == name] for name in (TRAIN, VAL, TEST))
    parts = dict(zip((VAL, TEST), others, strict=True))
    if not fitting:
        parts = {name: part for name, part in parts.items() if name in names}
    problems = find_split_problems(train, parts, data.task, data.labels)
    if problems.errors and fitting:
        raise MgcError(f"{where}: {problems.errors[0]}. Use another split or seed, or add tracks.")
    if not is_global_zero():
        return
    for text in problems.unscored:
        log.warning("%s: %s. Scores leave them out.", where, text)
    if VAL in problems.undefined and fitting:
        log.warning("%s: no score of val is defined, so that no epoch can be the best.", where)
    counts = pd.Series(splits).groupby(tracks["group"].to_numpy()).nunique()
    shared = counts.index[counts > 1]
    if len(shared):
        log.warning(
            "%s: %d of %d groups of tracks are in several splits, such as %r.",
            where, len(shared), len(counts), shared[0],
        )  # fmt: skip
    if data.split in ("stratified", "fold") and not len(shared):
        folds = 10 if data.split == "stratified" else data.folds
        for name, part in parts.items():
            if len(part) > 2 * len(splits) / folds:
                group = tracks["group"][splits == name].value_counts()
                log.warning(
                    "%s: %s has %d of %d tracks, because group %r has %d.",
                    where, name, len(part), len(splits), group.index[0], group.iloc[0],
                )  # fmt: skip


def check_folds(data: Any) -> None:
    """Check the splits by all folds but the module's own, before the first is trained.

    Args:
        data: A :class:`mgc.data.base.MusicDataModule`.

    Raises:
        MgcError: If a fold has no tracks, or cannot be trained (see :func:`check_split`).
    """
    catalogue = data.load_catalogue()
    for fold in set(range(data.folds)) - {data.fold}:
        one = copy.copy(data)
        one.fold = fold
        splits = check_splits(one, catalogue, one.assign_split(catalogue))
        corrected = correct(one, catalogue.assign(split=splits))
        for name in (TRAIN, VAL, TEST):
            if not (corrected["split"] == name).any():
                raise MgcError(
                    f"{data.root}: split={data.split!r}, fold={fold} leaves no tracks for {name}. "
                    "Use fewer folds."
                )
        one.tracks = corrected[corrected["split"] != ""].reset_index(drop=True)
        check_split(one, (TRAIN, VAL, TEST), fitting=True)
