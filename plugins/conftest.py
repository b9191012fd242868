"""Makes the plugins of a checkout look installed, so that their tests run without installing them.

Whether they can be installed is tested in ``tests/test_plugins.py``.
"""

import os
import sys
import tempfile
import tomllib
from pathlib import Path

from isolation import isolate_wandb

# Before torch is imported: several test processes share the cores.
os.environ["OMP_NUM_THREADS"] = "1"
isolate_wandb()

#: What an installer would write of each package; removed when the tests end.
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
