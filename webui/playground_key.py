"""The key that the playground asks with: the console's own, for inference alone, to tell its use from others'."""

from __future__ import annotations

import itertools
import os
import threading
import time

from appliance.store import queries
from appliance.store.keys import digest
from appliance.store.reading import StoreUnreadable, reading
from engine.errors import SemiPDError
from webui.accounts.audit import Actor
from webui.changes import Changes, KeyWish, key_in
from webui.config import ConsoleConfig

NAME = "playground"
REQUESTS_PER_MINUTE = 120


class NoKey(SemiPDError):
    """The playground has no key, and the sentence says why."""


class PlaygroundKey:
    """Kept in the console's directory, 0600; it never reaches a browser."""

    def __init__(self, config: ConsoleConfig, changes: Changes):
        self._config = config
        self._changes = changes
        self._path = config.state_dir / "playground-key"
        self._lock = threading.Lock()

    def value(self, actor: Actor) -> str:
        """The key; made, in `actor`'s name, where there is none that is valid. Raises `NoKey`."""
        with self._lock:
            kept = self._path.read_text().strip() if self._path.exists() else ""
            return kept if kept and self._is_valid(kept) else self._make(actor)

    def _is_valid(self, key: str) -> bool:
        try:
            with reading(self._config.instance.state_dir) as connection:
                return queries.key_of_digest(connection, digest(key), time.time()) is not None
        except StoreUnreadable:
            return True  # whom the gateway knows does not depend on what can be read here

    def _make(self, actor: Actor) -> str:
        wish = KeyWish(self._free_name(), requests_per_minute=REQUESTS_PER_MINUTE)
        reply = self._changes.add_key(actor, wish)
        if not reply.done:
            raise NoKey(f"The playground has no key of its own: {reply.sentence}")
        key = key_in(reply)
        try:
            self._keep(key)
        except OSError as error:
            self._changes.revoke_key(actor, wish.name)  # or each question would leave another key behind
            reason = os.strerror(error.errno or 0).lower()
            raise NoKey(f"The playground's key cannot be kept in {self._path.parent}: {reason}.") from error
        return key

    def _keep(self, key: str) -> None:
        draft = self._path.with_suffix(".new")
        draft.unlink(missing_ok=True)
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(f"{key}\n")
        draft.rename(self._path)

    def _free_name(self) -> str:
        """`playground`, or `playground-2` where that was revoked: no name is used twice."""
        try:
            with reading(self._config.instance.state_dir) as connection:
                taken = {row["name"] for row in queries.keys(connection)}
        except StoreUnreadable as error:
            raise NoKey(f"The playground has no key of its own: {error}") from error
        names = itertools.chain([NAME], (f"{NAME}-{number}" for number in itertools.count(2)))
        return next(name for name in names if name not in taken)
