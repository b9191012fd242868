"""Music genre and tag classification with PyTorch Lightning."""

from importlib.metadata import version

#: Name of the distribution. The name mgc belongs to another project on the package index.
DISTRIBUTION = "mgc-lightning"

__version__ = version(DISTRIBUTION)
