import resource
import sys

import numpy as np
import pytest

from mgc.core.memory import reuse_freed_memory


@pytest.mark.skipif(sys.platform != "linux", reason="a setting of glibc")
def test_freed_arrays_are_reused() -> None:
    reuse_freed_memory()
    for _ in range(3):
        np.ones(1 << 20)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        np.ones(1 << 20)  # 8 MB: 2048 pages, if the system had to provide them again
    assert resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before < 2048
