"""Test the source distribution and the wheel built from it."""

import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from importlib.metadata import PathDistribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import mgc

ROOT = Path(__file__).parents[1]

#: Folders of a clone that are not copied for building, besides hidden ones.
IGNORED_FOLDERS = {"data", "runs", "build", "dist"}

#: Files that earlier commands may have left in a clone.
LEFTOVERS = (
    "mgc/__pycache__/cli.cpython-311.pyc",
    "mgc/plugin_template/model/__pycache__/example_net.cpython-311.pyc",
    "mgc/data/genres/blues/blues.00000.wav",
    "configs/__pycache__/x.pyc",
    "plugins/mgc-crnn/build/lib/mgc_crnn.py",
    "plugins/mgc-crnn/mgc_crnn.egg-info/PKG-INFO",
)


def build(kind: str, source: Path, out: Path) -> Path:
    """Build a distribution offline, as ``make dist`` does."""
    code = f"from setuptools import build_meta; print(build_meta.build_{kind}({str(out)!r}))"
    words = [sys.executable, "-c", code]
    done = subprocess.run(words, cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return out / done.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the unpacked source distribution of a clone."""
    folder = tmp_path_factory.mktemp("sdist")
    clone = folder / "clone"

    def ignore(place: str, names: list[str]) -> set[str]:
        hidden = {name for name in names if name.startswith(".")}
        return hidden | IGNORED_FOLDERS if Path(place) == ROOT else {"__pycache__"}

    shutil.copytree(ROOT, clone, ignore=ignore)
    for name in LEFTOVERS:
        (clone / name).parent.mkdir(parents=True, exist_ok=True)
        (clone / name).write_text(str(ROOT))
    with tarfile.open(build("sdist", clone, folder)) as archive:
        archive.extractall(folder, filter="data")
    (unpacked,) = folder.glob("mgc_lightning-*/")
    return unpacked


@pytest.fixture(scope="module")
def wheel(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the unpacked wheel built from the source distribution."""
    folder = tmp_path_factory.mktemp("wheel")
    source = Path(shutil.copytree(sdist, folder / "source"))  # building writes to it
    with zipfile.ZipFile(build("wheel", source, folder)) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


@pytest.fixture(scope="module")
def about(wheel: Path) -> PathDistribution:
    (path,) = wheel.glob("*.dist-info")
    return PathDistribution(path)


def files(folder: Path) -> set[str]:
    found = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return {path.as_posix() for path in found if "__pycache__" not in path.parts}


def test_files_of_the_wheel(wheel: Path) -> None:
    expected = {f"mgc/{name}" for name in files(ROOT / "mgc")}
    expected |= {f"mgc/configs/{name}" for name in files(ROOT / "configs")}
    assert {
        "mgc/py.typed",
        "mgc/locks/full.txt",
        "mgc/configs/sweeps/vgg_gtzan.yaml",
        "mgc/plugin_template/model/tests/test_example_net.py",
    } <= expected
    assert {name for name in files(wheel) if ".dist-info/" not in name} == expected


def test_files_of_the_source_distribution(sdist: Path) -> None:
    assert {path.name for path in sdist.iterdir()} == {
        *("configs", "docs", "mgc", "plugins", "scripts", "mgc_lightning.egg-info"),
        *("LICENSE", "MANIFEST.in", "PKG-INFO", "README.md"),
        *("pyproject.toml", "setup.cfg", "setup.py"),
    }
    assert {path.parent.name for path in sdist.glob("plugins/*/pyproject.toml")} == {
        path.parent.name for path in ROOT.glob("plugins/*/pyproject.toml")
    }


def test_no_machine_paths_or_leftovers(sdist: Path, wheel: Path) -> None:
    for folder in (sdist, wheel):
        paths = [path for path in folder.rglob("*") if path.is_file()]
        assert len(paths) > 200
        for path in paths:
            assert not {"__pycache__", "build", "genres"} & set(path.relative_to(folder).parts)
            content = path.read_bytes()
            for place in (ROOT, sdist.parent, sys.prefix, Path.home() / ".cache"):
                assert f"{place}/".encode() not in content, path


def test_metadata(about: PathDistribution) -> None:
    metadata = about.metadata
    assert (metadata["Name"], metadata["Version"]) == (mgc.DISTRIBUTION, mgc.__version__)
    assert (metadata["License-Expression"], metadata["License-File"]) == ("MIT", "LICENSE")
    assert metadata["Requires-Python"] == ">=3.11"
    assert "Typing :: Typed" in metadata.get_all("Classifier")
    needed = [Requirement(line) for line in about.requires or []]
    assert {"torch", "torchaudio", "lightning", "wandb"} <= {
        requirement.name for requirement in needed if requirement.marker is None
    }
    for requirement in needed:
        # No URLs, and not the name of another project.
        assert requirement.url is None
        assert requirement.name != "mgc"
    (command,) = about.entry_points.select(group="console_scripts")
    assert (command.name, command.value) == ("mgc", "mgc.cli:main")


def test_readme_installs_this_distribution(about: PathDistribution) -> None:
    extras = about.metadata.get_all("Provides-Extra")
    installed = re.findall(
        r"pip install '?([a-z][a-z-]+)(?:\[(\w+)\])?'?", about.metadata["Description"]
    )
    assert installed
    for name, extra in installed:
        assert name == mgc.DISTRIBUTION
        assert not extra or extra in extras


def test_configurations_are_found_without_a_clone(wheel: Path, workdir: Path) -> None:
    def run(*words: str) -> str:
        code = f"import sys; sys.path.insert(0, {str(wheel)!r}); "
        code += "import mgc.cli; mgc.cli.main(sys.argv[1:]); print(mgc.__file__)"
        done = subprocess.run(
            [sys.executable, "-P", "-c", code, *words], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[-1] == str(wheel / "mgc" / "__init__.py")
        return done.stdout

    listed = {line.split()[0] for line in run("configs").splitlines()}
    assert {"vgg_gtzan", "sweeps/vgg_gtzan"} <= listed
    assert (ROOT / "configs" / "vgg_gtzan.yaml").read_text() in run("configs", "vgg_gtzan")
