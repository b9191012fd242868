import numpy as np

from mgc.data.split_problems import find_split_problems


def test_constant_quantities_have_no_score() -> None:
    train, test = np.arange(8.0).reshape(4, 2), np.array([[1.0, 2.0], [1.0, 3.0]])
    found = find_split_problems(train, {"test": test, "val": test[:1]}, "regression", ("x", "y"))
    assert found.unscored == [
        "all test tracks have the same 'x'",
        "all val tracks have the same 2 of 2 labels ('x', 'y')",
    ]
    assert found.undefined == ["val"]
    assert not found.errors
