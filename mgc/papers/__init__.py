"""Papers, one file or folder each: published figures, claims, and how to reproduce them."""

from importlib import import_module
from types import ModuleType


def load_paper(name: str) -> ModuleType:
    """Import the published figures of a paper.

    Args:
        name: Name of the paper, such as ``senac2017``.

    Returns:
        Its module.
    """
    return import_module(f"{__name__}.{name}")
