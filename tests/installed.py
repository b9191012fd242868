"""Runs mgc with a subset of the installed packages."""

import os
import subprocess
import sys
from collections.abc import Iterable
from importlib.metadata import distribution
from pathlib import Path

import mgc


class Environment:
    """Folder with links to mgc and some of the installed packages."""

    def __init__(self, folder: Path, packages: Iterable[str]) -> None:
        self.folder = folder
        (folder / "mgc").symlink_to(Path(mgc.__file__).parent)
        for name in (mgc.DISTRIBUTION, *packages):
            found = distribution(name)
            parts = {Path(file).parts[0] for file in found.files or []}
            for part in parts - {"..", "__pycache__", "mgc"}:
                if not (folder / part).exists():
                    (folder / part).symlink_to(str(found.locate_file(part)))

    def run(self, *args: str) -> subprocess.CompletedProcess[str]:
        """Run a command of mgc with these packages and the standard library (-S)."""
        return subprocess.run(
            [sys.executable, "-S", "-m", "mgc", *args],
            env=os.environ | {"PYTHONPATH": str(self.folder)},
            capture_output=True,
            text=True,
        )
