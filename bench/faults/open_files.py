"""How many files this process may open: each connection takes one."""

from __future__ import annotations

import resource

from engine.errors import SemiPDError

BESIDE = 256
"""Files that a process has open beside its connections, and some to spare."""


class TooFewFiles(SemiPDError):
    """The machine does not let this user open so many."""


def allow(connections: int) -> None:
    """Raise the limit so that so many can be held. Raises `TooFewFiles` where that is not allowed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = connections + BESIDE
    if soft >= needed:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, max(needed, hard)))
    except (ValueError, OSError) as error:
        raise TooFewFiles(
            f"{connections} connections need {needed} open files, and the limit of this user (`ulimit -Hn`) is {hard}: "
            "raise it, or ask for fewer clients."
        ) from error
