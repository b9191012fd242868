"""Reads and writes Parquet files with JSON metadata, the format of all tables of mgc."""

import json
import os
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from mgc.core.writing import replacing
from mgc.errors import MgcError

#: Key of the JSON in the file's metadata.
META_KEY = b"mgc"


def write_parquet(frame: pd.DataFrame, path: str | os.PathLike[str], meta: dict[str, Any]) -> None:
    """Write a data frame with JSON metadata, atomically. Creates the parent folder."""
    table = pa.Table.from_pandas(frame, preserve_index=False)
    table = table.replace_schema_metadata(
        {**(table.schema.metadata or {}), META_KEY: json.dumps(meta).encode()}
    )
    with replacing(path) as partial:
        pq.write_table(table, partial)


def read_parquet(path: str | os.PathLike[str]) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return the data frame and the metadata of a file written by :func:`write_parquet`.

    Raises:
        MgcError: If the file is missing, not Parquet, or not written by mgc.
    """
    if not Path(path).is_file():
        raise MgcError(f"{path} does not exist. Give a Parquet file written by mgc.")
    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise MgcError(f"{path} is not a valid Parquet file: {error}".splitlines()[0]) from error
    meta = (table.schema.metadata or {}).get(META_KEY)
    if meta is None:
        raise MgcError(f"{path} was not written by mgc: it has no mgc metadata.")
    return table.to_pandas(), json.loads(meta)
