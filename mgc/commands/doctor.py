"""``mgc doctor``: check the installation."""

import faulthandler
import multiprocessing
import os
import platform
import re
import shlex
import sys
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import Distribution

import mgc
from mgc import locks, registry
from mgc.core.stopping import REQUEUE
from mgc.core.terminal import print_line, print_table, print_text
from mgc.errors import MgcError
from mgc.installation import broken_packages, find_clone, installed, pip_install
from mgc.libraries import (
    FailedImport,
    diagnose,
    duplicates,
    install_command,
    required_packages,
    untested,
)

#: Libraries to print.
LIBRARIES = (
    "torch", "torchvision", "torchaudio", "lightning", "torchmetrics", "timm", "soundfile",
    "librosa", "wandb",
)  # fmt: skip

#: Libraries to import, in this order. They contain or depend on compiled code.
COMPILED = ("torch", "torchvision", "torchaudio", "soundfile", "timm", "lightning")

#: Libraries to print and import in an installation for ONNX models only.
SERVING_LIBRARIES = ("onnxruntime", "numpy", "soundfile")

#: Audio formats to report if libsndfile reads them.
REPORTED_FORMATS = ("WAV", "AU", "FLAC", "OGG", "MP3")


@dataclass
class Findings:
    """Results of the checks.

    Attributes:
        problems: One-line descriptions of problems.
        fixes: Commands that fix problems.
        notes: One-line notes.
        broken: Modules that cannot be imported.
        reported: Packages for which a problem has been reported.
    """

    problems: list[str] = field(default_factory=list)
    fixes: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    broken: set[str] = field(default_factory=set)
    reported: set[str] = field(default_factory=set)

    def add(self, problem: str, fix: str = "") -> None:
        """Add a problem and the command that fixes it."""
        self.problems.append(problem)
        if fix and fix not in self.fixes:
            self.fixes.append(fix)

    def add_import(self, failed: FailedImport) -> None:
        """Add a failed import, unless a problem of the same package has been reported."""
        if failed.library not in self.reported:
            self.reported.add(failed.library)
            self.add(failed.reason, failed.fix)


def doctor() -> None:
    """Print installed libraries, devices and W&B mode, and check the installation.

    Imports PyTorch, related libraries, and every model and data set. Compares the installed
    versions with the requirements of mgc, its dependencies and plugins, and with the tested
    versions. Prints each problem and the commands that fix them. An untested version is not a
    problem. The exit code is 1 if there are problems, else 0.

    Example: mgc doctor

    Raises:
        SystemExit: With code 1 if there are problems.
    """
    # Incompatible libraries may crash the process. The printed stack shows which one did.
    faulthandler.enable(sys.__stderr__ or sys.stderr)
    found = Findings()
    print_text(
        f"mgc {mgc.__version__}, Python {platform.python_version()}, {platform.platform()}\n"
    )
    serving = locks.is_for_serving()
    if serving:
        print_text(f"Set-up: {locks.LOCKS['serve']}. For all commands: {pip_install()}\n")
        _check_serving(found)
    compiled = [name for name in SERVING_LIBRARIES if installed(name)]
    _import_compiled(found, compiled if serving else COMPILED)
    libraries = _libraries(SERVING_LIBRARIES if serving else LIBRARIES)
    print_table([("LIBRARY", "VERSION", ""), *libraries])
    print_line()
    if not serving and not {"torch", "lightning"} & found.broken:
        _print_devices(found)
        _print_wandb(found)
        print_line()
        _print_components(found)
    _check_versions(found, serving)
    _check_system(found)
    print_line()
    for kind, lines in (("problem", found.problems), ("fix", found.fixes), ("note", found.notes)):
        for line in lines:
            print_line(f"{kind}: {' '.join(line.split())}")
    if found.problems:
        raise SystemExit(1)
    print_line("No problems found.")


def unmet_requirements(dist: Distribution) -> Iterator[tuple[str, str]]:
    """Find unmet requirements of an installed package.

    Skips its requirement of mgc, which :func:`mgc.registry.load_claim` checks.

    Yields:
        Name of the required package, and the problem in one line.
    """
    from packaging.requirements import InvalidRequirement, Requirement
    from packaging.utils import canonicalize_name

    for text in dist.requires or []:
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            yield "", f"has an invalid requirement {text!r}"
            continue
        applies = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        if not applies:
            continue
        name = canonicalize_name(requirement.name)
        if name == registry.FORMER_NAME:
            yield (
                name,
                f"requires '{requirement.name}', which is another project on the package index; "
                f"require {mgc.DISTRIBUTION}{registry.mgc_versions(dist)}",
            )
        if name in registry.NAMES:
            continue
        found = installed(name)
        if found is None:
            yield name, f"needs {requirement}, which is not installed"
        elif not requirement.specifier.contains(found.version, prereleases=True):
            yield name, f"needs {requirement}, but {name} {found.version} is installed"


def _check_serving(found: Findings) -> None:
    names = [name for name, _ in locks.locked_versions("serve") if not installed(name)]
    if names:
        found.add(f"not installed: {', '.join(names)}. {locks.install_hint()}")


def _import_compiled(found: Findings, libraries: Sequence[str]) -> None:
    for name in libraries:
        try:
            import_module(name)
        except Exception as error:
            found.broken.add(name)
            failed = diagnose(error)
            if failed:
                found.add_import(failed)
            else:
                found.add(f"{name} cannot be imported: {type(error).__name__}: {error}")
            if name == "torch":
                found.broken |= set(libraries)
                return  # the others need torch


def _check_versions(found: Findings, serving: bool) -> None:
    """Compare installed versions with requirements and tested versions."""
    for line in broken_packages():
        found.add(line)
    plugins = {dist.name for dist in registry.packages().values()}
    required = required_packages(mgc.DISTRIBUTION, *plugins)
    for dist in filter(None, required.values()):
        if serving and dist.name == mgc.DISTRIBUTION:
            continue  # this installation lacks packages that only other commands need
        for name, line in unmet_requirements(dist):
            if installed(name) or name not in found.reported:
                fix = install_command(name) if name in required_packages() else ""
                found.add(f"{dist.name} {dist.version}: {line}", fix)
            if not installed(name):
                found.reported.add(name)  # report it once
    for name, records in duplicates(required):
        versions = " and ".join(record.name.removesuffix(".dist-info") for record in records)
        remove = f"rm -r {shlex.join(map(str, records))} && "
        found.add(
            f"{name} has several metadata folders in {records[0].parent}: {versions}",
            install_command(name) if find_clone() else remove + install_command(name),
        )
    differing = [f"{name} {has} ({tested})" for name, has, tested in untested()]
    if differing:
        found.notes.append(f"untested versions (tested in brackets): {', '.join(differing)}")


def _check_system(found: Findings) -> None:
    """Add notes on features that the operating system lacks."""
    if not REQUEUE:
        found.notes.append("no SIGUSR1 on this system: SLURM cannot announce the end of a job")
    if "fork" not in multiprocessing.get_all_start_methods():
        found.notes.append("no fork on this system: use --trainer.strategy ddp, not ddp_fork")


def _libraries(libraries: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    """Yield name, version and build details of each library."""
    for name in libraries:
        dist, note = installed(name), ""
        library = sys.modules.get(name)
        if name == "torch" and library:
            note = f"built for CUDA {library.version.cuda}" if library.version.cuda else "CPU only"
        elif name == "soundfile" and library:
            readable = [form for form in REPORTED_FORMATS if form in library.available_formats()]
            note = f"libsndfile {library.__libsndfile_version__}, reads {' '.join(readable)}"
        yield name, dist.version if dist else "-", note


def _print_devices(found: Findings) -> None:
    import torch

    print_line(f"device: cpu, {os.cpu_count()} cores, torch uses {torch.get_num_threads()}")
    with warnings.catch_warnings(record=True) as caught:
        # If the driver is too old, torch warns and finds no device.
        warnings.simplefilter("always")
        for number in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
            about = torch.cuda.get_device_properties(number)
            print_line(f"device: cuda:{number}, {about.name}, {about.total_memory / 2**30:.0f} GiB")
    if torch.backends.mps.is_available():
        print_line("device: mps")
    for warning in caught:
        found.add(_driver_problem(str(warning.message)) or str(warning.message))


def _driver_problem(warning: str) -> str:
    """Shorten PyTorch's warning about an old driver; return ``""`` for other warnings."""
    import torch

    old = re.search(r"driver on your system is too old \(found version (\d+)\)", warning)
    if not old:
        return ""
    supports = f"{int(old[1]) // 1000}.{int(old[1]) % 1000 // 10}"
    return (
        f"torch {torch.__version__} is built for CUDA {torch.version.cuda}, but the NVIDIA driver "
        f"supports CUDA {supports}, so the GPUs are not used. Update the driver, or install a "
        f"build of PyTorch, torchvision and torchaudio for CUDA {supports} or older."
    )


def _print_wandb(found: Findings) -> None:
    from mgc.runs.tracking import wandb_status

    try:
        status = wandb_status()
    except MgcError as error:
        found.add(str(error))
        return
    if status.mode == "online":
        print_line(f"W&B: runs are sent to {status.server}")
    elif status.mode == "offline":
        print_line(status.warning or f"W&B: runs are kept offline ({status.reason})")
    else:
        print_line(f"W&B: runs are not logged ({status.reason})")


def _print_components(found: Findings) -> None:
    """Import all registered components and print those that work."""
    works: dict[str, list[str]] = {name: [] for name in registry.packages()}
    for kind in registry.GROUPS:
        for name, claims in registry.find(kind).items():
            try:
                registry.load(kind, name)
            except MgcError as error:
                failed = diagnose(error)
                if failed:
                    found.add_import(failed)
                else:
                    found.add(str(error))
                continue
            works.setdefault(registry.owner(claims[0]), []).append(name)
    print_table(
        [
            ("PACKAGE", "WORKS"),
            *((name, ", ".join(names) or "nothing") for name, names in works.items()),
        ]
    )
