"""The one-time token that claims a new console, or sets a new password: a file only the appliance's user can read.

Who can write into that directory owns the appliance already; so the command line needs no database to help out.
"""

from __future__ import annotations

import hmac
import os
import secrets
from pathlib import Path

ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"  # what is not mistaken for something else
GROUPS, LETTERS = 4, 5


class SetupToken:
    """In `state_dir`, 0600; there is one or none."""

    def __init__(self, state_dir: Path):
        self._path = state_dir / "setup-token"

    @property
    def value(self) -> str | None:
        try:
            return self._path.read_text().strip()
        except FileNotFoundError:
            return None

    def renew(self) -> str:
        """A new one, which makes the former worthless: 99 random bits."""
        groups = ("".join(secrets.choice(ALPHABET) for _ in range(LETTERS)) for _ in range(GROUPS))
        token = "-".join(groups)
        draft = self._path.with_suffix(".new")
        draft.unlink(missing_ok=True)
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(f"{token}\n")
        draft.rename(self._path)
        return token

    def is_right(self, given: str) -> bool:
        kept = self.value
        return kept is not None and hmac.compare_digest(kept.encode(), given.strip().lower().encode())

    def use_up(self) -> None:
        self._path.unlink(missing_ok=True)
