"""Feature tables in other programs."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from generated_tables import genre_table, mood_table, tag_table

from mgc.transfer.feature_table import FeatureTable

SPLITS = ["train"] * 20 + ["val"] * 20 + ["test"] * 20


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """Tables without a split, with a split, with folds, and with some folds."""
    some = [0] * 30 + [None] * 30
    columns = [{}, {"split": SPLITS}, {"fold": np.arange(60) % 3}, {"fold": some}]
    names = [str(tmp_path / f"{number}.parquet") for number in range(len(columns))]
    for name, given in zip(names, columns, strict=True):
        genre_table(**given).save(name)
    return names


def check(frame: pd.DataFrame) -> None:
    assert len(frame) == 240
    assert frame["split"].notna().sum() == 60
    assert frame["fold"].notna().sum() == 90
    assert frame["block1.0"].dtype == np.float32


def test_all_tables_have_the_same_columns_and_types(files: list[str]) -> None:
    first, *others = [pq.read_schema(name).remove_metadata() for name in files]
    assert all(schema == first for schema in others)


def test_pandas_reads_several_tables(files: list[str]) -> None:
    check(pd.read_parquet(files))
    check(pd.read_parquet(files[::-1]))


def test_polars_reads_several_tables(files: list[str]) -> None:
    polars = pytest.importorskip("polars", reason="polars is not installed")
    check(polars.read_parquet(files).to_pandas())


def test_duckdb_reads_several_tables(files: list[str]) -> None:
    duckdb = pytest.importorskip("duckdb", reason="DuckDB is not installed")
    check(duckdb.read_parquet(files).df())


def test_datasets_reads_several_tables(files: list[str], tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets", reason="datasets is not installed")
    table = datasets.Dataset.from_parquet(files, cache_dir=str(tmp_path / "cache"))
    check(table.to_pandas())


@pytest.mark.parametrize("kind", [int, np.uint8, bool, np.float32])
@pytest.mark.parametrize(("make", "expected"), [(tag_table, "int8"), (mood_table, "double")])
def test_targets_have_one_type(
    tmp_path: Path, make: Callable[[], FeatureTable], kind: type, expected: str
) -> None:
    table = make()
    columns = [f"target.{label}" for label in table.labels]
    table.tracks[columns] = table.tracks[columns].abs()
    table.tracks = table.tracks.astype(dict.fromkeys(columns, kind))
    table.save(tmp_path / "table.parquet")
    schema = pq.read_schema(tmp_path / "table.parquet")
    assert {str(schema.field(name).type) for name in columns} == {expected}
    assert (FeatureTable.load(tmp_path / "table.parquet").targets == table.targets).all()
