"""Music genre and tag classification with PyTorch Lightning."""

import os
from importlib.metadata import version

# Since 1.29, ONNX Runtime sends names and hashes of models to Microsoft unless this is set before
# it is imported. Users can allow it with 0.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

#: Name of the distribution. The name mgc belongs to another project on the package index.
DISTRIBUTION = "mgc-lightning"

__version__ = version(DISTRIBUTION)
