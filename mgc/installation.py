"""How mgc is installed."""

from shlex import quote

import mgc


def pip_install(extra: str = "") -> str:
    """Return the command that installs mgc.

    Args:
        extra: Optional dependencies, such as ``serve``.

    Returns:
        Such as ``pip install 'mgc-lightning[serve]'``.
    """
    return f"pip install {quote(mgc.DISTRIBUTION + (f'[{extra}]' if extra else ''))}"
