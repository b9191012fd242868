import numpy as np
import pytest
from generated_tables import genre_table, mood_table
from matplotlib import image
from test_experiment import run

from mgc.commands.report_transfer import report_transfer
from mgc.errors import MgcError
from mgc.papers import choi2017
from mgc.transfer.report import make_report, read_published, scores_by_class

BUILT_IN = {"choi2017": choi2017.SCORES}


@pytest.fixture(scope="module")
def genres():
    return run(genre_table(), folds=3, classifier="knn")


@pytest.fixture(scope="module")
def random_weights():
    return run(genre_table(seed=5), "all", folds=3, classifier="knn")


def published_file(folder, text):
    (folder / "scores.csv").write_text(f"task,layers,score\n{text}")
    return str(folder / "scores.csv")


@pytest.mark.parametrize("name", ["null", "NA", "nan", "None", "1e3", "=1+1"])
def test_any_name_of_a_quantity_is_reported(tmp_path, name):
    table = mood_table()
    table.labels = (name, "valence")
    table.tracks = table.tracks.rename(columns={"target.arousal": f"target.{name}"})
    run(table, folds=3, classifier="knn").save(tmp_path / "out")
    report_transfer([tmp_path / "out"], out=tmp_path / "report")
    text = (tmp_path / "report/transfer.md").read_text(encoding="utf-8")
    assert name in text


@pytest.mark.parametrize(
    ("score", "reason"),
    [("genre,12,high\n", "not numbers"), ('genre,"12,0.5\n', "not a CSV table")],
)
def test_bad_published_scores_are_named(genres, tmp_path, score, reason):
    with pytest.raises(MgcError, match=reason):
        make_report({"ours": genres}, published=published_file(tmp_path, score), tasks=["genre"])


def test_published_scores_are_added_to_the_table(genres, tmp_path):
    file = published_file(tmp_path, "genre,12,0.5\ngenre,mfcc+12,0.9\nother,1,0.1\n")
    table = make_report({"ours": genres}, published=file, tasks=["genre"]).table
    assert list(table["paper"]) == sorted(table["paper"], reverse=True)
    rows = table.set_index("layers")
    assert rows.loc["12", "difference"] == pytest.approx(rows.loc["12", "paper"] - 0.5)
    assert rows.loc["12+mfcc", "published"] == 0.9
    assert np.isnan(rows.loc["1", "published"])


def test_the_text_states_folds_and_difference(genres, tmp_path):
    paper = genres.summary.set_index("layers").loc["12", "paper"]
    file = published_file(tmp_path, f"genre,12,{paper - 0.02}\n")
    text = make_report({"ours": genres}, published=file).text
    assert "Mean absolute difference from 1 published scores: 0.0200." in text
    assert "3 stratified folds" in text
    assert f"| 12 | 8 | {paper:.3f} |" in text


def test_scores_of_other_experiments_are_added_as_columns(genres, random_weights):
    table = make_report({"ours": genres, "random": random_weights}).table.set_index("layers")
    theirs = random_weights.summary.set_index("layers")
    assert table.loc["mfcc", "random"] == theirs.loc["mfcc", "paper"]


def test_published_scores_are_built_in(genres):
    report = make_report(
        {"ours": genres}, published="choi2017", tasks=["jamendo_vocals"], built_in=BUILT_IN
    )
    assert "Published best: 0.972." in report.text
    assert report.table.set_index("layers").loc["mfcc", "published"] == 0.917


def test_classes_are_compared(genres):
    classes = scores_by_class(genres, ["12", "1"])
    assert list(classes.index) == ["a", "b", "c"]
    rows = genres.predictions[genres.predictions["layers"] == "1"]
    right = rows[rows["label"] == "b"]
    assert classes.loc["b", "1"] == (right["decision"] == "b").mean()


def test_the_command_writes_tables_and_plots(genres, random_weights, tmp_path, capsys):
    genres.save(tmp_path / "ours")
    random_weights.save(tmp_path / "random")
    folders = [str(tmp_path / "ours"), str(tmp_path / "random")]
    report_transfer(folders, str(tmp_path / "report"), compare="12,1")
    assert {path.name for path in (tmp_path / "report").iterdir()} == {
        "transfer.md",
        "transfer.csv",
        "combinations_label.png",
        "classes_12_1.png",
    }
    pixels = image.imread(tmp_path / "report/combinations_label.png")
    assert pixels.shape[1] > 1000
    assert pixels.std() > 0.05  # not empty
    assert "| 12+mfcc |" in capsys.readouterr().out


def test_each_quantity_has_a_plot():
    report = make_report({"moods": run(mood_table(), folds=3, classifier="knn")})
    assert set(report.plots) == {"combinations_arousal", "combinations_valence"}


def test_the_report_is_logged_to_wandb(genres, tmp_path, workdir):
    genres.save(tmp_path / "ours")
    report_transfer([str(tmp_path / "ours")], str(tmp_path / "report"), wandb=True)
    [run_folder] = workdir.glob("runs/wandb/offline-run-*")
    logged = [path.name for path in (run_folder / "files/media").rglob("*") if path.is_file()]
    assert any(name.startswith("transfer") and name.endswith(".json") for name in logged)
    assert any(name.startswith("combinations_label") for name in logged)


def test_invalid_input_is_an_error(genres, tmp_path):
    moods = run(mood_table(), "1", folds=3, nested=False, classifier="knn")
    with pytest.raises(MgcError, match="moods and ours differ in their task"):
        make_report({"ours": genres, "moods": moods})
    with pytest.raises(MgcError, match="does not support regression"):
        scores_by_class(moods, ["1", "2"])
    with pytest.raises(MgcError, match=r"no results for 9\. Choose from 12, 1, 2"):
        scores_by_class(genres, ["12", "9"])
    with pytest.raises(MgcError, match="two combinations"):
        scores_by_class(genres, ["12"])
    with pytest.raises(MgcError, match=r"nowhere\.csv is neither a file nor a paper .*choi2017"):
        read_published("nowhere.csv", [], ["label"], BUILT_IN)
    with pytest.raises(MgcError, match=r"has tasks .*extended_ballroom, gtzan,"):
        read_published("choi2017", [], ["label"], BUILT_IN)
    bad = tmp_path / "bad.csv"
    bad.write_text("task,layers\n")
    with pytest.raises(MgcError, match="has no column 'score'"):
        read_published(str(bad), [], ["label"])
    with pytest.raises(MgcError, match=r"scores\.parquet does not exist"):
        report_transfer([str(tmp_path / "none")], str(tmp_path / "report"))
