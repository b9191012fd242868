"""Late fusion, compared with results computed by hand."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from mgc.errors import MgcError
from mgc.evaluation.fusion import fit_weights, fuse_runs, parse_weights
from mgc.evaluation.fusion_report import describe_fusion
from mgc.evaluation.fusion_rules import combine
from mgc.evaluation.results import Results, make_results
from mgc.evaluation.tested_runs import Run, load_runs

LABELS = ("a", "b", "c")


def results(clips: dict[str, list[list[float]]], labels: str, split: str = "test") -> Results:
    """Create results from the probabilities of clips, which are 1.5 s apart."""
    index = [i for i, rows in enumerate(clips.values()) for _ in rows]
    number = [j for rows in clips.values() for j in range(len(rows))]
    truth = torch.tensor([LABELS.index(label) for label in labels])
    outputs = torch.tensor([row for rows in clips.values() for row in rows])
    return make_results(
        {
            "logits": outputs.log(),
            "target": truth[index],
            "track": torch.tensor(index),
            "clip": torch.tensor(number),
            "start": torch.tensor(number) * 12000,
        },
        pd.DataFrame({"track": list(clips), "split": split}),
        "multiclass",
        LABELS,
        sample_rate=8000,
    )


# One confident clip outweighs two uncertain ones in fusion1 only.
STFT = results(
    {
        "one": [[0.9, 0.1, 0.0], [0.4, 0.6, 0.0], [0.4, 0.6, 0.0]],
        "two": [[0.2, 0.3, 0.5], [0.2, 0.7, 0.1], [0.1, 0.8, 0.1]],
    },
    "bb",
)
MUSIC = results(
    {
        "one": [[0.7, 0.2, 0.1], [0.5, 0.5, 0.0], [0.4, 0.6, 0.0]],
        "two": [[0.1, 0.1, 0.8], [0.0, 0.4, 0.6], [0.1, 0.3, 0.6]],
    },
    "bb",
)
RUNS = [Run("stft", STFT), Run("music", MUSIC)]


def test_fusion1_is_the_mean_of_all_clips_of_all_runs() -> None:
    fused = fuse_runs(RUNS, "fusion1")
    one = fused.tracks.set_index("track").loc["one"]
    # a: (0.9 + 0.4 + 0.4 + 0.7 + 0.5 + 0.4) / 6, b: (0.1 + 0.6 + 0.6 + 0.2 + 0.5 + 0.6) / 6
    assert [one["probability.a"], one["probability.b"]] == pytest.approx([3.3 / 6, 2.6 / 6])
    assert one["decision"] == "a"
    assert len(fused.clips) == 6


def test_fusion2_is_the_majority_of_the_clips_of_the_mean_run() -> None:
    fused = fuse_runs(RUNS, "fusion2")
    # Clips of one: a 0.8; b 0.55 of 0.45 and 0.55; b 0.6.
    assert fused.clips["decision"].tolist()[:3] == ["a", "b", "b"]
    assert fused.clips["probability.b"].tolist()[1] == pytest.approx(0.55)
    # Clips of two: c 0.65; b 0.55; b 0.55. Music alone decides c for all of them.
    assert fused.tracks["decision"].tolist() == ["b", "b"]


def test_weighted_sum_of_tracks() -> None:
    fused = fuse_runs(RUNS, "weighted", np.array([0.25, 0.75]))
    two = fused.tracks.set_index("track").loc["two"]
    # b: 0.25 × 1.8 / 3 + 0.75 × 0.8 / 3, c: 0.25 × 0.7 / 3 + 0.75 × 2.0 / 3
    assert two["probability.b"] == pytest.approx(0.35)
    assert two["probability.c"] == pytest.approx(0.7 / 12 + 0.5)
    assert two["decision"] == two["vote"] == "c"
    assert fused.clips["track"].tolist() == ["one", "two"]


def test_product_is_the_geometric_mean() -> None:
    outputs = np.array([[[0.9, 0.1]], [[0.2, 0.8]]])
    fused = combine(outputs, np.array([0.5, 0.5]), "product", "multiclass")
    a, b = (0.9 * 0.2) ** 0.5, (0.1 * 0.8) ** 0.5
    np.testing.assert_allclose(fused, [[a / (a + b), b / (a + b)]])
    # Each tag is normalised separately.
    tags = combine(outputs, np.array([1.0, 0.0]), "product", "multilabel")
    np.testing.assert_allclose(tags, [[0.9, 0.1]])


def test_the_product_of_zeros_is_defined() -> None:
    outputs = np.array([[[1.0, 0.0]], [[0.0, 1.0]]])
    fused = combine(outputs, np.array([0.5, 0.5]), "product", "multiclass")
    np.testing.assert_allclose(fused, [[0.5, 0.5]])


def crossval(seed: int, skill: list[float]) -> list[Run]:
    """Runs of a cross-validation with two folds of 30 tracks; skill is the share of the truth."""
    runs = []
    rng = np.random.default_rng(seed)
    labels = rng.choice(LABELS, 60)
    truth = (labels[:, None] == np.array(LABELS)).astype(float)
    for number, known in enumerate(skill):
        tables = {}
        for split in ("test", "val"):
            outputs = known * truth + (1 - known) * rng.dirichlet(np.ones(3), 60)
            tracks = pd.DataFrame({"track": [f"{i:02}" for i in range(60)], "seed": 0})
            # Each half validates the other.
            tracks["fold"] = [int((i < 30) == (split == "test")) for i in range(60)]
            tracks["label"] = labels
            tracks[[f"probability.{label}" for label in LABELS]] = outputs
            tracks["decision"] = np.array(LABELS)[outputs.argmax(axis=1)]
            tracks["vote"] = tracks["decision"]
            clips = tracks.assign(clip=0, start=0.0)
            tables[split] = Results(clips, tracks, "multiclass", LABELS, {})
        runs.append(Run(f"run{number}", tables["test"], tables["val"]))
    return runs


@pytest.mark.parametrize("method", ["weighted", "product"])
def test_fitted_weights_are_the_best_of_a_grid(method: str) -> None:
    runs = crossval(0, [0.1, 0.3])
    found = fit_weights(runs, method)
    assert set(found) == {"seed 0, fold 0", "seed 0, fold 1"}
    outputs = np.stack([r.validation.tracks[r.validation.outputs].to_numpy() for r in runs])
    tracks = runs[0].validation.tracks
    for fold, weights in found.items():
        rows = (tracks["fold"] == int(fold[-1])).to_numpy()
        truth = tracks["label"][rows].map(LABELS.index).to_numpy()
        losses = {
            w: -np.log(
                combine(outputs[:, rows], np.array([w, 1 - w]), method, "multiclass")[
                    np.arange(rows.sum()), truth
                ]
            ).mean()
            for w in np.linspace(0, 1, 101)
        }
        assert weights[0] == pytest.approx(min(losses, key=losses.__getitem__), abs=0.011)


def test_weights_depend_on_validation_tracks_only() -> None:
    runs = crossval(1, [0.2, 0.4])
    before = fit_weights(runs, "weighted")
    for run in runs:
        shuffled = run.test.tracks.copy()
        order = np.random.default_rng(5).permutation(len(shuffled))
        shuffled[run.test.outputs] = shuffled[run.test.outputs].to_numpy()[order]
        shuffled["label"] = shuffled["label"].to_numpy()[order[::-1]]
        run.test.tracks = shuffled
    after = fit_weights(runs, "weighted")
    assert all((before[fold] == after[fold]).all() for fold in before)
    # They depend on the validation tracks of their own fold only.
    for run in runs:
        tracks = run.validation.tracks
        first = tracks["fold"] == 0
        tracks.loc[first, run.validation.outputs] = [0.2, 0.3, 0.5]
    changed = fit_weights(runs, "weighted")
    assert (changed["seed 0, fold 1"] == before["seed 0, fold 1"]).all()
    assert (changed["seed 0, fold 0"] != before["seed 0, fold 0"]).any()


def test_weights_are_not_fitted_to_test_tracks() -> None:
    runs = [replace(run, validation=run.test) for run in crossval(1, [0.2, 0.4])]
    with pytest.raises(MgcError, match="track '30' is in the validation and in the test"):
        fit_weights(runs, "weighted")
    with pytest.raises(
        MgcError, match=r"run0: fitting weights needs results on validation tracks.*mgc validate"
    ):
        fit_weights([replace(run, validation=None) for run in runs], "weighted")


def changed(column: str, row: int, value: object) -> Results:
    tracks = MUSIC.tracks.copy()
    tracks[column] = tracks[column].astype(object)
    tracks.loc[row, column] = value
    return replace(MUSIC, tracks=tracks)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (replace(MUSIC, task="regression"), "one is multiclass, the other regression"),
        (replace(MUSIC, labels=("a", "x", "c")), "the labels differ, first 'b' and 'x'"),
        (changed("track", 1, "three"), r"track 'two' is in stft only \(1 such tracks\)"),
        (changed("label", 1, "c"), "the label of track 'two' is 'b' in stft and 'c' in music"),
        (
            replace(MUSIC, clips=MUSIC.clips.iloc[1:]),
            "track 'one' has 3 clips in stft and 2 in music.*same clip_seconds",
        ),
        (
            replace(MUSIC, clips=MUSIC.clips.assign(start=MUSIC.clips["start"] * 2)),
            r"clip 1 of track 'one' starts at 1\.50 s in stft and 3\.00 s in music",
        ),
    ],
)
def test_differences_are_named(other: Results, message: str) -> None:
    with pytest.raises(MgcError, match=f"stft and music do not match: {message}"):
        fuse_runs([Run("stft", STFT), Run("music", other)], "fusion2")


def test_folds_must_be_the_same() -> None:
    one, two = crossval(0, [0.2, 0.4])
    two.test.tracks["fold"] = 1 - two.test.tracks["fold"]
    match = "track '00' is in seed 0, fold 1 of run0 and seed 0, fold 0 of run1"
    with pytest.raises(MgcError, match=match):
        fuse_runs([one, two], "weighted")


def test_track_methods_accept_different_clips() -> None:
    whole = replace(MUSIC, clips=MUSIC.clips.groupby("track").head(1))
    fused = fuse_runs([Run("stft", STFT), Run("images", whole)], "weighted")
    assert fused.tracks["probability.b"].iloc[1] == pytest.approx((1.8 / 3 + 0.8 / 3) / 2)


def test_the_order_of_rows_does_not_matter() -> None:
    mixed = replace(
        MUSIC, clips=MUSIC.clips.sample(frac=1, random_state=1), tracks=MUSIC.tracks.iloc[::-1]
    )
    for method in ("fusion1", "fusion2", "product"):
        one = fuse_runs(RUNS, method)
        two = fuse_runs([RUNS[0], Run("music", mixed)], method)
        pd.testing.assert_frame_equal(one.tracks, two.tracks)
        pd.testing.assert_frame_equal(one.clips, two.clips)


def test_report_of_a_fusion() -> None:
    text = describe_fusion(RUNS, fuse_runs(RUNS, "fusion2"))
    # By vote, stft is right on both tracks and music on none.
    assert "| | accuracy | 95 % Wilson interval over 2 tracks |" in text
    assert "| stft | 1.000 | 0.342 to 1.000 |" in text
    assert "| music | 0.000 | 0.000 to 0.658 |" in text
    assert "best single run, stft: +0.000" in text
    # Holm multiplies the smallest of three p-values by 3.
    assert "| stft | music | 2 | 0 | 0.5 | 1 |" in text


def test_gain_over_the_best_run() -> None:
    runs = crossval(3, [0.25, 0.3])
    text = describe_fusion(runs, fuse_runs(runs, "weighted", fit=True))
    right = {
        run.name: (run.test.tracks["label"] == run.test.tracks["decision"]).mean() for run in runs
    }
    assert f"best single run, {max(right, key=right.__getitem__)}: " in text
    assert "Weights: run0 0." in text


@pytest.mark.parametrize(
    ("text", "method", "fitted", "message"),
    [
        ("0.5", "weighted", False, "expected 2 numbers of 0 or more, one per run, as in 0.5,0.5"),
        ("1,-1", "weighted", False, "expected 2 numbers"),
        ("0,0", "product", False, "expected 2 numbers"),
        ("1,x", "product", False, "expected 2 numbers"),
        ("1,1", "fusion1", False, "--method fusion1 does not use weights"),
        ("", "fusion2", True, "--method fusion2 does not use weights"),
        ("1,1", "weighted", True, "Use either --weights or --fit-weights, not both"),
    ],
)
def test_invalid_weights(text: str, method: str, fitted: bool, message: str) -> None:
    with pytest.raises(MgcError, match=message):
        parse_weights(text, 2, method, fitted)


def test_weights_are_scaled_to_one() -> None:
    assert parse_weights("1,3", 2, "weighted", fitted=False).tolist() == [0.25, 0.75]


def test_results_are_found_in_folders_of_runs(tmp_path: Path) -> None:
    STFT.save(tmp_path / "stft" / "test")
    both = pd.concat([MUSIC.tracks.assign(split="val"), MUSIC.tracks], ignore_index=True)
    clips = pd.concat([MUSIC.clips.assign(split="val"), MUSIC.clips], ignore_index=True)
    replace(MUSIC, tracks=both, clips=clips).save(tmp_path / "music" / "predict")
    stft, music = load_runs([tmp_path / "stft", tmp_path / "music" / "predict"])
    assert (stft.name, stft.validation) == ("stft", None)
    assert music.name == "music"
    assert len(music.test.tracks) == len(music.validation.tracks) == 2
    with pytest.raises(MgcError, match=r"found no results \(tracks.parquet\) in it or its folders"):
        load_runs([tmp_path])
    with pytest.raises(MgcError, match="Expected 1 different names"):
        load_runs([tmp_path / "stft"], ["x", "y"])


def test_regression_supports_weighted_only() -> None:
    tracks = pd.DataFrame({"track": ["one", "two"], "target.x": [1.0, 2.0]})
    tables = [tracks.assign(**{"prediction.x": values}) for values in ([1.0, 3.0], [2.0, 1.0])]
    runs = [
        Run(name, Results(t.assign(clip=0, start=0.0), t, "regression", ("x",), {}))
        for name, t in zip("ab", tables, strict=True)
    ]
    fused = fuse_runs(runs, "weighted", np.array([0.5, 0.5]))
    assert fused.tracks["prediction.x"].tolist() == [1.5, 2.0]
    with pytest.raises(MgcError, match="--method product does not support regression"):
        fuse_runs(runs, "product")
