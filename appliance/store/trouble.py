"""What keeps a database from being written, told from a change that is itself wrong."""

from __future__ import annotations

import sqlite3

from sqlalchemy.exc import DBAPIError

from engine.errors import SemiPDError

_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_SENTENCES = {
    sqlite3.SQLITE_FULL: "the disk is full: free some space",
    sqlite3.SQLITE_READONLY: "it is read-only: make its file system writable",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened: see to its directory and free space",
    sqlite3.SQLITE_IOERR: "the disk reports errors: see to it",
    sqlite3.SQLITE_BUSY: "another program has locked it: end that program",
    sqlite3.SQLITE_LOCKED: "another program has locked it: end that program",
    sqlite3.SQLITE_PERM: "access is denied: see to its owner and mode",
    sqlite3.SQLITE_NOMEM: "there is no memory left",
    sqlite3.SQLITE_CORRUPT: "it is damaged",
    sqlite3.SQLITE_NOTADB: "it is damaged",
}


class StoreUnavailable(SemiPDError):
    """What was to be kept was not written, and the sentence says why."""


def trouble(error: Exception) -> str:
    """Why the database cannot be written; empty where it is the change that is wrong."""
    if isinstance(error, SemiPDError) and isinstance(error.__cause__, Exception):
        return trouble(error.__cause__)
    if isinstance(error, OSError):
        return f"its directory cannot be written: {error.strerror}"
    return _SENTENCES.get(_code(error), "")


def is_damage(error: Exception) -> bool:
    return _code(error) in _DAMAGED


def _code(error: Exception) -> int:
    """SQLite's primary result code; 0 where it is none of SQLite's errors."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    return getattr(cause, "sqlite_errorcode", 0) & 0xFF
