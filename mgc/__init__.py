"""Music genre and tag classification with PyTorch Lightning.

The public names are loaded on first use, so ``import mgc`` stays fast::

    import mgc

    model = mgc.load("best.ckpt")
    classifier = mgc.Classifier("best.ckpt")
    features = mgc.extract("music/", model)
"""

import os
from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mgc.checkpoint import load
    from mgc.data.base import AudioDataModule
    from mgc.deployment.classifier import Classifier
    from mgc.errors import MgcError
    from mgc.evaluation.fusion import fuse
    from mgc.evaluation.results import Results
    from mgc.experiments.crossval import cross_validate
    from mgc.models.base import MusicModel
    from mgc.reports.comparison import compare
    from mgc.transfer.extraction import extract
    from mgc.transfer.feature_table import FeatureTable
    from mgc.transfer.files import transfer

__all__ = [
    "AudioDataModule",
    "Classifier",
    "FeatureTable",
    "MgcError",
    "MusicModel",
    "Results",
    "compare",
    "cross_validate",
    "extract",
    "fuse",
    "load",
    "transfer",
]

#: Modules of the public names.
_MODULES = {
    "AudioDataModule": "mgc.data.base",
    "Classifier": "mgc.deployment.classifier",
    "FeatureTable": "mgc.transfer.feature_table",
    "MgcError": "mgc.errors",
    "MusicModel": "mgc.models.base",
    "Results": "mgc.evaluation.results",
    "compare": "mgc.reports.comparison",
    "cross_validate": "mgc.experiments.crossval",
    "extract": "mgc.transfer.extraction",
    "fuse": "mgc.evaluation.fusion",
    "load": "mgc.checkpoint",
}

# Since 1.29, ONNX Runtime sends names and hashes of models to Microsoft unless this is set before
# its import. Users who want this can set it to 0.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

#: Name of the distribution. On the package index, mgc is another project.
DISTRIBUTION = "mgc-lightning"

__version__ = version(DISTRIBUTION)


def __getattr__(name: str) -> Any:
    """Import a public name on first use."""
    if name == "transfer":  # a callable package
        return import_module("mgc.transfer")
    if name not in _MODULES:
        raise AttributeError(f"module 'mgc' has no attribute {name!r}")
    value = getattr(import_module(_MODULES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names, loaded or not."""
    return sorted({*globals(), *__all__})
