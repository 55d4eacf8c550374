"""A file that is there as a whole or not at all: who reads it while it is written has the one before."""

from __future__ import annotations

import os
from pathlib import Path


def write_whole(path: Path, content: str, mode: int = 0o600) -> None:
    """`mode`, less the umask, is the file's. What somebody left half-written is written anew."""
    draft = path.with_suffix(".new")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "w") as file:
        file.write(content)
    draft.rename(path)
