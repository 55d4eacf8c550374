"""Read-only access to a database, for every process but the controller."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import Connection, create_engine
from sqlalchemy.exc import DatabaseError
from sqlalchemy.pool import NullPool

from engine.errors import SemiPDError

FILE = "appliance.db"
BUSY_SECONDS = 5.0


class StoreUnreadable(SemiPDError):
    """There is no database, or it cannot be read."""


def open_read_only(path: Path) -> sqlite3.Connection:
    """A connection that cannot write; it makes no file. Raises `sqlite3.OperationalError` where there is none."""
    uri = f"file:{quote(str(path))}?mode=ro"
    connection = sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS, check_same_thread=False)
    connection.execute("PRAGMA mmap_size = 0")
    return connection


@contextmanager
def reading(state_dir: Path) -> Iterator[Connection]:
    """A read-only connection to the appliance's database. Raises `StoreUnreadable`.

    Keep it short: as long as a transaction of it is open, the write-ahead log cannot be cut back.
    """
    path = state_dir / FILE
    engine = create_engine("sqlite://", creator=lambda: open_read_only(path), poolclass=NullPool)
    try:
        with engine.connect() as connection:
            yield connection
    except DatabaseError as error:
        raise StoreUnreadable(f"The database {path} cannot be read: {error.orig}.") from error
