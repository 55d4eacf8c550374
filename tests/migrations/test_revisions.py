"""Every revision, up and down, with data in it; new revisions are tested as soon as they are there."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import event

from appliance.store import migration
from appliance.store.schema import schema

REVISIONS = migration.revisions()
ROWS = 3


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[sa.Engine]:
    """A database file, set up as the store does it, with nothing in it."""
    engine = sa.create_engine(
        f"sqlite:///{tmp_path / 'appliance.db'}", connect_args={"isolation_level": None}, poolclass=sa.pool.NullPool
    )
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    yield engine
    engine.dispose()


def tables_of(connection: sa.Connection) -> list[sa.Table]:
    """As they are in the database, not as the schema has them."""
    found = sa.MetaData()
    found.reflect(connection)
    return [table for table in found.sorted_tables if not table.name.startswith(("alembic_", "sqlite_"))]


def value(column: sa.Column, number: int) -> Any:
    """Some value of the column's type, another for each row."""
    kinds: dict[type, Any] = {
        sa.Integer: number, sa.Float: number + 0.5, sa.Boolean: number % 2 == 0, sa.JSON: {"row": number},
    }  # fmt: skip
    return next((kinds[kind] for kind in kinds if isinstance(column.type, kind)), f"{column.name} {number}")


def fill(connection: sa.Connection) -> None:
    for table in tables_of(connection):
        rows = [{column.name: value(column, number) for column in table.columns} for number in range(ROWS)]
        connection.execute(sa.insert(table), rows)


def contents(connection: sa.Connection) -> dict[str, list[dict[str, Any]]]:
    return {
        table.name: [dict(row) for row in connection.execute(sa.select(table)).mappings()]
        for table in tables_of(connection)
    }


def require_whole(connection: sa.Connection) -> None:
    assert connection.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"
    assert connection.exec_driver_sql("PRAGMA foreign_key_check").fetchall() == []


def require_kept(before: dict[str, list[dict[str, Any]]], after: dict[str, list[dict[str, Any]]]) -> None:
    """What both revisions have is the same in both."""
    for name in before.keys() & after.keys():
        assert len(after[name]) == len(before[name]), name
        for old, new in zip(before[name], after[name], strict=True):
            assert {column: new[column] for column in old.keys() & new.keys()} == {
                column: old[column] for column in old.keys() & new.keys()
            }, name


def test_there_is_one_line_of_revisions() -> None:
    assert REVISIONS and len(set(REVISIONS)) == len(REVISIONS)


def test_the_latest_revision_is_the_schema(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        migration.upgrade(connection)
        assert compare_metadata(MigrationContext.configure(connection), schema) == []


@pytest.mark.parametrize("revision", REVISIONS)
def test_up_from_a_revision_with_data_in_it(engine: sa.Engine, revision: str) -> None:
    with engine.begin() as connection:
        migration.upgrade(connection, revision)
        fill(connection)
        before = contents(connection)
    with engine.begin() as connection:
        migration.upgrade(connection)
        require_kept(before, contents(connection))
        require_whole(connection)
        assert migration.current_revision(connection) == REVISIONS[-1]


@pytest.mark.parametrize("revision", ["base", *REVISIONS])
def test_down_to_a_revision_with_data_in_it_and_up_again(engine: sa.Engine, revision: str) -> None:
    with engine.begin() as connection:
        migration.upgrade(connection)
        fill(connection)
        before = contents(connection)
    with engine.begin() as connection:
        migration.downgrade(connection, revision)
        require_kept(before, contents(connection))
        require_whole(connection)
    with engine.begin() as connection:
        migration.upgrade(connection)
        assert compare_metadata(MigrationContext.configure(connection), schema) == []


@pytest.mark.parametrize("revision", REVISIONS)
def test_a_migration_that_is_interrupted_has_not_begun(engine: sa.Engine, revision: str) -> None:
    with engine.connect() as connection, connection.begin() as transaction:
        migration.upgrade(connection, revision)
        assert tables_of(connection)
        transaction.rollback()
    with engine.begin() as connection:
        assert tables_of(connection) == [] and migration.current_revision(connection) is None


@pytest.mark.long
def test_migrations_are_in_the_wheel(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    sources = tmp_path / "sources"
    shutil.copytree(root, sources, ignore=shutil.ignore_patterns(".*", "__pycache__", "build", "*.egg-info"))
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--no-deps",
        "--no-build-isolation",
        "--wheel-dir",
        tmp_path,
        sources,
    ]
    subprocess.run(command, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    wanted = {path.relative_to(root).as_posix() for path in migration.SCRIPTS.rglob("*.py")}
    assert wanted | {"migrations/appliance/script.py.mako"} <= names
