"""CSV files without formulas."""

import csv
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from mgc.core.csv import read_csv, write_csv

NAMES = st.text(
    st.one_of(st.sampled_from("=+-@\t'\"\n|,; "), st.characters(exclude_categories=["Cs"])),
    min_size=1,
    max_size=8,
).filter(lambda name: "\0" not in name and "\r" not in name) | st.sampled_from(
    ["null", "NA", "NaN", "nan", "None", "N/A", "<NA>", "1e3", "inf", "007", "~", "#x"]
)


@settings(deadline=None, max_examples=100)
@given(names=st.lists(NAMES, min_size=1, max_size=3, unique=True))
def test_no_cell_is_a_formula(names: list[str]) -> None:
    frame = pd.DataFrame({"name": names, names[0] + "=": -1.5}, index=names)
    with TemporaryDirectory() as folder:
        path = Path(folder, "table.csv")
        write_csv(frame, path)
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.reader(file))
        again = read_csv(path, text=["name"], index_col=0)
    for row in rows:
        assert not any(cell.startswith(tuple("=@\t\n")) for cell in row)
    assert [row[2] for row in rows[1:]] == ["-1.5"] * len(names)
    assert again["name"].tolist() == names
    assert again.columns.tolist() == ["name", names[0] + "="]


def test_numbers_stay_numbers(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    write_csv(pd.DataFrame({"a": [-1.0, 2.0], "b": ["-0.5", "=cmd()"]}), path, index=False)
    assert path.read_text(encoding="utf-8") == "a,b\n-1.0,-0.5\n2.0,'=cmd()\n"


def test_undecodable_file_names_are_escaped(tmp_path: Path) -> None:
    write_csv(
        pd.DataFrame({"path": ["caf\udce9.wav"]}, dtype=object), tmp_path / "table.csv", index=False
    )
    assert "\\udce9" in (tmp_path / "table.csv").read_text(encoding="utf-8")
