"""Papers, one file or folder each: published scores, claims, and code to reproduce them."""

from importlib import import_module
from types import ModuleType


def load_paper(name: str) -> ModuleType:
    """Import the published scores of a paper, such as ``senac2017``."""
    return import_module(f"{__name__}.{name}")
