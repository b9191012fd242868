"""Checks that models and data sets keep the contract of mgc, for the tests of a plugin.

A test of a model and one of a data set, with pytest (which this module does not need)::

    import pytest
    from mgc.testing import DATA_CHECKS, MODEL_CHECKS, DataCase, ModelCase

    @pytest.mark.parametrize("check", MODEL_CHECKS)
    def test_model(check):
        check(ModelCase(MyNet, {"channels": 4}))

    @pytest.mark.parametrize("check", DATA_CHECKS)
    def test_data(check, tmp_path):
        write_a_tiny_copy(tmp_path)
        check(DataCase(MyData, tmp_path))

Every check is a function that returns nothing, or raises an ``AssertionError`` that says what is
wrong. Each takes a second or so. mgc's own models and data sets pass them.
"""

from mgc.testing.data import DATA_CHECKS, DataCase
from mgc.testing.models import MODEL_CHECKS, ModelCase

__all__ = ["DATA_CHECKS", "MODEL_CHECKS", "DataCase", "ModelCase"]
