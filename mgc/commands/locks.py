"""``mgc locks``: print the path of a lock file."""

from mgc.core.terminal import print_text
from mgc.errors import MgcError
from mgc.locks import LOCKS, lock_path


def locks(name: str) -> None:
    """Print the path of a lock file for pip, with tested versions and hashes of all packages.

    "full" is for all commands. "serve", without PyTorch, is for mgc classify with ONNX models. pip
    verifies the hashes. With --no-deps, it installs only the locked packages.

    Example: pip install --no-deps -r "$(mgc locks serve)"

    Args:
        name: full or serve.

    Raises:
        MgcError: If there is no such lock.
    """
    if name not in LOCKS:
        raise MgcError(f"No lock named '{name}'. Available: {', '.join(LOCKS)}.")
    print_text(lock_path(name))
