"""Published scores and claims of papers, and code to reproduce them, by file or folder."""

from importlib import import_module
from types import ModuleType


def load_paper(name: str) -> ModuleType:
    """Import the published scores of a paper, such as ``senac2017``."""
    return import_module(f"{__name__}.{name}")
