"""Reads and writes Parquet files with JSON metadata, the format of all tables of mgc.

Pages have checksums, so that damage is found when a table is read.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from mgc.core.writing import replacing
from mgc.errors import MgcError

#: Key of the JSON in the file's metadata.
META_KEY = b"mgc"


#: Types of number columns that may have no values in a table. All other such columns are text.
NUMBERS = {
    "begin": pa.float64(),
    "clip": pa.int64(),
    "end": pa.float64(),
    "fold": pa.int64(),
    "mtime_ns": pa.int64(),
    "seed": pa.int64(),
    "size": pa.int64(),
    "start": pa.float64(),
}


def write_parquet(
    frame: pd.DataFrame,
    path: str | os.PathLike[str],
    meta: dict[str, Any],
    types: dict[str, pa.DataType] | None = None,
) -> None:
    """Write a data frame with JSON metadata, atomically. Creates the parent folder.

    Columns of the same name have the same type in all files, whatever values are missing, so that
    other programs can read several files as one table.

    Args:
        frame: The table. Its index is dropped.
        path: The file.
        meta: JSON metadata.
        types: Types of number columns, in addition to :data:`NUMBERS`.
    """
    table = pa.Table.from_pandas(frame, preserve_index=False)
    for number, name in enumerate(table.column_names):
        values = _fix_type(table[number], (NUMBERS | (types or {})).get(name))
        table = table.set_column(number, name, values)
    table = table.replace_schema_metadata(
        {**(table.schema.metadata or {}), META_KEY: json.dumps(meta).encode()}
    )
    with replacing(path) as partial:
        pq.write_table(table, partial, write_page_checksum=True)


def _fix_type(values: pa.ChunkedArray, number: pa.DataType | None) -> pa.ChunkedArray:
    kind = values.type
    if pa.types.is_null(kind):
        return values.cast(number or pa.string())
    if pa.types.is_large_string(kind) or pa.types.is_dictionary(kind):
        return values.cast(pa.string())
    if number and (pa.types.is_primitive(kind) and not pa.types.is_temporal(kind)):
        with suppress(pa.ArrowInvalid):  # a value that does not fit keeps its type
            return values.cast(number)
    return values


def read_parquet(path: str | os.PathLike[str]) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return the data frame and the metadata of a file written by :func:`write_parquet`.

    Raises:
        MgcError: If the file is missing, not Parquet, or not written by mgc.
    """
    with _reading(path):
        table = pq.read_table(path, page_checksum_verification=True)
        return table.to_pandas(), _metadata(path, table.schema)


def read_metadata(path: str | os.PathLike[str], verify: bool = False) -> dict[str, Any]:
    """Return the metadata of a file written by :func:`write_parquet`.

    Args:
        path: The file.
        verify: Whether to read all values, to find damage.

    Raises:
        MgcError: If the file is missing, damaged, not Parquet, or not written by mgc.
    """
    with _reading(path), pq.ParquetFile(path, page_checksum_verification=True) as file:
        meta = _metadata(path, file.schema_arrow)
        if verify:
            for _ in file.iter_batches():
                pass
        return meta


@contextmanager
def _reading(path: str | os.PathLike[str]) -> Iterator[None]:
    if not Path(path).is_file():
        raise MgcError(f"{path} does not exist. Give a Parquet file written by mgc.")
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        line = str(error).partition("\n")[0].rstrip(".")
        raise MgcError(f"{path} is damaged, or not a Parquet file: {line}.") from error


def _metadata(path: str | os.PathLike[str], schema: pa.Schema) -> dict[str, Any]:
    text = (schema.metadata or {}).get(META_KEY)
    try:
        meta = None if text is None else json.loads(text)
    except ValueError:
        meta = None
    if not isinstance(meta, dict):
        raise MgcError(f"{path} was not written by mgc: it has no mgc metadata.")
    return meta
