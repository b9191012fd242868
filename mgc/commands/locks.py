"""``mgc locks``: paths of the lock files."""

from mgc.errors import MgcError
from mgc.locks import LOCKS, lock_path


def locks(name: str) -> None:
    """Print the path of a lock file: tested versions of all packages, with hashes, for pip.

    "full" is for all commands. "serve" is for mgc classify with ONNX models: it has no PyTorch.
    pip checks the hashes. With --no-deps, it installs nothing that is not in the lock.

    Example: pip install --no-deps -r "$(mgc locks serve)"

    Args:
        name: full or serve.

    Raises:
        MgcError: If there is no such lock.
    """
    if name not in LOCKS:
        raise MgcError(f"No lock named '{name}'. Known: {', '.join(LOCKS)}.")
    print(lock_path(name))
