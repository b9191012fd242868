"""Lock files: tested versions of all packages, with hashes.

Importing this module needs the standard library only, so that ``mgc locks`` works before the
packages of a lock are installed.
"""

from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import mgc

#: Each lock file with the commands that it is enough for.
LOCKS = {
    "full": "all commands, extras and the tests",
    "serve": "mgc classify with ONNX models, without PyTorch",
}


def lock_path(name: str) -> Path:
    """Return the path of a lock file.

    Args:
        name: ``full`` or ``serve``.

    Returns:
        Absolute path of the file, in pip's requirements format.
    """
    return Path(__file__).parent / f"{name}.txt"


def locked_versions(name: str) -> Iterator[tuple[str, str]]:
    """Read the packages of a lock file that apply to this Python and operating system.

    Args:
        name: ``full`` or ``serve``.

    Yields:
        Name and version of a package.
    """
    from packaging.requirements import Requirement

    for line in lock_path(name).read_text(encoding="utf-8").splitlines():
        if line[:1].isalnum():
            requirement = Requirement(line.removesuffix("\\"))
            if requirement.marker is None or requirement.marker.evaluate():
                yield requirement.name, str(requirement.specifier).removeprefix("==")


def is_installed(name: str) -> bool:
    """Check whether a distribution is installed, without importing it.

    Args:
        name: Name on the package index, such as ``scikit-learn``.

    Returns:
        Whether it is.
    """
    try:
        distribution(name)
    except PackageNotFoundError:
        return False
    return True


def is_for_serving() -> bool:
    """Check whether this installation is for ONNX models only.

    Returns:
        Whether neither PyTorch nor Lightning is installed, as after ``pip install --no-deps``.
    """
    return not is_installed("torch") and not is_installed("lightning")


def install_hint() -> str:
    """Describe how to install the packages that commands need.

    Returns:
        A sentence for error messages.
    """
    return (
        f"For all commands: pip install {mgc.DISTRIBUTION}. For mgc classify with an ONNX model: "
        'pip install --no-deps -r "$(mgc locks serve)".'
    )
