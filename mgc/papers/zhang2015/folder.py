"""Reads the output folder of ``mgc reproduce zhang2015``."""

import shlex
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from mgc.core.fingerprint import hash_file
from mgc.core.markdown import code
from mgc.core.parquet import read_metadata
from mgc.core.text_files import read_json_object
from mgc.evaluation.results import Results, load_nested_results
from mgc.papers.tables import Cell
from mgc.papers.zhang2015 import FEATURES
from mgc.papers.zhang2015.networks import NETWORKS
from mgc.papers.zhang2015.tables import ROWS


def read_cells(folder: Path) -> dict[Cell, Results]:
    """Load the finished results, by system and feature."""
    cells: dict[Cell, Results] = {}
    for feature in FEATURES:
        for row in ROWS.values():
            trained = folder / f"{row.network}_{feature}"
            if not (trained / "test" / "tracks.parquet").is_file():
                continue
            results: Results | None = Results.load(trained / "test")
            if row.svm and results is not None:
                results = _load_svms(folder / f"svm_{row.network}_{feature}", results)
            if results is not None:
                cells[row.system, feature] = results
    return cells


def iterate_fits(results: Results) -> Iterator[tuple[int, int, str]]:
    """Iterate over the fits of a cross-validation: seed, test fold, checkpoint."""
    fits = results.tracks[["seed", "fold"]].drop_duplicates().astype(int)
    for seed, fold in fits.itertuples(index=False):
        yield seed, fold, results.source["checkpoints"][f"seed {seed}, fold {fold}"]


def is_fitted(folder: Path, checkpoint: str) -> bool:
    """Return whether a folder of ``mgc transfer`` has an SVM fitted to this checkpoint's features.

    Checkpoint and table of features are compared by content, if they still exist.
    """
    path = folder / "predictions.parquet"
    if not path.is_file():
        return False
    source = read_metadata(path)["source"]
    features = folder / "features.parquet"
    if features.is_file() and read_metadata(features)["source"] != source:
        return False
    if source["checkpoint"] != checkpoint:
        return False
    return not Path(checkpoint).is_file() or source["sha256"] == hash_file(
        checkpoint, content_only=True
    )


def describe_overrides(folder: Path) -> list[str]:
    """Describe the options that changed the configurations, in a paragraph if any did."""
    networks: dict[str, dict[str, list[str]]] = {}
    columns: dict[str, list[str]] = {}
    for network, feature, _, plan in iterate_plans(folder):
        # The first two are the root and the feature, the last ones those of the network.
        given = plan["overrides"]
        options = shlex.join(given[2 : len(given) - len(NETWORKS[network].options)])
        name = network.partition("/")[0]
        for used in (networks.setdefault(options, {}), columns):
            if feature not in used.setdefault(name, []):
                used[name].append(feature)
    networks.pop("", None)
    if not networks:
        return []
    lines = []
    for options, changed in networks.items():
        names = [
            name if len(used) == len(columns[name]) else f"{name} {'/'.join(used)}"
            for name, used in changed.items()
        ]
        lines.append(f"{code(options)} ({', '.join(names)})")
    return [f"Configurations were changed: {'; '.join(lines)}."]


def iterate_plans(folder: Path) -> Iterator[tuple[str, str, Path, dict[str, Any]]]:
    """Iterate over the cross-validations: network, feature, folder, settings."""
    for network in NETWORKS:
        for feature in FEATURES:
            trained = folder / f"{network}_{feature}"
            plan = trained / "crossval.json"
            if plan.is_file():
                yield network, feature, trained, read_json_object(plan)


def _load_svms(folder: Path, trained: Results) -> Results | None:
    """Load the results of the SVMs of all folds; None if one is missing or outdated."""
    parts = []
    for seed, fold, checkpoint in iterate_fits(trained):
        results_folder = folder / f"seed{seed}_fold{fold}"
        if not is_fitted(results_folder, checkpoint):
            return None
        part = load_nested_results(results_folder)
        parts.append(part)
        for rows in (part.clips, part.tracks):
            rows["seed"], rows["fold"] = seed, fold
    return replace(
        parts[0],
        clips=pd.concat([part.clips for part in parts], ignore_index=True),
        tracks=pd.concat([part.tracks for part in parts], ignore_index=True),
        source=trained.source,
    )
