"""A damaged database is kept for whoever wants to look into it, and the last good backup takes its place."""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from contextlib import closing
from pathlib import Path

from appliance.store.reading import open_read_only

BACKUPS = "backups"
_SIDE_FILES = ("-wal", "-shm")


def replace_damaged(path: Path) -> str:
    """Rename it with what belongs to it, and put a copy of the latest good backup in its place; a sentence about it.

    Where there is no room for the copy nothing has changed, and a power cut in the middle is made good by `finish`.
    """
    backup = next(filter(is_good, backups_of(path)), None)
    if backup is not None:
        draft = path.with_suffix(".new")
        shutil.copyfile(backup, draft)
        draft.chmod(0o600)
        _sync(draft)
        draft.rename(_ready(path))
    kept_as = _put_away(path)
    finish(path)
    if backup is None:
        return f"The database was damaged and is kept as {kept_as}; there was no good backup, an empty one was begun."
    return (
        f"The database was damaged and is kept as {kept_as}; the backup {backup} took its place. What was changed "
        "since then is not in it, revoked keys included: look through `semi-pd keys list`."
    )


def finish(path: Path) -> None:
    """The copy that is to take the place of a database that was put away already, takes it."""
    if _ready(path).exists() and not path.exists():
        put_in_place(_ready(path), path)


def backups_of(path: Path) -> list[Path]:
    """The backups the appliance made by itself, latest first."""
    return sorted((path.parent / BACKUPS).glob(f"{path.stem}-*.db"), reverse=True)


def restorable(path: Path) -> list[Path]:
    """All that lies among the backups, what restorations replaced too, the latest first."""
    return sorted((path.parent / BACKUPS).glob("[!.]*.db"), key=lambda one: one.stat().st_mtime, reverse=True)


def is_good(path: Path) -> bool:
    """Whether it is a whole SQLite database."""
    try:
        with closing(open_read_only(path)) as connection:
            return connection.execute("PRAGMA integrity_check(1)").fetchone() == ("ok",)
    except sqlite3.DatabaseError:
        return False


def put_in_place(draft: Path, path: Path) -> None:
    """`draft` becomes the database, for good: nothing of an earlier one is left beside it."""
    _sync(draft)
    for suffix in _SIDE_FILES:
        Path(f"{path}{suffix}").unlink(missing_ok=True)
    _sync(path.parent)
    draft.rename(path)
    _sync(path.parent)


def _ready(path: Path) -> Path:
    return path.with_suffix(".ready")


def _put_away(path: Path) -> Path:
    kept_as = path.with_name(f"{path.stem}-damaged-{time.strftime('%Y%m%d-%H%M%S')}.db")
    for suffix in _SIDE_FILES:
        if (beside := Path(f"{path}{suffix}")).exists():
            beside.rename(f"{kept_as}{suffix}")
    path.rename(kept_as)
    _sync(path.parent)
    return kept_as


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
