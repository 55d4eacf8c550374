"""The keys, and the gateways' copy of them: what is revoked here is refused there at the next request."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from appliance.store import keys, queries
from appliance.store.reading import StoreUnreadable, reading
from appliance.store.trouble import StoreUnavailable
from appliance.store.writer import Writer
from engine.api_keys import ValidKey, write_snapshot
from engine.config import PortArgs
from engine.key_use import KeyUse

log = logging.getLogger(__name__)

T = TypeVar("T")


class KeyBook:
    """A change is on the disk, and known to the gateways, when its method returns. Thread-safe."""

    def __init__(self, state_dir: Path, writer: Writer, ports: PortArgs):
        self._state_dir = state_dir
        self._writer = writer
        self._ports = ports
        self._use = KeyUse(ports.key_use_path)
        self._published: list[ValidKey] | None = None
        self._lock = threading.Lock()  # so that an older state of the table is never published after a newer one

    def adopt(self, secret: str, user: str) -> bool:
        """Have the first start's key among the others, and publish all; whether that key may still be used.

        While the database can neither be written nor read it is the only one, so that there is service.
        """
        sha256, now = keys.digest(secret), time.time()
        with self._lock:
            try:
                is_valid = self._writer.change(lambda connection: keys.adopt(connection, sha256, user, now))
                self._publish()
            except (StoreUnavailable, StoreUnreadable) as error:
                is_valid = self._publish_old(sha256, error)
        return is_valid

    def add(self, new: keys.NewKey) -> str:
        """The key itself, which is kept nowhere. Raises `KeyRefused` or `StoreUnavailable`."""
        secret, now = keys.new_secret(), time.time()
        with self._lock:
            self._writer.change(lambda connection: keys.add(connection, new, keys.digest(secret), now))
            self._publish()
        return secret

    def revoke(self, name: str, user: str) -> None:
        """Raises `KeyRefused` or `StoreUnavailable`."""
        now = time.time()
        with self._lock:
            self._note_use()  # afterwards nobody looks at this key again
            self._writer.change(lambda connection: keys.revoke(connection, name, user, now))
            self._publish()

    def replace(self, restore: Callable[[], T]) -> T:
        """Have the table replaced with all the rest; the gateways then know what the other one has."""
        with self._lock:
            self._note_use()
            restored = restore()
            self._publish()
        return restored

    def look(self) -> None:
        """A chore: keep when each key was used last, and see that the gateways know what the table has."""
        with self._lock:
            self._note_use()
            try:
                self._publish()
            except (StoreUnreadable, OSError) as error:
                log.error("The gateways keep the keys they have: %s", error)

    def close(self) -> None:
        self._use.close()

    def _note_use(self) -> None:
        used = [(key.number, self._use.last_used_at(key.number)) for key in self._published or () if key.number]
        noted = [(number, at) for number, at in used if at is not None]
        if noted:
            self._writer.sample(lambda connection: keys.note_use(connection, noted))

    def _publish(self) -> None:
        with reading(self._state_dir) as connection:
            valid = keys.for_gateways(queries.valid_keys(connection, time.time()))
        if valid != self._published:
            write_snapshot(self._ports.keys_path, valid)
            self._published = valid

    def _publish_old(self, sha256: str, error: Exception) -> bool:
        """The table as it was, or the first key alone."""
        log.error("%s", error)
        try:
            self._publish()
        except StoreUnreadable:
            write_snapshot(self._ports.keys_path, [ValidKey(sha256)])
            return True
        return any(key.sha256 == sha256 for key in self._published or ())
