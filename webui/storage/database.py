"""Opens `console.db`: one writing process, one connection for all its threads."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from sqlite3 import Connection as SQLiteConnection

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.orm import Session, sessionmaker

from webui.storage.migration import upgrade

WAIT_SECONDS = 10.0
OWN_BEGIN = {"isolation_level": None}
"""Python's own would begin a transaction only at the first write, and not for tables."""


class Database:
    """Everything happens within `begin`, and briefly: the other threads wait meanwhile."""

    def __init__(self, path: Path):
        path.touch(mode=0o600)
        self.engine = _engine(path)
        with self.engine.begin() as connection:
            upgrade(connection)
        self._sessions = sessionmaker(self.engine, expire_on_commit=False)

    def begin(self) -> AbstractContextManager[Session]:
        """A session whose changes are committed at its end, or all of them undone."""
        return self._sessions.begin()

    def close(self) -> None:
        self.engine.dispose()


def _engine(path: Path) -> Engine:
    """SQLite before 3.51.3 may damage a WAL that two connections write, so all threads take turns at one.

    A transaction need not say that it will write, then: nobody else does, and where nothing can be written one can
    read.
    """
    engine = create_engine(
        f"sqlite:///{path}", pool_size=1, max_overflow=0, pool_timeout=WAIT_SECONDS, connect_args=OWN_BEGIN
    )
    event.listen(engine, "connect", _prepare)
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))
    return engine


def _prepare(connection: SQLiteConnection, _: object) -> None:
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "mmap_size=0", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")
