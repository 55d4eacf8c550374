"""`console.db`: its revisions, with data in it, and its one connection."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import suppress
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text

from engine.errors import CannotStart
from webui.accounts.audit import Actor, AuditLog
from webui.storage.database import Database
from webui.storage.migration import downgrade, revisions, upgrade
from webui.storage.schema import Base

ADA = Actor("ada", "127.0.0.1")


def test_revisions_lead_to_the_tables_the_code_knows(tmp_path: Path) -> None:
    database = Database(tmp_path / "console.db")
    with database.engine.begin() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
    database.close()


def test_each_revision_leads_back_and_forth_with_data(tmp_path: Path) -> None:
    database = Database(tmp_path / "console.db")
    audit = AuditLog(database)
    audit.add(ADA, "login", True, "Logged in.")
    before = None
    for revision in reversed(["base", *revisions()[:-1]]):
        with database.engine.begin() as connection:
            downgrade(connection, revision)
            assert revision != "base" or not connection.execute(text("SELECT * FROM alembic_version")).all()
        with database.engine.begin() as connection:
            upgrade(connection)
        before = revision
    assert before == "base"
    audit.add(ADA, "login", True, "Logged in again.")
    assert [entry.sentence for entry in audit.find().entries] == ["Logged in again."]
    database.close()


def test_a_newer_releases_database_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "console.db"
    Database(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    with pytest.raises(CannotStart, match="a newer release wrote it"):
        Database(path)


def test_what_is_written_survives_and_threads_take_turns(tmp_path: Path) -> None:
    database = Database(tmp_path / "console.db")
    audit = AuditLog(database)
    writers = [
        threading.Thread(target=lambda: [audit.add(ADA, "login", True, "Logged in.") for _ in range(25)])
        for _ in range(8)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    database.close()
    again = Database(tmp_path / "console.db")
    assert AuditLog(again).find().total == 200
    again.close()


def test_a_write_is_whole_or_not_at_all(tmp_path: Path) -> None:
    database = Database(tmp_path / "console.db")
    audit = AuditLog(database)
    insertion = "INSERT INTO users (name, password_hash, created_at) VALUES ('ada', '', 0)"
    with suppress(ZeroDivisionError), database.begin() as session:
        session.execute(text(insertion))
        _ = 1 / session.execute(text("SELECT count(*) - 1 FROM users")).scalar_one()
    with database.begin() as session:
        assert session.execute(text("SELECT count(*) FROM users")).scalar() == 0
    assert audit.find().total == 0
    database.close()


def test_the_audit_log_is_searched_and_paged(tmp_path: Path) -> None:
    database = Database(tmp_path / "console.db")
    audit = AuditLog(database)
    for number in range(60):
        audit.add(ADA, "key.add" if number % 2 else "login", number % 3 == 0, f"Number {number}, 100 %.", "why not")
    assert audit.find(page=2).total == 60 and len(audit.find(page=2).entries) == 10
    assert audit.find("number 17").total == 1
    assert audit.find("100 % why", action="login").total == 30
    assert audit.find("%%").total == 0
    assert audit.actions() == ["key.add", "login"]
    database.close()
