"""``mgc fuse`` with files as input and output."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mgc.cli import main
from mgc.evaluation.results import Results

LABELS = ("a", "b")


def save(folder: str, right: list[float], split: str = "test") -> None:
    """Save a run with the given probabilities of the right class, one clip per track."""
    labels = np.array(list("abab"))
    a = np.where(labels == "a", right, 1 - np.array(right))
    stage = "test" if split == "test" else "validate"
    tracks = pd.DataFrame({"track": [f"{split}{i}" for i in range(4)], "split": split})
    tracks["label"] = labels
    tracks["probability.a"], tracks["probability.b"] = a, 1 - a
    tracks["decision"] = tracks["vote"] = np.where(a > 0.5, "a", "b")
    clips = tracks.drop(columns="vote").assign(clip=0, start=0.0)
    Results(clips, tracks, "multiclass", LABELS, {"model": folder}).save(Path(folder, stage))


def test_fusion_of_two_half_right_runs_is_right(capsys: pytest.CaptureFixture[str]) -> None:
    save("one", [0.9, 0.9, 0.4, 0.4])
    save("two", [0.4, 0.4, 0.9, 0.9])
    main(["fuse", "one", "two", "--method", "fusion1", "--out", "fused"])
    said = capsys.readouterr().out
    assert "| fusion1 | 1.000 |" in said
    assert "best single run, one: +0.500" in said
    assert Path("fused/fusion.md").read_text() in said
    fused = Results.load("fused")
    assert fused.tracks["decision"].tolist() == list("abab")
    assert fused.source["runs"]["two"] == {"model": "two"}
    # What was fused can be fused.
    main(["fuse", "fused", "one", "--method=weighted", "--weights=3,1", "--out=again"])
    again = Results.load("again")
    assert again.source["weights"] == {"": [0.75, 0.25]}
    assert again.tracks["probability.a"].iloc[0] == pytest.approx(0.75 * 0.65 + 0.25 * 0.9)


def test_fitted_weights_prefer_the_better_run(capsys: pytest.CaptureFixture[str]) -> None:
    save("knows", [0.9, 0.9, 0.9, 0.9])
    save("guesses", [0.4, 0.6, 0.4, 0.6])
    for name, right in (("knows", [0.9] * 4), ("guesses", [0.4, 0.6, 0.4, 0.6])):
        save(name, right, "val")
    runs = ["fuse", "guesses", "knows", "--out=fused"]
    main([*runs, "--method=product", "--fit-weights", "validation"])
    assert "Weights: guesses 0.00, knows 1.00." in capsys.readouterr().out


def test_errors_are_one_line_and_write_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    save("one", [0.9] * 4)
    save("two", [0.9] * 4)
    path = Path("two/test/tracks.parquet")
    results = Results.load("two/test")
    results.tracks["label"] = list("abba")
    results.save("two/test")
    assert path.is_file()
    with pytest.raises(SystemExit) as stop:
        main(["fuse", "one", "two", "--method=fusion2", "--out=fused"])
    assert stop.value.code == 2
    assert capsys.readouterr().err == (
        "mgc: error: one and two do not match: the label of track 'test2' is 'a' in one "
        "and 'b' in two.\n"
    )
    assert not Path("fused").exists()
    with pytest.raises(SystemExit):
        main(["fuse", "one", "--method=fusion2", "--out=fused"])
    assert "Fusion needs two or more runs" in capsys.readouterr().err
