"""As much of the DBAPI over apsw as SQLAlchemy's dialect asks for, so that the store runs on a `RecordedDisk`."""

from __future__ import annotations

from pathlib import Path
from sqlite3 import DatabaseError, Error, IntegrityError, NotSupportedError, OperationalError, ProgrammingError
from typing import Any

import apsw

__all__ = ["DatabaseError", "Error", "IntegrityError", "NotSupportedError", "OperationalError", "ProgrammingError"]

paramstyle = "qmark"
sqlite_version_info = tuple(int(part) for part in apsw.sqlite_lib_version().split("."))
sqlite_version = apsw.sqlite_lib_version()


class Connection:
    """A connection in autocommit mode, on the file system of that name."""

    isolation_level = None
    autocommit = True

    def __init__(self, path: Path, vfs: str, *pragmas: str):
        self._connection = apsw.Connection(str(path), vfs=vfs)
        for pragma in pragmas:
            self.execute(f"PRAGMA {pragma}")

    def cursor(self) -> Cursor:
        return Cursor(self._connection)

    def execute(self, sql: str) -> Cursor:
        return self.cursor().execute(sql)

    def create_function(self, name: str, count: int, function: Any, deterministic: bool = False) -> None:
        self._connection.create_scalar_function(name, function, count, deterministic=deterministic)

    def commit(self) -> None:
        if self._connection.in_transaction:
            self.execute("COMMIT")

    def rollback(self) -> None:
        if self._connection.in_transaction:
            self.execute("ROLLBACK")

    def close(self) -> None:
        self._connection.close()


class Cursor:
    """Fetches all at once: the statement is then over, and nothing holds a lock."""

    arraysize = 1

    def __init__(self, connection: apsw.Connection):
        self._connection = connection
        self._rows: list[Any] = []
        self.description: Any = None
        self.rowcount = -1
        self.lastrowid: int | None = None

    def execute(self, sql: str, parameters: Any = ()) -> Cursor:
        cursor = self._connection.cursor()
        cursor.exec_trace = self._note_columns
        cursor.execute(sql, tuple(parameters))
        self._rows = list(cursor)
        self.rowcount = self._connection.changes()
        self.lastrowid = self._connection.last_insert_rowid()
        return self

    def _note_columns(self, cursor: apsw.Cursor, sql: str, bindings: Any) -> bool:
        """Before it is executed: apsw forgets them with the last row, and there may be none."""
        columns = cursor.get_description()
        self.description = [(name, *[None] * 6) for name, *_ in columns] or None
        return True

    def executemany(self, sql: str, many: Any) -> Cursor:
        for parameters in many:
            self.execute(sql, parameters)
        return self

    def fetchone(self) -> Any:
        return self._rows.pop(0) if self._rows else None

    def fetchmany(self, size: int = 1) -> list[Any]:
        taken, self._rows = self._rows[:size], self._rows[size:]
        return taken

    def fetchall(self) -> list[Any]:
        taken, self._rows = self._rows, []
        return taken

    def close(self) -> None:
        self._rows = []
