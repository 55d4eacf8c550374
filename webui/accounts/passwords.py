"""Passwords: what is a good one, and how they are kept."""

from __future__ import annotations

from functools import cached_property
from threading import BoundedSemaphore

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

LEAST_CHARACTERS = 12
MOST_CHARACTERS = 256
AT_ONCE = 2
"""Each verification takes 64 MiB; a flood of log-ins must not take the memory that serves."""


class Passwords:
    """Argon2id."""

    def __init__(self, hasher: PasswordHasher) -> None:
        self._hasher = hasher
        self._turns = BoundedSemaphore(AT_ONCE)

    @cached_property
    def _nobodys(self) -> str:
        return self._hasher.hash("nobody has this password")

    def hash(self, password: str) -> str:
        with self._turns:
            return self._hasher.hash(password)

    def is_right(self, password: str, kept: str | None) -> bool:
        """Takes as long where there is no such user (`kept` is None), so that names cannot be tried out."""
        with self._turns:
            try:
                return self._hasher.verify(kept or self._nobodys, password) and kept is not None
            except (VerificationError, InvalidHashError):
                return False


def password_problem(password: str, name: str) -> str:
    """What is wrong with a password in one sentence; empty if it will do. Length is what makes them hard to guess."""
    if len(password) < LEAST_CHARACTERS:
        return (
            f"A password has at least {LEAST_CHARACTERS} characters; four words that do not belong together are good."
        )
    if len(password) > MOST_CHARACTERS:
        return f"A password has at most {MOST_CHARACTERS} characters."
    if len(set(password)) < 5 or (name and password.lower().startswith(name.lower())):
        return "This password is guessed too easily: use different characters, and not the name."
    return ""
