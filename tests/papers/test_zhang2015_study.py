"""Study of hyperparameters of Zhang et al. (2015) on artificial results."""

import numpy as np
import pandas as pd
import pytest

from mgc.evaluation.results import Results
from mgc.papers.zhang2015.networks import NETWORKS, STUDY, TABLE_1, study_network
from mgc.papers.zhang2015.study import (
    describe_study,
    list_study_claims,
    make_study_table,
    measure_step,
    plot_study,
    read_study,
    tabulate_study,
)


def results(right, folds=(0,)):
    """Return results with the first ``right`` of 50 tracks of each fold correct."""
    rows = pd.concat(
        [
            pd.DataFrame({"track": [f"{fold} {i}" for i in range(50)], "fold": fold})
            for fold in folds
        ],
        ignore_index=True,
    )
    rows = rows.assign(seed=0, label="a", p_a=0.5, p_b=0.5)
    first = rows["track"].str.split().str[1].astype(int) < right
    rows["decision"] = rows["vote"] = np.where(first, "a", "b")
    source = {"folds": 2, "split": "fold"}
    return Results(rows.assign(clip=0), rows, "multiclass", ("a", "b"), source)


def test_networks_of_the_study():
    """Each differs from that of table 1 in one setting."""
    for setting, values in STUDY.items():
        assert TABLE_1[setting] in values
        for value in values:
            network = NETWORKS[study_network(setting, value)]
            if value == TABLE_1[setting]:
                assert network.options == ()
            elif network.config == "kcnn":
                assert network.options == (f"--model.{setting}={value}",)
    assert NETWORKS[study_network("k", 1)].config == "kcnn_k1"


@pytest.fixture
def cells(tmp_path):
    """Return the cells of three values of the window, of which one was tested on two folds."""
    for setting, value, right, folds in (
        ("window", 1, 20, (0,)),
        ("window", 5, 30, (0, 1)),
        ("window", 9, 40, (0,)),
    ):
        folder = tmp_path / f"{study_network(setting, value)}_MEL" / "test"
        results(right, folds).save(folder)
    return read_study(tmp_path)


def test_scores_of_shared_folds(cells):
    assert {len(found.tracks) for found in cells.values()} == {50}
    table = tabulate_study(cells)
    window = table.loc["window"].set_index("value")
    assert window["accuracy"].tolist() == [0.4, 0.6, 0.8]
    np.testing.assert_allclose(window["difference"], [-0.2, np.nan, 0.2])
    assert window["difference_low"][9] < 0.2 < window["difference_high"][9]
    # Other settings have only the value of table 1.
    assert set(table.index) == {"window"}
    text = make_study_table(cells).markdown()
    assert "| window 9 | 80.0 (67.0 to 88.8) |" in text
    text = describe_study(table)
    assert "window 9 (MEL) +20.0 points (+10.0 to +32.0), " in text
    assert "the values here are ours (MEL 50 test tracks)" in text
    assert "limited impact.* units not run; hidden not run." in text
    assert len(plot_study(table).axes) == 2


def test_claims(cells):
    """The paper claims an order of larger windows only."""
    claims = list_study_claims()
    assert [claim.title for claim in claims] == [
        "window 9 over window 5",
        "window 15 over window 5",
    ]
    assert {pair for claim in claims for pair in claim.pairs if pair[0] in cells} == {
        (("window 9", "MEL"), ("window 5", "MEL"))
    }


def test_networks_of_the_tables_are_no_study(tmp_path):
    results(30).save(tmp_path / "kcnn_MEL" / "test")
    results(30).save(tmp_path / "kcnn_k1_MEL" / "test")
    assert read_study(tmp_path) == {}


def test_larger_windows_take_longer():
    assert measure_step("window", 101, "MEL") > measure_step("window", 1, "MEL") > 0
