"""Fakes the metadata of the plugins, so that their tests run without installation.

``tests/test_plugins.py`` tests the installation.
"""

import os
import sys
import tempfile
import tomllib
from pathlib import Path

from isolation import isolate_wandb

# Must be set before torch is imported: several test processes share the cores.
os.environ["OMP_NUM_THREADS"] = "1"
isolate_wandb()

#: Metadata as written by an installer; removed after the tests.
METADATA = tempfile.TemporaryDirectory()

for path in sorted(Path(__file__).parent.glob("*/pyproject.toml")):
    project = tomllib.loads(path.read_text())["project"]
    info = Path(
        METADATA.name, f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    )
    info.mkdir()
    lines = ["Metadata-Version: 2.1", f"Name: {project['name']}", f"Version: {project['version']}"]
    lines += [f"Requires-Dist: {requirement}" for requirement in project["dependencies"]]
    (info / "METADATA").write_text("\n".join(lines) + "\n")
    with (info / "entry_points.txt").open("w") as file:
        for group, names in project["entry-points"].items():
            file.write(f"[{group}]\n")
            file.writelines(f"{name} = {value}\n" for name, value in names.items())
    sys.path.insert(0, str(path.parent))
sys.path.insert(0, METADATA.name)
