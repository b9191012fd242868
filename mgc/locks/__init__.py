"""Lock files: tested versions of all packages, with hashes.

Importing this module needs only the standard library, so that ``mgc locks`` works before the
packages of a lock are installed.
"""

from collections.abc import Iterator
from pathlib import Path

from mgc.installation import installed, pip_install

#: Lock files, and what can be done with their packages.
LOCKS = {
    "full": "all commands, extras and the tests",
    "serve": "mgc classify with ONNX models, without PyTorch",
}


def lock_path(name: str) -> Path:
    """Return the path of a lock file in pip's requirements format."""
    return Path(__file__).parent / f"{name}.txt"


def locked_versions(name: str) -> Iterator[tuple[str, str]]:
    """Yield name and version of the locked packages for this Python and operating system."""
    from packaging.requirements import Requirement

    for line in lock_path(name).read_text(encoding="utf-8").splitlines():
        if line[:1].isalnum():
            requirement = Requirement(line.removesuffix("\\"))
            if requirement.marker is None or requirement.marker.evaluate():
                yield requirement.name, str(requirement.specifier).removeprefix("==")


def is_for_serving() -> bool:
    """Check whether this installation has neither PyTorch nor Lightning, as with ``serve``."""
    return not installed("torch") and not installed("lightning")


def install_hint() -> str:
    """Return a sentence for error messages: how to install the packages that commands need."""
    return (
        f"For all commands: {pip_install()}. For mgc classify with an ONNX model: "
        'pip install --no-deps -r "$(mgc locks serve)".'
    )
