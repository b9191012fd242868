"""Runs mgc with some of the installed packages only."""

import os
import subprocess
import sys
from collections.abc import Iterable
from importlib.metadata import distribution
from pathlib import Path

import mgc


class Environment:
    """A folder that has links to mgc and some of the installed packages, and nothing else."""

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
        """Run a command of mgc. Python's own packages are all that it finds besides (-S)."""
        return subprocess.run(
            [sys.executable, "-S", "-m", "mgc", *args],
            env=os.environ | {"PYTHONPATH": str(self.folder)},
            capture_output=True,
            text=True,
        )
