"""Exclude and relabel tracks of a data set."""

import logging
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from mgc.core.csv import write_csv
from mgc.data.folder import Folder
from mgc.data.split_checks import check_folds
from mgc.errors import MgcError
from mgc.evaluation.results import Results
from mgc.reports.label_errors import find_label_errors
from mgc.runs.provenance import data_fingerprint

SETTINGS = {"root": "music", "sample_rate": 8000, "clip_seconds": 0.5}


@pytest.fixture(autouse=True)
def music(workdir: Path) -> None:
    """Write twelve files for each of three classes."""
    for i in range(36):
        path = Path("music", ("jazz", "pop", "rock")[i % 3], f"{i:02}.wav")
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, np.random.default_rng(i).normal(0, 0.1, 4000), 8000)


def load(**settings) -> Folder:
    data = Folder(**SETTINGS | settings)
    data.setup()
    return data


def write(name: str, **columns: list[str]) -> str:
    write_csv(pd.DataFrame(columns), name, index=False)
    return name


def pick(data: Folder, split: str) -> str:
    return str(data.tracks["track"][data.tracks["split"] == split].iloc[0])


def splits(data: Folder) -> dict[str, str]:
    return dict(zip(data.tracks["track"], data.tracks["split"], strict=True))


@pytest.mark.parametrize("split", ["stratified", "fold"])
def test_corrections_move_no_other_track(split: str) -> None:
    before = load(split=split)
    gone, changed = pick(before, "train"), pick(before, "val")
    label = "pop" if not changed.startswith("pop") else "jazz"
    after = load(
        split=split,
        exclude=write("gone.csv", track=[gone]),
        relabel=write("new.csv", track=[changed], label=[label]),
    )
    assert splits(after) == {t: s for t, s in splits(before).items() if t != gone}
    row = int(np.flatnonzero(after.tracks["track"] == changed)[0])
    assert after.labels[after.targets()[row]] == label
    assert after.make_dataset("val", random=False).targets[row] == after.labels.index(label)
    others = after.tracks["track"] != changed
    given = [Path(track).parent.name for track in after.tracks["track"][others]]
    assert after.tracks["label"][others].tolist() == given


def test_corrections_change_the_fingerprint() -> None:
    data = load()
    track = pick(data, "train")
    relabelled = load(relabel=write("a.csv", track=["pop/01.wav"], label=["rock"]))
    excluded = load(exclude=write("b.csv", track=[track]))
    prints = [data_fingerprint(d.tracks, d.labels) for d in (data, relabelled, excluded)]
    assert len({p["tracks"] for p in prints}) == 3
    assert prints[0]["split"] == prints[1]["split"] != prints[2]["split"]


def test_counts_are_logged_and_test_tracks_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    data = load()
    train, test = pick(data, "train"), pick(data, "test")
    with caplog.at_level(logging.INFO, "mgc"):
        load(exclude=write("gone.csv", track=[train]))
    assert "gone.csv: 1 tracks excluded (1 train, 0 val, 0 test)." in caplog.text
    assert "compared" not in caplog.text
    load(exclude=write("gone.csv", track=[test]))
    assert "gone.csv: 1 test tracks are excluded. Test scores cannot be compared" in caplog.text
    assert "excluding tracks that models get wrong raises them" in caplog.text


def test_table_of_the_report_is_edited_and_used(caplog: pytest.LogCaptureFixture) -> None:
    data = load()
    rng = np.random.default_rng(0)
    rows = data.tracks[["track", "label"]].assign(split="test")
    rows[[f"probability.{label}" for label in data.labels]] = rng.dirichlet(np.ones(3), len(rows))
    find_label_errors([Results.from_tracks(rows, "multiclass", data.labels, {})]).save("report")
    path = Path("report/labels.csv")
    untouched = load(exclude=str(path), relabel=str(path))
    assert "labels.csv: 0 tracks relabelled" in caplog.text
    assert untouched.tracks["label"].tolist() == data.tracks["label"].tolist()
    lines = path.read_text().splitlines()
    first, second = (line.split(",") for line in lines[1:3])
    first[-1] = "yes"
    second[1] = second[2]
    path.write_text("\n".join([lines[0], ",".join(first), ",".join(second), *lines[3:]]))
    corrected = load(exclude=str(path), relabel=str(path)).tracks.set_index("track")
    assert len(corrected) == 35
    assert first[0] not in corrected.index
    assert corrected.loc[second[0], "label"] == second[2]


def test_tags_are_relabelled() -> None:
    names = sorted(path.relative_to("music").as_posix() for path in Path("music").rglob("*.wav"))
    tags = ["rock|guitar" if i % 2 else "guitar" for i in range(36)]
    pd.DataFrame({"path": names, "labels": tags}).to_csv("music/table.csv", index=False)
    new = write("new.csv", track=names[:3], label=["rock", "guitar| rock", ""])
    data = load(table="table.csv", task="multilabel", relabel=new)
    targets = data.tracks.set_index("track")[["target.guitar", "target.rock"]]
    assert targets.loc[names[:4]].to_numpy().tolist() == [[0, 1], [1, 1], [0, 0], [1, 1]]


def test_folds_are_checked_with_corrections() -> None:
    data = load(split="fold", folds=3)
    jazz = data.tracks["track"][data.tracks["label"] == "jazz"].tolist()
    data.exclude = write("gone.csv", track=jazz[:-1])
    with pytest.raises(MgcError, match="jazz"):
        check_folds(data)


@pytest.mark.parametrize(
    ("setting", "table", "message"),
    [
        ("exclude", None, "t.csv: no such file. Set data.exclude"),
        ("exclude", {"file": ["a"]}, "t.csv: data.exclude needs a column 'track'"),
        ("exclude", {"track": ["pop/99.wav"]}, "t.csv: music has no track 'pop/99.wav'"),
        (
            "exclude",
            {"track": ["pop/01.wav"], "exclude": ["maybe"]},
            "'pop/01.wav' has 'maybe' in the column exclude",
        ),
        ("relabel", {"track": ["pop/01.wav"]}, "data.relabel needs a column 'label'"),
        ("relabel", {"track": ["a"], "label": ["pop"]}, "t.csv: music has no track 'a'"),
        (
            "relabel",
            {"track": ["pop/01.wav"], "label": ["polka"]},
            "t.csv: track 'pop/01.wav' has the label 'polka'; expected jazz, pop, rock",
        ),
        (
            "relabel",
            {"track": ["pop/01.wav"] * 2, "label": ["jazz", "rock"]},
            "t.csv: track 'pop/01.wav' has two labels",
        ),
    ],
)
def test_mistakes_in_tables_are_reported(setting: str, table, message: str) -> None:
    if table:
        write("t.csv", **table)
    with pytest.raises(MgcError) as error:
        load(**{setting: "t.csv"})
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_all_tracks_cannot_be_excluded() -> None:
    with pytest.raises(MgcError, match="excludes all tracks of music"):
        load(exclude=write("all.csv", track=load().tracks["track"].tolist()))


def test_quantities_cannot_be_relabelled() -> None:
    names = sorted(path.relative_to("music").as_posix() for path in Path("music").rglob("*.wav"))
    pd.DataFrame({"path": names, "energy": np.linspace(0, 1, 36)}).to_csv("music/table.csv")
    new = write("new.csv", track=names[:1], label=["1"])
    with pytest.raises(MgcError, match="relabel is for classes and tags"):
        load(table="table.csv", task="regression", labels=["energy"], relabel=new)
