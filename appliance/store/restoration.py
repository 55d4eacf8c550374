"""A backup takes the place of the database while the controller runs: it is copied in by the connection that writes."""

from __future__ import annotations

import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import Connection

from appliance.store import keys, queries
from appliance.store.backup import BackupRefused, restore
from appliance.store.database import open_database
from appliance.store.reading import FILE, StoreUnreadable, open_read_only, reading
from appliance.store.set_aside import restorable
from appliance.store.targets import PolicySettings
from appliance.store.trouble import StoreUnavailable, trouble

KEPT_REPLACED = 14
_SCRATCH = "restoring"
_LOCKED = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}


class Restored(NamedTuple):
    """`policy`: what holds from now on, None if the backup says nothing of it."""

    sentence: str
    policy: PolicySettings | None


def backup_named(name: str, database: Path) -> Path:
    """Raises `BackupRefused` for a name that is none of the backups beside the database."""
    for backup in restorable(database):
        if backup.name == name:
            return backup
    raise BackupRefused(f"There is no backup named {name}: nothing was changed.")


@contextmanager
def draft_of(backup: Path, database: Path) -> Iterator[Path]:
    """A copy of the backup as this release writes it, where keys that are revoked now are revoked too; gone afterwards.

    Whatever is wrong with the backup is found here, before the database is touched. Raises `BackupRefused`,
    `CannotStart` for what a newer release wrote, `StoreUnreadable` and `StoreUnavailable`.
    """
    scratch = database.parent / _SCRATCH
    shutil.rmtree(scratch, ignore_errors=True)  # of a controller that was killed in the middle
    try:
        restore(backup, scratch / FILE)
        _bring_up_to_date(scratch / FILE, _keys_of(database))
        yield scratch / FILE
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def take_in(draft: Path, connection: Connection) -> None:
    """In one transaction of SQLite's own: who reads meanwhile, or after a power cut, sees all of before or of after."""
    driver: Any = connection.connection.driver_connection  # past SQLAlchemy, which would begin another
    with closing(open_read_only(draft)) as reader:
        reader.backup(driver, progress=_not_locked)


def forget_replaced(database: Path) -> None:
    """The latest of the databases that a restoration replaced are kept."""
    replaced = [path for path in restorable(database) if path.name.startswith("replaced-")]
    for old in replaced[KEPT_REPLACED:]:
        old.unlink()


def sentence_of(backup: Path, made_at: float, kept_as: Path | None, policy: PolicySettings | None) -> str:
    when = time.strftime("%F %T", time.localtime(made_at))
    kept = f" What was there before is kept as {kept_as.name}." if kept_as else ""
    targets = f" In force: {policy}." if policy else ""
    return (
        f"The database is that of {backup.name} now, of {when}.{kept}{targets} Keys that were made since then are "
        "gone; those that were revoked stay so."
    )


def _keys_of(database: Path) -> list[queries.Row]:
    """None of a database that cannot be read."""
    try:
        with reading(database.parent) as connection:
            return queries.all_keys(connection)
    except StoreUnreadable:
        return []


def _bring_up_to_date(draft: Path, newer: list[queries.Row]) -> None:
    try:
        engine, _ = open_database(draft)
        try:
            with engine.begin() as connection:
                keys.carry_over(connection, newer)
        finally:
            engine.dispose()
    except Exception as error:
        if why := trouble(error):
            raise StoreUnavailable(f"Nothing was changed. The backup cannot be prepared: {why}.") from error
        raise


def _not_locked(status: int, remaining: int, pages: int) -> None:
    """Python would try again for ever, and the writer with it."""
    if status in _LOCKED:
        raise BackupRefused("Nothing was changed: another program has locked the database; end that program.")
