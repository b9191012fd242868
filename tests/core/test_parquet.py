"""Parquet files with the same column types in all tables."""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mgc.core.parquet import read_parquet, write_parquet

TEXT = st.sampled_from(["", "null", "NA", "nan", "None", "1e3", "007", "~", "#x"]) | st.text(
    st.characters(exclude_categories=["Cs"]), max_size=8
)


@settings(deadline=None, max_examples=100)
@given(texts=st.lists(TEXT, min_size=1, max_size=4))
def test_text_stays_text(texts: list[str]) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder, "table.parquet")
        write_parquet(pd.DataFrame({"label": texts}), path, {"labels": texts})
        frame, meta = read_parquet(path)
    assert frame["label"].tolist() == texts
    assert meta["labels"] == texts


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        ("split", [None, None], "string"),
        ("split", ["train", None], "string"),
        ("split", pd.Categorical(["train", "val"]), "string"),
        ("split", pd.Series(["train", None], dtype="object"), "string"),
        ("fold", [None, None], "int64"),
        ("fold", [0, None], "int64"),
        ("fold", np.array([0, 1], np.int8), "int64"),
        ("reason", pd.Series([], dtype=object), "string"),
        ("size", pd.Series([], dtype=object), "int64"),
        ("fold", ["a", "b"], "string"),  # not a number, kept
        ("fold", [0.5, 1], "double"),
    ],
)
def test_a_column_has_one_type(
    tmp_path: Path, name: str, values: list[object], expected: str
) -> None:
    write_parquet(pd.DataFrame({name: values}), tmp_path / "table.parquet", {})
    assert str(pq.read_schema(tmp_path / "table.parquet").field(name).type) == expected


def test_missing_values_stay_missing(tmp_path: Path) -> None:
    frame = pd.DataFrame({"split": [None, "val"], "fold": [None, 1], "group": [None, None]})
    write_parquet(frame, tmp_path / "table.parquet", {})
    again, _ = read_parquet(tmp_path / "table.parquet")
    assert again.isna().to_numpy().tolist() == frame.isna().to_numpy().tolist()
