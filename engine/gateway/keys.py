"""API keys: who may ask, and how often. Keys themselves are never stored, only their SHA-256."""

from __future__ import annotations

import hashlib
import hmac
import logging
import math
import os
import time
from pathlib import Path
from typing import BinaryIO

from engine.api_keys import BadSnapshot, ValidKey, parse_snapshot
from engine.errors import RateLimited, Unauthorized
from engine.key_use import KeyUse

log = logging.getLogger(__name__)

_KEY_ID_LENGTH = 12
_SETTLED_NS = 1_000_000_000  # two writes within one tick of the file system's clock leave one time of change


class Keys:
    """The controller's file of valid keys (`engine.api_keys`); a change of it holds from the next request on.

    The last good one holds while the file is gone or cannot be understood; before the first, no key is valid.
    """

    def __init__(self, path: Path, use_path: Path | None = None):
        self._path = path
        self._use_path = use_path
        self._use: KeyUse | None = None
        self._version: tuple[int, int, int] | None = None
        self._valid: list[ValidKey] = []

    def check(self, authorization: str | None) -> str:
        """The key id (12 hex digits) of an `Authorization` header. Raises `Unauthorized`."""
        key = self._key(authorization)
        return key.sha256[:_KEY_ID_LENGTH]

    def enter(self, authorization: str | None) -> str:
        """As `check`, for a request that counts against the key's rate. Raises `Unauthorized` or `RateLimited`."""
        key = self._key(authorization)
        if wait := self._taken(key):
            raise RateLimited(
                f"This API key may send {key.requests_per_minute} requests a minute, and has.",
                retry_after_seconds=math.ceil(wait),
            )
        return key.sha256[:_KEY_ID_LENGTH]

    def _key(self, authorization: str | None) -> ValidKey:
        scheme, _, key = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not key.strip():
            raise Unauthorized("An API key is needed: send it as 'Authorization: Bearer KEY'.")
        digest = hashlib.sha256(key.strip().encode()).hexdigest()
        self._refresh()
        matches = [known for known in self._valid if hmac.compare_digest(digest, known.sha256)]
        if not matches:  # every key was compared, so the time taken tells nothing
            raise Unauthorized("This API key is not known here.")
        if matches[0].expires_at is not None and matches[0].expires_at <= time.time():
            raise Unauthorized("This API key has expired.")
        return matches[0]

    def _taken(self, key: ValidKey) -> float:
        """Seconds until there is room for another request; 0.0 if it was counted."""
        if key.number is None or self._use_path is None:
            return 0.0
        if self._use is None:
            self._use = KeyUse(self._use_path)
        return self._use.take(key.number, key.requests_per_minute, time.monotonic(), time.time())

    def _refresh(self) -> None:
        """Read the file again, unless it is the one that was read and had been left alone for a while then."""
        try:
            if self._version is not None and _version(os.stat(self._path)) == self._version:
                return
            with self._path.open("rb") as file:
                self._read(file)
        except FileNotFoundError:
            self._version = None

    def _read(self, file: BinaryIO) -> None:
        status = os.fstat(file.fileno())
        is_settled = time.time_ns() - status.st_mtime_ns > _SETTLED_NS
        try:
            self._valid = parse_snapshot(file.read().decode(errors="replace"))
        except BadSnapshot as error:
            log.error("%s The keys that were valid before stay so.", error)
        self._version = _version(status) if is_settled else None


def _version(status: os.stat_result) -> tuple[int, int, int]:
    return (status.st_ino, status.st_mtime_ns, status.st_size)
