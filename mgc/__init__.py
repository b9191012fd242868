"""Music genre and tag classification with PyTorch Lightning."""

from importlib.metadata import version

__version__ = version("mgc")
