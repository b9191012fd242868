"""Conformance checks of models and data sets, for the tests of plugins.

Example with pytest (optional)::

    import pytest
    from mgc.testing import DATA_CHECKS, MODEL_CHECKS, DataCase, ModelCase

    @pytest.mark.parametrize("check", MODEL_CHECKS)
    def test_model(check):
        check(ModelCase(MyNet, {"channels": 4}))

    @pytest.mark.parametrize("check", DATA_CHECKS)
    def test_data(check, tmp_path):
        write_a_tiny_copy(tmp_path)
        check(DataCase(MyData, tmp_path))

Each check raises an ``AssertionError`` with an explanation if it fails, and takes about a second.
"""

from mgc.testing.data import DATA_CHECKS, DataCase
from mgc.testing.models import MODEL_CHECKS, ModelCase

__all__ = ["DATA_CHECKS", "MODEL_CHECKS", "DataCase", "ModelCase"]
