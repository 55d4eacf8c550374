"""API keys: who may ask. Keys themselves are never stored, only their SHA-256."""

from __future__ import annotations

import hashlib
import hmac
import os
import time
from pathlib import Path
from typing import BinaryIO

from engine.errors import Unauthorized

_KEY_ID_LENGTH = 12
_SETTLED_NS = 1_000_000_000  # two writes within one tick of the file system's clock leave one time of change


class Keys:
    """A file with the SHA-256 of each valid key in hex, one a line; a change of it holds from the next request on.

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
        self._refresh()
        matches = [hmac.compare_digest(digest.encode(), known) for known in self._digests]
        if not any(matches):  # every key was compared, so the time taken tells nothing
            raise Unauthorized("This API key is not known here.")
        return digest[:_KEY_ID_LENGTH]

    def _refresh(self) -> None:
        """Read the file again, unless it is the one that was read and had been left alone for a while then."""
        try:
            if self._version is not None and _version(os.stat(self._path)) == self._version:
                return
            with self._path.open("rb") as file:
                self._read(file)
        except FileNotFoundError:
            self._version, self._digests = None, []

    def _read(self, file: BinaryIO) -> None:
        status = os.fstat(file.fileno())
        self._digests = [line.lower() for line in file.read().split()]
        is_settled = time.time_ns() - status.st_mtime_ns > _SETTLED_NS
        self._version = _version(status) if is_settled else None


def _version(status: os.stat_result) -> tuple[int, int, int]:
    return (status.st_ino, status.st_mtime_ns, status.st_size)
