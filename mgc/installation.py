"""How mgc is installed."""

from shlex import quote

import mgc


def pip_install(extra: str = "") -> str:
    """Return the command that installs mgc.

    Args:
        extra: Optional dependencies, such as ``export``.

    Returns:
        Such as ``pip install 'mgc-lightning[export]'``.
    """
    return f"pip install {quote(mgc.DISTRIBUTION + (f'[{extra}]' if extra else ''))}"
