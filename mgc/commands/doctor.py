"""``mgc doctor``: what is installed, and what is wrong with it."""

import os
import platform
import sys
import warnings
from collections.abc import Iterator, Sequence
from importlib import import_module
from importlib.metadata import Distribution, PackageNotFoundError, distribution, version

import mgc
from mgc import locks, registry
from mgc.core.terminal import print_table
from mgc.errors import MgcError

#: What training stands on, in the order of a first look.
LIBRARIES = ("torch", "lightning", "torchmetrics", "torchaudio", "soundfile", "librosa", "wandb")

#: Those that come with compiled code, which may not fit the machine: they are imported.
COMPILED = ("torch", "torchaudio", "soundfile", "lightning")

#: The same in a set-up for ONNX models only.
SERVING_LIBRARIES = ("onnxruntime", "numpy", "soundfile")

#: Formats that music comes in.
FORMATS = ("WAV", "AU", "FLAC", "OGG", "MP3")


def doctor() -> None:
    """Tell what is installed, which devices there are, and what is wrong.

    Looks at the versions that mgc and every plugin ask for, imports every model and data set, and
    checks whether W&B runs go online. Ends with a line for each problem. The exit code is 1 if
    there is any, so that scripts can ask; it is 0 if all is well.

    Example: mgc doctor

    Raises:
        SystemExit: With code 1 if something is wrong.
    """
    problems: list[str] = []
    print(f"mgc {mgc.__version__}, Python {platform.python_version()}, {platform.platform()}\n")
    serving = not locks.is_installed("torch") and not locks.is_installed("lightning")
    if serving:
        print(f"Set-up: {locks.LOCKS['serve']}. For all commands: pip install {mgc.DISTRIBUTION}\n")
        problems += _missing_for_serving()
    compiled = [name for name in SERVING_LIBRARIES if locks.is_installed(name)]
    broken = list(_import_compiled(compiled if serving else COMPILED))
    problems += broken
    libraries = _libraries(SERVING_LIBRARIES if serving else LIBRARIES)
    print_table([("LIBRARY", "VERSION", ""), *libraries])
    print()
    if not serving and not any(line.startswith(("torch ", "lightning ")) for line in broken):
        problems += _print_devices()
        problems += _print_wandb()
        print()
        problems += _print_components()
    for name, dist in registry.packages().items():
        if not serving or dist.name != mgc.DISTRIBUTION:
            problems += [f"{name}: {line}" for line in unmet(dist)]
    print()
    for line in problems:
        print("problem: " + " ".join(line.split()))
    if problems:
        raise SystemExit(1)
    print("All is well.")


def unmet(dist: Distribution) -> Iterator[str]:
    """Find the requirements of a package that the installed packages do not meet.

    The version of mgc that it requires is left to :func:`mgc.registry.load_claim`.

    Args:
        dist: An installed package.

    Yields:
        What is missing, of another version or of another project, in a line.
    """
    from packaging.requirements import InvalidRequirement, Requirement
    from packaging.utils import canonicalize_name

    for text in dist.requires or []:
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            yield f"its requirement {text!r} cannot be understood"
            continue
        applies = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        if not applies:
            continue
        name = canonicalize_name(requirement.name)
        if name == registry.FORMER_NAME:
            yield (
                f"requires '{requirement.name}', which is another project on the package index; "
                f"require {mgc.DISTRIBUTION}{registry.mgc_versions(dist)}"
            )
        if name in registry.NAMES:
            continue
        try:
            found = version(requirement.name)
        except PackageNotFoundError:
            yield f"needs {requirement}, which is not installed"
            continue
        if not requirement.specifier.contains(found, prereleases=True):
            yield f"needs {requirement}, but {requirement.name} {found} is installed"


def _missing_for_serving() -> Iterator[str]:
    names = [name for name, _ in locks.locked_versions("serve") if not locks.is_installed(name)]
    if names:
        yield f"not installed: {', '.join(names)}. {locks.install_hint()}"


def _import_compiled(libraries: Sequence[str]) -> Iterator[str]:
    for name in libraries:
        try:
            import_module(name)
        except Exception as error:
            yield f"{name} cannot be imported: {type(error).__name__}: {error}"


def _libraries(libraries: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    """Name and version of each library, and what else counts about it."""
    for name in libraries:
        try:
            found = distribution(name).version
        except PackageNotFoundError:
            found = "-"
        note = ""
        library = sys.modules.get(name)
        if name == "torch" and library:
            note = f"built for CUDA {library.version.cuda}" if library.version.cuda else "CPU only"
        elif name == "soundfile" and library:
            readable = [form for form in FORMATS if form in library.available_formats()]
            note = f"libsndfile {library.__libsndfile_version__}, reads {' '.join(readable)}"
        yield name, found, note


def _print_devices() -> list[str]:
    import torch

    print(f"device: cpu, {os.cpu_count()} cores, torch uses {torch.get_num_threads()}")
    with warnings.catch_warnings(record=True) as told:
        # A driver that is too old for this torch is a warning, and no device.
        warnings.simplefilter("always")
        for number in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
            about = torch.cuda.get_device_properties(number)
            print(f"device: cuda:{number}, {about.name}, {about.total_memory / 2**30:.0f} GiB")
    if torch.backends.mps.is_available():
        print("device: mps")
    return [str(warning.message) for warning in told]


def _print_wandb() -> list[str]:
    from mgc.runs.tracking import wandb_status

    try:
        status = wandb_status()
    except MgcError as error:
        return [str(error)]
    if status.mode == "online":
        print(f"W&B: runs are sent to {status.server}")
    elif status.mode == "offline":
        print(status.warning or f"W&B: runs are kept offline ({status.reason})")
    else:
        print(f"W&B: runs are not logged ({status.reason})")
    return []


def _print_components() -> list[str]:
    """Import everything that is registered; returns what could not be had."""
    problems = []
    works: dict[str, list[str]] = {name: [] for name in registry.packages()}
    for kind in registry.GROUPS:
        for name, claims in registry.find(kind).items():
            try:
                registry.load(kind, name)
            except MgcError as error:
                problems.append(str(error))
                continue
            works.setdefault(registry.owner(claims[0]), []).append(name)
    print_table(
        [
            ("PACKAGE", "WORKS"),
            *((name, ", ".join(names) or "nothing") for name, names in works.items()),
        ]
    )
    return problems
