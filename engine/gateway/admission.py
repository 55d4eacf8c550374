"""The gateway's quick look before it works for a request. The scheduler decides; this only spares it the asking."""

from __future__ import annotations

from pathlib import Path

from engine.errors import Overloaded
from engine.scheduler.admission import too_long_a_wait, too_many_of_key
from engine.scheduler.load_table import NOT_READY, LoadSnapshot, LoadTable

_NOT_READY_RETRY_SECONDS = 2
_QUEUE_FULL_RETRY_SECONDS = 1


class LoadReader:
    """The load table, which may not exist yet when the gateway starts."""

    def __init__(self, path: Path):
        self._path = path
        self._table: LoadTable | None = None

    def read(self) -> LoadSnapshot:
        if self._table is None:
            try:
                self._table = LoadTable.open(self._path)
            except FileNotFoundError:
                return NOT_READY
        return self._table.read()

    def close(self) -> None:
        if self._table is not None:
            self._table.close()
            self._table = None


def admit(load: LoadSnapshot, key_id: str) -> None:
    """Raises `Overloaded` or `RateLimited` where asking the scheduler would be in vain."""
    if not load.ready:
        raise Overloaded("The engine is not ready yet.", retry_after_seconds=_NOT_READY_RETRY_SECONDS)
    # With a limit of 0 nothing may wait, but what starts at once is welcome: the scheduler knows.
    if load.waiting >= max(load.queue_limit, 1):
        raise Overloaded(
            f"{load.waiting} requests are waiting already, which is the limit.",
            retry_after_seconds=_QUEUE_FULL_RETRY_SECONDS,
        )
    if load.wait_limit_seconds and load.wait_seconds > load.wait_limit_seconds:
        raise too_long_a_wait(load.wait_seconds, load.wait_limit_seconds)
    live_of_key = load.live_by_key.get(key_id, 0)
    if load.key_limit and live_of_key >= load.key_limit:
        raise too_many_of_key(live_of_key)
