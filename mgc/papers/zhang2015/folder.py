"""What the folder of a reproduction of Zhang et al. (2015) holds."""

import json
import shlex
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from mgc.checkpoint import digest_of
from mgc.core.parquet import read_parquet
from mgc.evaluation.results import Results, load_nested_results
from mgc.papers.claims import Cell
from mgc.papers.zhang2015 import FEATURES
from mgc.papers.zhang2015.tables import ROWS


def read_cells(folder: Path) -> dict[Cell, Results]:
    """Read what there is of the table.

    Args:
        folder: Folder of the reproduction.

    Returns:
        Results by system and feature, of those that are finished.
    """
    cells: dict[Cell, Results] = {}
    for feature in FEATURES:
        for row in ROWS.values():
            trained = folder / f"{row.network}_{feature}"
            if not (trained / "test" / "tracks.parquet").is_file():
                continue
            results: Results | None = Results.load(trained / "test")
            if row.svm and results is not None:
                results = _machines(folder / f"svm_{row.network}_{feature}", results)
            if results is not None:
                cells[row.system, feature] = results
    return cells


def tested(results: Results) -> Iterator[tuple[int, int, str]]:
    """List the fits of a cross-validation: seed, number of the test fold, checkpoint."""
    fits = results.tracks[["seed", "fold"]].drop_duplicates().astype(int)
    for seed, fold in fits.itertuples(index=False):
        yield seed, fold, results.source["checkpoints"][f"seed {seed}, fold {fold}"]


def is_fitted(place: Path, checkpoint: str) -> bool:
    """Tell whether the machine of a fold is there, and of this checkpoint.

    Args:
        place: Folder that ``mgc transfer`` wrote.
        checkpoint: Checkpoint of the fold, which may be gone once the machine is there.
    """
    path = place / "predictions.parquet"
    if not path.is_file():
        return False
    source = read_parquet(path)[1]["source"]
    if source["checkpoint"] != checkpoint:
        return False
    return not Path(checkpoint).is_file() or source["sha256"] == digest_of(checkpoint)


def changes(folder: Path) -> str:
    """Tell which options changed the configurations.

    Args:
        folder: Folder of the reproduction.

    Returns:
        A paragraph and an empty line; nothing if none did.
    """
    networks: dict[str, dict[str, list[str]]] = {}
    columns: dict[str, int] = {}
    for network, feature, _, plan in plans(folder):
        # After the root and the feature.
        words = shlex.join(plan["overrides"][2:])
        networks.setdefault(words, {}).setdefault(network, []).append(feature)
        columns[network] = columns.get(network, 0) + 1
    networks.pop("", None)
    if not networks:
        return ""
    lines = []
    for words, features in networks.items():
        names = [
            network if len(some) == columns[network] else f"{network} {'/'.join(some)}"
            for network, some in features.items()
        ]
        lines.append(f"`{words}` ({', '.join(names)})")
    return f"Configurations were changed: {'; '.join(lines)}.\n\n"


def plans(folder: Path) -> Iterator[tuple[str, str, Path, dict[str, Any]]]:
    """List the cross-validations of a reproduction: network, feature, folder, what was asked for.

    Args:
        folder: Folder of the reproduction.
    """
    for network in dict.fromkeys(row.network for row in ROWS.values()):
        for feature in FEATURES:
            trained = folder / f"{network}_{feature}"
            plan = trained / "crossval.json"
            if plan.is_file():
                yield network, feature, trained, json.loads(plan.read_text(encoding="utf-8"))


def _machines(folder: Path, trained: Results) -> Results | None:
    """Decisions of the machines of all folds; nothing if one is missing or of another network."""
    parts = []
    for seed, fold, checkpoint in tested(trained):
        place = folder / f"seed{seed}_fold{fold}"
        if not is_fitted(place, checkpoint):
            return None
        part = load_nested_results(place)
        parts.append(part)
        for rows in (part.clips, part.tracks):
            rows["seed"], rows["fold"] = seed, fold
    return replace(
        parts[0],
        clips=pd.concat([part.clips for part in parts], ignore_index=True),
        tracks=pd.concat([part.tracks for part in parts], ignore_index=True),
        source=trained.source,
    )
