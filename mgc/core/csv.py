"""Writes and reads tables as CSV in which no cell is a formula.

Spreadsheets run cells that begin with ``=``, ``+``, ``-``, ``@``, a tab or a line break. Such text
is written with an apostrophe in front (OWASP, "CSV injection"), which :func:`read_csv` removes.
Numbers are written as they are.
"""

import os
import re
from collections.abc import Collection
from contextlib import suppress
from typing import Any

import numpy as np
import pandas as pd

from mgc.core.text_files import check_regular
from mgc.errors import MgcError

_FORMULA = re.compile(r"'*[=+\-@\t\r\n]")


def write_csv(frame: pd.DataFrame, path: str | os.PathLike[str], **options: Any) -> None:
    """Write a table, with the options of :meth:`pandas.DataFrame.to_csv`."""
    safe = frame.rename(columns=quote_formula)
    for number, kind in enumerate(safe.dtypes):
        if not pd.api.types.is_numeric_dtype(kind):
            cells = [quote_formula(value) for value in safe.iloc[:, number]]
            # Text of pandas has no surrogates.
            objects: Any = pd.Series(cells, safe.index, dtype=object)
            safe.isetitem(number, objects)
    if options.get("index", True):
        safe.index = safe.index.map(quote_formula)
    # Bytes of file names that are not UTF-8 are escaped.
    safe.to_csv(path, encoding="utf-8", errors="backslashreplace", **options)


def read_csv(
    path: str | os.PathLike[str], text: Collection[str] = (), **options: Any
) -> pd.DataFrame:
    """Read a table of :func:`write_csv`.

    Args:
        path: The file.
        text: Columns whose cells are names, such as ``NA`` or ``1e3``. In other columns, empty
            cells are missing values, and a column of numbers has a numeric type.
        **options: Options of :func:`pandas.read_csv`.

    Raises:
        MgcError: If it cannot be read or is not a table.
    """
    try:
        frame = read_text_csv(path, **options).rename(columns=unquote_formula)
    except (ValueError, OSError) as error:
        raise MgcError(f"{path} is not a CSV table: {' '.join(str(error).split())}") from error
    for number, name in enumerate(frame):
        cells = np.array([unquote_formula(value) for value in frame.iloc[:, number]], object)
        if name not in text:
            cells[cells == ""] = np.nan
            for kind in (int, float):
                with suppress(ValueError, OverflowError):
                    cells = cells.astype(kind)
                    break
        frame.isetitem(number, cells)
    frame.index = frame.index.map(unquote_formula)
    return frame


def read_text_csv(path: str | os.PathLike[str], **options: Any) -> pd.DataFrame:
    """Read a table with all cells as text: pandas would turn ``NA`` and ``null`` into NaN.

    Args:
        path: The file.
        **options: Options of :func:`pandas.read_csv`.

    Raises:
        MgcError: If it is no regular file, such as a named pipe.
        ValueError: If it is not a table.
        OSError: If it cannot be read.
    """
    check_regular(path)
    frame: pd.DataFrame = pd.read_csv(path, dtype=str, keep_default_na=False, **options)
    return frame


def quote_formula(value: Any) -> Any:
    """Put an apostrophe before text that a spreadsheet would run as a formula."""
    if not isinstance(value, str) or not _FORMULA.match(value) or _is_number(value):
        return value
    return f"'{value}"


def unquote_formula(value: Any) -> Any:
    """Undo :func:`quote_formula`."""
    quoted = isinstance(value, str) and value.startswith("'") and _FORMULA.match(value)
    return value[1:] if quoted else value


def _is_number(text: str) -> bool:
    return bool(re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?|[+-](inf|nan)", text, re.I))
