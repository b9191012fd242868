"""Test how processes are started."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mgc.core.child_processes import SAFE_PATH, safe_imports
from mgc.errors import MgcError

PROGRAM = """
import multiprocessing
from joblib import delayed
from mgc.core.child_processes import run_parallel, safe_imports, uninterrupted_children

if __name__ == "__main__":
    with safe_imports():
        import local

        print(sorted(run_parallel((delayed(local.double)(n) for n in (1, 2)), 2)))
        for method in ("spawn", "forkserver"):
            with uninterrupted_children(), multiprocessing.get_context(method).Pool(1) as pool:
                print(pool.map(local.double, [3]))
"""


def test_files_of_the_working_folder_shadow_nothing(workdir: Path, tmp_path: Path) -> None:
    """Child processes import a module from the working folder, but not one named like another."""
    for name in ("random", "types", "numpy", "mgc"):
        Path(f"{name}.py").write_text("raise RuntimeError('shadowed')", encoding="utf-8")
    Path("local.py").write_text("import random\ndef double(n): return 2 * n\n", encoding="utf-8")
    program = tmp_path / "program.py"
    program.write_text(PROGRAM, encoding="utf-8")
    done = subprocess.run([sys.executable, str(program)], capture_output=True, text=True)
    assert done.stdout.splitlines() == ["[2, 4]", "[6]", "[6]"], done.stderr


def test_sockets_are_short_under_a_long_tmpdir(tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 140)
    folder.mkdir()
    program = (
        "import multiprocessing.util, tempfile\n"
        "from mgc.core.child_processes import uninterrupted_children\n"
        "with uninterrupted_children():\n"
        "    print(multiprocessing.util.get_temp_dir())\n"
        "print(tempfile.gettempdir())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"TMPDIR": str(folder)},
        capture_output=True,
        text=True,
        check=True,
    )
    sockets, files = map(Path, done.stdout.splitlines())
    assert len(str(sockets)) < 70
    assert not sockets.exists()  # removed when the process exits
    assert files == folder


@pytest.mark.parametrize("before", [None, "1"])
def test_paths_are_restored(before: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    if before is None:
        monkeypatch.delenv(SAFE_PATH, raising=False)
    else:
        monkeypatch.setenv(SAFE_PATH, before)
    paths = list(sys.path)
    with safe_imports():
        assert sys.path[-1] == os.getcwd()
        assert sys.path[: len(paths)] == paths
        assert os.environ[SAFE_PATH] == "1"
    assert sys.path == paths
    assert os.environ.get(SAFE_PATH) == before


def test_a_removed_working_folder_is_an_error(workdir: Path) -> None:
    folder = workdir / "removed"
    folder.mkdir()
    os.chdir(folder)
    folder.rmdir()
    with pytest.raises(MgcError, match="The working folder was removed"), safe_imports():
        pytest.fail("the folder is missing")
