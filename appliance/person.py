"""Who sits at the terminal, for the record."""

from __future__ import annotations

import getpass
import os


def person() -> str:
    """The user of this machine, also where sudo was used."""
    user = os.environ.get("SUDO_USER")
    try:
        return user or getpass.getuser()
    except OSError:  # a container's user need not have a name
        return f"uid {os.getuid()}"
