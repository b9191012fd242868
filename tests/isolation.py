"""Isolates tests from the user's W&B settings and logins."""

import os
import tempfile
from pathlib import Path

#: Replaces the user's settings folder.
_SETTINGS = tempfile.TemporaryDirectory()


def isolate_wandb() -> None:
    """Keep W&B runs offline, and hide environment variables, settings files and netrc."""
    for name in [name for name in os.environ if name.startswith(("WANDB_", "MGC_WANDB_"))]:
        del os.environ[name]
    os.environ |= {
        "WANDB_MODE": "offline",
        "WANDB_SILENT": "true",
        "WANDB_CONFIG_DIR": _SETTINGS.name,
        "NETRC": str(Path(_SETTINGS.name, "netrc")),
    }
