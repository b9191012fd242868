"""Test reports of missing, broken and incompatible libraries."""

import os
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import Distribution, distribution, version
from pathlib import Path

import pytest

from mgc import libraries, locks
from mgc.libraries import (
    diagnose,
    duplicates,
    install_command,
    required_packages,
    untested,
)

TRIO = '"torch==2.15.0" "torchvision==0.29.2" "torchaudio==2.11.1"'

#: Code of libraries that fail like ones built for another version.
FAKES = {
    "torch": "raise ImportError('libcurand.so.10: cannot open shared object file')",
    "torchvision": "raise RuntimeError('operator torchvision::nms does not exist')",
    "torchaudio": (
        "try:\n"
        "    raise OSError(f'{__file__}/libtorchaudio.so: undefined symbol: torch_thing')\n"
        "except OSError as error:\n"
        "    raise OSError('Could not load this library: libtorchaudio.so') from error"
    ),
}


def write_package(folder: Path, name: str, code: str) -> None:
    """Write a package that hides the installed one if the folder is on PYTHONPATH."""
    (folder / name).mkdir(parents=True)
    (folder / name / "__init__.py").write_text(code, encoding="utf-8")


def run(folder: Path, *words: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    """Run mgc in a subprocess with the packages of a folder."""
    environment = os.environ | {"PYTHONPATH": str(folder), "WANDB_MODE": "disabled", **variables}
    command = [sys.executable, "-m", "mgc", *words]
    return subprocess.run(command, env=environment, text=True, capture_output=True, timeout=300)


@pytest.fixture
def outside_clone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Expect pip commands, also in the environment of make install."""
    monkeypatch.setattr(libraries, "find_clone", lambda: None)


@pytest.fixture
def versions(monkeypatch: pytest.MonkeyPatch, outside_clone: None) -> Callable[..., None]:
    """Return a function that changes installed versions (None: not installed)."""
    tested = {"torch": "2.15.0", "torchvision": "0.29.2", "torchaudio": "2.11.1", "timm": "1.0.31"}
    tested |= {"soundfile": "0.14.0", "numpy": "2.4.6"}
    monkeypatch.setattr(locks, "locked_versions", lambda name: tested.items())

    def change(**changes: str | None) -> None:
        has = {**tested, **changes}

        def installed(name: str) -> Distribution | None:
            if name not in has:
                return distribution(name)
            return Fake(name, has[name]) if has[name] else None

        monkeypatch.setattr(libraries, "installed", installed)

    change()
    return change


class Fake(Distribution):
    """Installed package with another version."""

    def __init__(self, name: str, version: str | None) -> None:
        self.text = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        self.text += "".join(f"Requires-Dist: {r}\n" for r in distribution(name).requires or [])

    def read_text(self, filename: str) -> str | None:
        return self.text if filename == "METADATA" else None

    def locate_file(self, path: object) -> Path:
        return Path("nowhere")


def importing(module: str, code: str) -> Exception:
    """Return the error raised by the code of a module."""
    with pytest.raises(Exception) as caught:  # noqa: PT011
        exec(compile(code, f"{module}/__init__.py", "exec"), {"__name__": module, "__file__": "x"})
    return caught.value


@pytest.mark.parametrize("library", ["torch", "torchaudio"])
def test_a_broken_library_is_reported_in_one_line(library: str, tmp_path: Path) -> None:
    write_package(tmp_path, library, FAKES[library])
    done = run(tmp_path, "fit", "--model=vgg_tagger", "--data=gtzan", f"--data.root={tmp_path}")
    assert done.returncode == 2
    (line,) = [line for line in done.stderr.splitlines() if not line.startswith("Seed set")]
    assert line.startswith(f"mgc: error: {library} {version(library)} cannot be imported")
    assert ("undefined symbol: torch_thing" if library == "torchaudio" else "") in line
    assert " install" in line.partition("Fix it with: ")[2]


def test_a_missing_library_is_reported_in_one_line(tmp_path: Path) -> None:
    # The metadata is installed, but the files are missing.
    hide = "import sys; sys.modules['soundfile'] = None"
    (tmp_path / "sitecustomize.py").write_text(hide, encoding="utf-8")
    done = run(tmp_path, "data", "synth", str(tmp_path / "songs"))
    assert done.returncode == 2
    assert done.stderr.startswith(f"mgc: error: soundfile {version('soundfile')} cannot be")
    assert done.stderr.count("\n") == 1
    assert "Traceback" in run(tmp_path, "data", "synth", "songs", MGC_TRACEBACK="1").stderr


def test_commands_without_the_library_work(tmp_path: Path) -> None:
    write_package(tmp_path, "torch", FAKES["torch"])
    done = run(tmp_path, "list")
    assert done.returncode == 0
    assert "vgg_tagger" in done.stdout


def test_the_message_names_both_versions_and_the_fix(versions: Callable[..., None]) -> None:
    versions(torch="2.12.1")
    failed = diagnose(importing("torchaudio", FAKES["torchaudio"]))
    assert failed is not None
    assert str(failed) == (
        "torchaudio 2.11.1 cannot be imported with torch 2.12.1: OSError: x/libtorchaudio.so: "
        f"undefined symbol: torch_thing. Fix it with: pip install {TRIO}"
    )


def test_causes_of_errors_are_diagnosed(versions: Callable[..., None]) -> None:
    cause = importing("torchvision", FAKES["torchvision"])
    error = importing("a_plugin", "raise ValueError('no such model')")
    error.__cause__ = cause
    failed = diagnose(error)
    assert failed is not None
    assert failed.library == "torchvision"


def test_long_messages_are_cut_after_a_sentence(versions: Callable[..., None]) -> None:
    first = "Detected that PyTorch and TorchAudio were compiled with different CUDA versions. "
    second = "PyTorch has CUDA version 13.2 whereas TorchAudio has CUDA version 13.0. "
    message = first + second + "Please install the TorchAudio version that matches your PyTorch."
    failed = diagnose(importing("torchaudio", f"raise RuntimeError({message!r})"))
    assert failed is not None
    assert failed.reason.endswith("whereas TorchAudio has CUDA version 13.0.")


def test_a_missing_name_in_a_library(versions: Callable[..., None]) -> None:
    failed = diagnose(importing("mgc.features", "from torch import no_such_thing"))
    assert failed is not None
    assert failed.library == "torch"
    assert "cannot import name 'no_such_thing'" in failed.reason


@pytest.mark.parametrize(
    ("module", "code"),
    [
        ("mgc.evaluation.projection", "import umap_that_nobody_has"),  # reported elsewhere
        ("a_plugin", "from torch import no_such_thing"),
        ("a_plugin", "raise RuntimeError('out of luck')"),
        ("mgc.cli", "{}['a']"),
    ],
)
def test_other_errors_are_not_diagnosed(module: str, code: str) -> None:
    assert diagnose(importing(module, code)) is None


def test_a_missing_library_with_another_import_name(versions: Callable[..., None]) -> None:
    versions(**{"scikit-learn": None})
    error = importing("mgc.evaluation.fusion", "import sklearn_gone")
    assert str(diagnose(error)).startswith("scikit-learn is not installed. Fix it with: pip")


def test_reinstallation_is_forced(versions: Callable[..., None]) -> None:
    versions(torch="2.15.0+cpu")  # equals 2.15.0 for pip
    assert install_command("torchvision") == f"pip install --force-reinstall {TRIO}"
    versions(torch="2.14.1")
    assert install_command("torchvision") == f"pip install {TRIO}"
    assert install_command("timm") == f'pip install {TRIO} "timm==1.0.31"'
    single = "pip install --force-reinstall --no-deps"
    assert install_command("soundfile") == f'{single} "soundfile==0.14.0"'


def test_clones_are_fixed_with_make(versions: Callable[..., None], monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(libraries, "find_clone", lambda: tmp_path / "my music")
    versions(torch="2.14.1")
    assert install_command("torch") == f"make -B -C '{tmp_path}/my music' install"
    versions()
    assert install_command("torch").startswith(f"rm -r '{tmp_path}/my music/.venv' && make -C ")


def test_untested_versions(versions: Callable[..., None]) -> None:
    versions(torch="2.15.0+cpu", torchvision="0.29.1", numpy="2.5.0")
    assert list(untested()) == [
        ("numpy", "2.5.0", "2.4.6"),
        ("torchvision", "0.29.1", "0.29.2"),
    ]


def test_requirements_of_requirements() -> None:
    required = required_packages()
    # Required by timm, soundfile and jsonargparse[signatures].
    assert {"torchvision", "cffi", "typeshed-client"} <= set(required)
    assert not {"umap-learn", "pytest"} & set(required)


def test_packages_installed_twice(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    for folder, name in {
        "torch-2.14.1": "torch",
        "torch-2.15.0": "torch",
        "~umpy-2.4.6": "numpy",
        "numpy-2.4.6": "NumPy",
        "timm-1.0.31": "timm",
        "empty-1.0": "",
    }.items():
        (tmp_path / f"{folder}.dist-info").mkdir()
        metadata = f"Name: {name}\nVersion: 1\n" if name else ""
        (tmp_path / f"{folder}.dist-info" / "METADATA").write_text(metadata, encoding="utf-8")
    found = {name: [path.name for path in paths] for name, paths in duplicates(["torch", "numpy"])}
    assert found == {
        "numpy": ["numpy-2.4.6.dist-info", "~umpy-2.4.6.dist-info"],
        "torch": ["torch-2.14.1.dist-info", "torch-2.15.0.dist-info"],
    }
