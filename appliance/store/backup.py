"""Copies of a database while it is written, and back again."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from pathlib import Path

from sqlalchemy import create_engine
from sqlalchemy.pool import StaticPool

from appliance.store.migration import current_revision, require_known
from appliance.store.reading import StoreUnreadable, open_read_only
from appliance.store.set_aside import BACKUPS, backups_of, is_good, put_in_place
from engine.errors import SemiPDError

KEPT_BACKUPS = 14


class BackupRefused(SemiPDError):
    """A file that cannot be written, or is no backup."""


def back_up(database: Path, target: Path) -> None:
    """Write a copy that is whole and stands alone, 0600. Raises `BackupRefused` or `StoreUnreadable`."""
    draft = target.with_name(f".{target.name}.new")
    try:
        draft.unlink(missing_ok=True)
        draft.touch(mode=0o600)
        _copy(database, draft)
        put_in_place(draft, target)
    except OSError as error:
        raise BackupRefused(f"No backup can be written to {target}: {error.strerror}.") from error
    finally:
        if draft.parent.is_dir():
            draft.unlink(missing_ok=True)


def restore(source: Path, database: Path) -> None:
    """Put a backup in the database's place; nobody may have it open. Raises `BackupRefused` or `CannotStart`."""
    if not source.is_file() or not is_good(source):
        raise BackupRefused(f"{source} is no whole SQLite database: give a file that `semi-pd backup` has written.")
    _require_ours(source)
    database.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = database.with_suffix(".new")
    draft.unlink(missing_ok=True)
    draft.touch(mode=0o600)
    _copy(source, draft)
    put_in_place(draft, database)


def keep_replaced(database: Path, now: float) -> Path | None:
    """A copy of what a restoration will replace, among the backups; None if there is nothing that could be copied."""
    if not database.exists() or not is_good(database):
        return None
    directory = database.parent / BACKUPS
    directory.mkdir(mode=0o700, exist_ok=True)
    while (kept_as := directory / f"replaced-{_moment(now)}.db").exists():
        now += 1
    back_up(database, kept_as)
    return kept_as


def back_up_daily(database: Path, now: float) -> None:
    """One more among the appliance's own backups, of which the latest are kept; today's takes the place of today's."""
    directory = database.parent / BACKUPS
    directory.mkdir(mode=0o700, exist_ok=True)
    day = time.strftime("%Y%m%d", time.localtime(now))
    back_up(database, directory / f"{database.stem}-{day}.db")
    for old in backups_of(database)[KEPT_BACKUPS:]:
        old.unlink()


def _moment(at: float) -> str:
    return time.strftime("%Y%m%d-%H%M%S", time.localtime(at))


def _copy(source: Path, target: Path) -> None:
    """Page by page, by SQLite's own means; the copy needs no write-ahead log."""
    try:
        with closing(open_read_only(source)) as reader, closing(sqlite3.connect(target)) as copy:
            reader.backup(copy)
            copy.execute("PRAGMA journal_mode = DELETE")
    except sqlite3.DatabaseError as error:
        raise StoreUnreadable(f"The database {source} cannot be copied: {error}.") from error


def _require_ours(source: Path) -> None:
    engine = create_engine("sqlite://", creator=lambda: open_read_only(source), poolclass=StaticPool)
    try:
        with engine.connect() as connection:
            revision = current_revision(connection)
    finally:
        engine.dispose()
    if revision is None:
        raise BackupRefused(f"{source} is a database, but not one of this appliance's.")
    require_known(revision)
