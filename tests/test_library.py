"""Test the library as used in notebooks."""

import re
import subprocess
import sys
from pathlib import Path

import lightning
import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import torch

import mgc
from mgc import checkpoint
from mgc.data.gtzan import GENRES, GTZAN
from mgc.models.vgg import VGGTagger

README = Path(__file__).parents[1] / "README.md"


@pytest.fixture(scope="module")
def ckpt(tones: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a checkpoint of a small tagger with random weights."""
    torch.manual_seed(0)
    model = VGGTagger(num_classes=10, sample_rate=8000, channels=4)
    data = GTZAN(str(tones), sample_rate=8000, clip_seconds=1.0)
    content = {"state_dict": model.state_dict(), checkpoint.HYPER: dict(model.hparams)}
    content["pytorch-lightning_version"] = lightning.__version__
    path = tmp_path_factory.mktemp("model") / "best.ckpt"
    torch.save({**content, checkpoint.KEY: checkpoint.describe(model, data)}, path)
    return path


@pytest.fixture
def songs(tones: Path) -> list[str]:
    return [str(tones / "genres" / name / f"{name}.00000.wav") for name in ("blues", "rock")]


def results(right: int, **source: str) -> mgc.Results:
    """Make results of 20 tracks with the given number of correct ones."""
    truth = np.array(["a", "b"] * 10)
    first = np.where((truth == "a") == (np.arange(20) < right), 0.9, 0.1)
    tracks = pd.DataFrame({"track": [f"t{i:02}" for i in range(20)], "label": truth})
    tracks["probability.a"], tracks["probability.b"] = first, 1 - first
    tracks["decision"] = tracks["vote"] = np.where(first > 0.5, "a", "b")
    clips = tracks.drop(columns="vote").assign(clip=0, start=0.0)
    return mgc.Results(clips, tracks, "multiclass", ("a", "b"), dict(source))


def test_import_is_fast_and_lists_names() -> None:
    code = (
        "import sys, mgc\n"
        "assert not {'torch', 'numpy', 'pandas', 'lightning'} & set(sys.modules)\n"
        "print(*dir(mgc))"
    )
    command = [sys.executable, "-c", code]
    names = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    assert set(mgc.__all__) <= set(names)
    assert {"load", "Classifier", "extract", "transfer", "cross_validate"} <= set(names)


def test_public_names_are_callable() -> None:
    for name in mgc.__all__:
        assert callable(getattr(mgc, name)), name
    with pytest.raises(AttributeError, match="no attribute 'nosuch'"):
        _ = mgc.nosuch


def test_transfer_is_a_function_and_a_package() -> None:
    import mgc.transfer.files as files

    assert mgc.transfer.files is files
    with pytest.raises(mgc.MgcError, match="No feature table"):
        mgc.transfer([])


def test_the_notebook_session_of_the_readme(ckpt: Path, tones: Path) -> None:
    """Run the session of the README in a folder with its files."""
    mpl.use("agg")
    section = README.read_text().partition("## In a notebook")[2].partition("\n## ")[0]
    [code] = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    Path("best.ckpt").symlink_to(ckpt)
    Path("music").mkdir()
    for name in ("blues", "rock"):
        Path("music", f"{name}.wav").symlink_to(tones / "genres" / name / f"{name}.00000.wav")
    Path("data").mkdir()
    Path("data", "gtzan").symlink_to(tones)
    session: dict[str, object] = {}
    exec(compile(code, "README.md", "exec"), session)
    probabilities, clips, scores = (session[n] for n in ("probabilities", "clips", "scores"))
    assert list(probabilities.columns) == list(GENRES)
    assert list(probabilities.index) == ["music/blues.wav", "music/rock.wav"]
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    assert list(clips.index) == [0.0, 1.0]
    np.testing.assert_allclose(clips.mean(), probabilities.loc["music/blues.wav"], rtol=1e-5)
    assert Path("blues.png").stat().st_size > 1000
    assert scores.summary["nested"].max() > 0.5  # random weights suffice to classify tones
    assert "nested" in scores._repr_html_()
    assert len(session["features"].tracks) == 100


def test_unreadable_songs_are_skipped(ckpt: Path, songs: list[str], tmp_path: Path) -> None:
    broken = tmp_path / "broken.mp3"
    broken.write_bytes(b"no music")
    classifier = mgc.Classifier(ckpt)
    with pytest.warns(UserWarning, match=r"Skipped: .*broken\.mp3"):
        table = classifier.predict([broken, songs[0]])
    assert list(table.index) == [songs[0]]
    assert list(classifier.errors) == [str(broken)]
    with pytest.warns(UserWarning, match="Skipped"):
        assert classifier.predict(broken).shape == (0, 10)
    with pytest.raises(mgc.MgcError, match=r"broken\.mp3"):
        classifier.predict_over_time(broken)


def test_extract_takes_objects_or_paths(ckpt: Path, songs: list[str], tones: Path) -> None:
    by_path = mgc.extract(songs, ckpt)
    by_model = mgc.extract([Path(song) for song in songs], mgc.load(ckpt))
    assert list(by_path.tracks["track"]) == list(by_model.tracks["track"])
    for name, values in by_path.layers.items():
        np.testing.assert_array_equal(values, by_model.layers[name])
    assert not any(Path.cwd().iterdir())  # leaves no files

    data = GTZAN(str(tones), sample_rate=8000, clip_seconds=1.0, batch_size=16)
    of_data = mgc.extract(data, mgc.load(ckpt), per_clip=True)
    assert len(of_data.tracks) == 200
    assert set(of_data.tracks["label"]) == set(GENRES)
    with pytest.raises(mgc.MgcError, match=r"sample_rate=12000 Hz, but .* 8000 Hz"):
        mgc.extract(GTZAN(str(tones), sample_rate=12000, clip_seconds=1.0), mgc.load(ckpt))

    by_name = mgc.extract(songs[0], "mfcc", "mfcc.parquet", sample_rate=8000, clip_seconds=1.0)
    assert Path("mfcc.parquet").is_file()
    assert list(by_name.layers) == ["mfcc"]
    assert [c for c in by_name.to_pandas() if c.startswith("mfcc.")]
    assert "mfcc" in by_name._repr_html_()


def test_an_existing_table_is_not_reused_for_other_weights(ckpt: Path, songs: list[str]) -> None:
    model = mgc.load(ckpt)
    before = mgc.extract(songs, model, "features.parquet", layers="1")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2)
    after = mgc.extract(songs, model, "features.parquet", layers="1")
    [[first], [second]] = [list(table.layers.values()) for table in (before, after)]
    assert not np.allclose(first, second)


def test_transfer_of_several_tables(ckpt: Path, tones: Path) -> None:
    data = {"data": "gtzan", "sample_rate": 8000, "clip_seconds": 1.0}
    one = mgc.extract(tones, ckpt, data="gtzan", layers="1")
    two = mgc.extract(tones, "mfcc", "mfcc.parquet", **data)
    layers = list(one.layers)
    scores = mgc.transfer([one, "mfcc.parquet"], layers="mfcc", classifier="knn", jobs=1, folds=5)
    alone = mgc.transfer(two, "knn", classifier="knn", jobs=1, folds=5, probabilities=True)
    assert list(one.layers) == layers  # the object is not changed
    pd.testing.assert_frame_equal(scores.summary, alone.summary)
    assert alone.test is not None
    assert Path("knn", "test", "tracks.parquet").is_file()
    compared = mgc.compare({"in memory": alone.test, "on disk": "knn"})
    assert compared.table.loc["in memory", "test/track_accuracy"] in set(
        compared.table["test/track_accuracy"]
    )


def test_fuse_and_compare_take_results_and_folders() -> None:
    good, bad = results(18, model="some.Net"), results(4, model="some.Net")
    bad.save("bad")
    fused = mgc.fuse([good, "bad"], "weighted", weights=[1, 0])
    assert isinstance(fused, mgc.Results)
    assert (fused.tracks["decision"] == good.tracks["decision"]).all()
    assert "Gain over the best single run" in fused.report
    mgc.fuse({"x": good, "y": bad}, "fusion1", out="fused")
    assert "| x |" in Path("fused", "fusion.md").read_text()

    compared = mgc.compare([good, bad, "bad"], out="comparison")
    assert list(compared.table.index) == ["Net (1)", "Net (2)", "bad"]
    assert compared.table.loc["Net (1)", "test/track_accuracy"].startswith("0.900")
    assert compared.pairs[0].best == "Net (1)"
    assert "<table" in compared._repr_html_()
    assert Path("comparison", "compare.html").is_file()
    assert list(mgc.compare({"x": good, "y": "bad"}).table.index) == ["x", "y"]
    with pytest.raises(mgc.MgcError, match="expects two or more runs, got 1"):
        mgc.compare([good])


def test_results_in_a_notebook() -> None:
    assert "20 tracks" in results(18)._repr_html_()
