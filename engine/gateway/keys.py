"""API keys: who may ask. Keys themselves are never stored, only their SHA-256."""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path

from engine.errors import Unauthorized

_KEY_ID_LENGTH = 12


class Keys:
    """A file with the SHA-256 of each valid key in hex, one a line; read again when it changes.

    Without the file no key is valid.
    """

    def __init__(self, path: Path):
        self._path = path
        self._version: tuple[int, int, int] | None = None
        self._digests: list[bytes] = []

    def check(self, authorization: str | None) -> str:
        """The key id (12 hex digits) of an `Authorization` header. Raises `Unauthorized`."""
        scheme, _, key = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not key.strip():
            raise Unauthorized("An API key is needed: send it as 'Authorization: Bearer KEY'.")
        digest = hashlib.sha256(key.strip().encode()).hexdigest()
        matches = [hmac.compare_digest(digest.encode(), known) for known in self._current()]
        if not any(matches):  # every key was compared, so the time taken tells nothing
            raise Unauthorized("This API key is not known here.")
        return digest[:_KEY_ID_LENGTH]

    def _current(self) -> list[bytes]:
        version = self._file_version()
        if version != self._version:
            lines = self._path.read_text().split() if version else []
            self._digests = [line.lower().encode() for line in lines]
            self._version = version
        return self._digests

    def _file_version(self) -> tuple[int, int, int] | None:
        try:
            status = self._path.stat()
        except FileNotFoundError:
            return None
        return (status.st_ino, status.st_mtime_ns, status.st_size)
