"""Makes the plugins importable in a checkout, without installing them."""

import os
import sys
from pathlib import Path

# Before torch is imported: several test processes share the cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["WANDB_MODE"] = "offline"

sys.path[:0] = [str(path.parent) for path in sorted(Path(__file__).parent.glob("*/pyproject.toml"))]
