"""The one thread that writes a database. Whatever happens to the disk, its callers go on."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine

from appliance.store.change import Act, Change, Kind
from appliance.store.database import Opened
from appliance.store.trouble import StoreUnavailable, trouble

log = logging.getLogger(__name__)

T = TypeVar("T")

BACKLOG = 1000
QUEUED_SAMPLES = 60
ANSWER_SECONDS = 10.0
REOPEN_SECONDS = 5.0
"""For the sake of a sample or a record, a database that could not be opened is not tried again sooner."""


class _Stop:
    """The end of the queue."""


class Writer:
    """`open_database` is called in the writer's thread, again after each trouble; `on_said` hears what it had to do."""

    def __init__(self, name: str, open_database: Callable[[], Opened], on_said: Callable[[str], None]):
        self._name = name
        self._open_database = open_database
        self._on_said = on_said
        self._queue: queue.SimpleQueue[Change | _Stop] = queue.SimpleQueue()
        self._backlog: deque[Change] = deque()
        self._engine: Engine | None = None
        self._tried_at = float("-inf")
        self._problem = ""
        self._dropped_samples = 0
        self._dropped_records = 0
        self._thread = threading.Thread(target=self._run, name=f"{name}-writer", daemon=True)

    # ── for callers, from any thread ────────────────────────────────────────────────────────────────────────────────

    def start(self) -> None:
        """Open the database; changes may be handed in before that is done. Raises `CannotStart` as `open_database`."""
        self._thread.start()
        opened = Change(Kind.SETTING, lambda connection: None)
        self._queue.put(opened)
        error = opened.result.exception()
        if error is not None and not isinstance(error, StoreUnavailable):
            self.stop()
            raise error

    def change(self, act: Callable[[Connection], T]) -> T:
        """Write a setting, which is on the disk when this returns. Raises `StoreUnavailable`, or what `act` raises."""
        return self._ask(Change(Kind.SETTING, act))

    def replace(self, act: Callable[[Connection], T]) -> T:
        """As `change`, of the database as a whole: `act` is given the connection outside of any transaction."""
        return self._ask(Change(Kind.SETTING, act, in_transaction=False))

    def _ask(self, change: Change) -> Any:
        self._queue.put(change)
        try:
            return change.result.result(ANSWER_SECONDS)
        except TimeoutError:
            if change.result.cancel():
                raise StoreUnavailable(f"Nothing was changed: {self._name} is busy. Try again later.") from None
            return change.result.result()  # it has begun, and will end one way or the other

    def record(self, act: Act) -> Future[Any]:
        """Have something written that must not be lost; the future tells when it is."""
        change = Change(Kind.RECORD, act)
        self._queue.put(change)
        return change.result

    def sample(self, act: Act) -> None:
        """Have something written that is only worth it now."""
        if self._queue.qsize() < QUEUED_SAMPLES:
            self._queue.put(Change(Kind.SAMPLE, act))
        else:
            self._dropped_samples += 1

    @property
    def status(self) -> dict[str, Any]:
        """`problem`: why nothing can be written, "" if it can be. Counts are since the start."""
        return {
            "problem": self._problem,
            "waiting_records": len(self._backlog),
            "dropped_records": self._dropped_records,
            "dropped_samples": self._dropped_samples,
        }

    def stop(self) -> None:
        """Write what was handed in, and close the database. May be called again, and without `start`."""
        if self._thread.is_alive():
            self._queue.put(_Stop())
            self._thread.join()

    # ── in the thread ───────────────────────────────────────────────────────────────────────────────────────────────

    def _run(self) -> None:
        while isinstance(change := self._queue.get(), Change):
            self._take(change)
        self._write_backlog()
        self._close()

    def _take(self, change: Change) -> None:
        if not change.result.set_running_or_notify_cancel():
            return
        if change.kind is Kind.RECORD:
            self._keep(change)
        if change.kind is Kind.SETTING or self._may_open:
            self._write_backlog()
        if change.kind is Kind.SETTING or change.kind is Kind.SAMPLE:
            self._write_or_refuse(change)

    def _keep(self, change: Change) -> None:
        if len(self._backlog) == BACKLOG:
            self._backlog.popleft().result.set_exception(StoreUnavailable(self._problem))
            self._dropped_records += 1
        self._backlog.append(change)

    def _write_backlog(self) -> None:
        while self._backlog and self._write(self._backlog[0]):
            self._backlog.popleft()

    def _write_or_refuse(self, change: Change) -> None:
        is_worth_it = change.kind is Kind.SETTING or self._may_open
        if is_worth_it and self._write(change):
            return
        self._dropped_samples += change.kind is Kind.SAMPLE
        change.result.set_exception(StoreUnavailable(f"Nothing was changed. {self._problem}"))

    def _write(self, change: Change) -> bool:
        """Whether it is settled: written, or wrong in itself. If not, `_problem` says why."""
        try:
            value = self._committed(change)
        except Exception as error:
            if why := trouble(error):
                self._suffer(f"{self._name} cannot be written: {why}.", error)
                return False
            if change.kind is not Kind.SETTING:  # nobody hears of it otherwise
                log.exception("A change to %s failed.", self._name)
            change.result.set_exception(error)
            return True
        self._recover()
        change.result.set_result(value)
        return True

    def _committed(self, change: Change) -> Any:
        engine = self._engine or self._open()
        with engine.connect() as connection:
            _set_synchronous(connection, change.kind.synchronous)
            if not change.in_transaction:
                return change.act(connection)
            with connection.begin():
                return change.act(connection)

    @property
    def _may_open(self) -> bool:
        return self._engine is not None or time.monotonic() - self._tried_at >= REOPEN_SECONDS

    def _open(self) -> Engine:
        self._tried_at = time.monotonic()
        self._engine, said = self._open_database()
        if said:
            log.error("%s", said)
            self._on_said(said)
        return self._engine

    def _suffer(self, problem: str, error: Exception) -> None:
        """The connection is of no use any more: what it has open may be a file that is damaged, or read-only."""
        if problem != self._problem:
            log.error("%s (%s)", problem, error)
        self._problem = problem
        self._tried_at = time.monotonic()
        self._close()

    def _recover(self) -> None:
        if self._problem:
            log.warning("%s can be written again.", self._name)
        self._problem = ""

    def _close(self) -> None:
        if self._engine is not None:
            self._engine.dispose()
            self._engine = None


def _set_synchronous(connection: Connection, level: str) -> None:
    """Past SQLAlchemy, which would begin a transaction first: within one it cannot be set."""
    driver: Any = connection.connection.driver_connection
    driver.execute(f"PRAGMA synchronous = {level}")
