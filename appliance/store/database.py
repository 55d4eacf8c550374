"""The one writing connection to a database: how it is opened, checked, and mended."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.exc import DatabaseError
from sqlalchemy.pool import StaticPool

from appliance.store import set_aside
from appliance.store.backup import back_up_daily
from appliance.store.migration import current_revision, revisions, upgrade
from appliance.store.reading import BUSY_SECONDS
from appliance.store.trouble import is_damage

Connect = Callable[[Path], Any]
"""Makes a DBAPI connection; Python's own sqlite3 unless a test has another."""


class Opened(NamedTuple):
    """`said`: what had to be done to the database, in a sentence for a person; mostly nothing."""

    engine: Engine
    said: str


class Damaged(Exception):
    """It opens, but its pages do not fit together."""


def connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)


def open_database(path: Path, connect: Connect = connect, **engine_options: Any) -> Opened:
    """Ready to be written, at this release's revision. One that is damaged is set aside, and a backup takes its place.

    Raises `CannotStart` for one that a newer release wrote, and what SQLite or the file system raise.
    """
    try:
        return Opened(_open(path, connect, engine_options), "")
    except (Damaged, DatabaseError, sqlite3.DatabaseError) as error:
        if not isinstance(error, Damaged) and not is_damage(error):
            raise
    said = set_aside.replace_damaged(path)
    return Opened(_open(path, connect, engine_options), said)


def _open(path: Path, connect: Connect, engine_options: dict[str, Any]) -> Engine:
    set_aside.finish(path)
    make_private(path)
    engine = create_engine("sqlite://", creator=lambda: connect(path), poolclass=StaticPool, **engine_options)
    event.listen(engine, "connect", lambda connection, _: _set_up(connection))
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    try:
        _check(engine)
        _back_up_before_an_upgrade(engine, path)
        with engine.begin() as connection:
            upgrade(connection)
    except BaseException:
        engine.dispose()
        raise
    return engine


def _back_up_before_an_upgrade(engine: Engine, path: Path) -> None:
    with engine.begin() as connection:
        revision = current_revision(connection)
    if revision is not None and revision in revisions()[:-1]:
        back_up_daily(path, time.time())


def make_private(path: Path) -> None:
    """A 0600 file in a 0700 directory; what SQLite puts beside it takes its mode."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path.parent.stat().st_mode & 0o077:
        path.parent.chmod(0o700)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    if path.stat().st_mode & 0o077:
        path.chmod(0o600)


def _set_up(connection: Any) -> None:
    """No mapped file: a fault of the disk is then an error and not a signal."""
    for setting in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON", "mmap_size = 0"):
        connection.execute(f"PRAGMA {setting}").fetchall()


def _check(engine: Engine) -> None:
    with engine.begin() as connection:
        found = connection.exec_driver_sql("PRAGMA integrity_check(1)").scalar()
    if found != "ok":
        raise Damaged(found)
