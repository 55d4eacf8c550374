"""What becomes of a database that is damaged, or that a newer release wrote; a disk that is read-only."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import select

from appliance.store import migration, set_aside
from appliance.store.backup import back_up_daily
from appliance.store.database import open_database
from appliance.store.journal import event
from appliance.store.reading import FILE, StoreUnreadable, reading
from appliance.store.schema import events
from appliance.store.trouble import StoreUnavailable
from appliance.store.writer import Writer
from engine.errors import CannotStart
from tests.unkind_machine import UnkindMachine


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A database with one event in it."""
    path = tmp_path / FILE
    write(path, "first")
    return path


def write(path: Path, sentence: str) -> None:
    engine, _ = open_database(path)
    with engine.begin() as connection:
        event("store", sentence, 1.0)(connection)
    engine.dispose()


def sentences(path: Path) -> list[str]:
    with reading(path.parent) as connection:
        return list(connection.execute(select(events.c.sentence)).scalars())


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[4096 : len(content)] = b"\x5a" * (len(content) - 4096)
    path.write_bytes(content)


@pytest.mark.parametrize("content", [b"no database at all" * 500, None])
def test_without_a_backup_an_empty_one_takes_its_place(path: Path, content: bytes | None) -> None:
    damage(path) if content is None else path.write_bytes(content)
    engine, said = open_database(path)
    engine.dispose()
    (kept,) = path.parent.glob("appliance-damaged-*.db")
    assert said == f"The database was damaged and is kept as {kept}; there was no good backup, an empty one was begun."
    assert sentences(path) == []


def test_the_latest_good_backup_takes_its_place(path: Path) -> None:
    back_up_daily(path, 86400.0)
    write(path, "second")
    back_up_daily(path, 2 * 86400.0)
    back_up_daily(path, 3 * 86400.0)
    damage(path.parent / "backups" / "appliance-19700104.db")
    damage(path)
    engine, said = open_database(path)
    engine.dispose()
    assert "appliance-19700103.db took its place" in said and "revoked keys" in said
    assert sentences(path) == ["first", "second"]
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_power_cut_while_the_backup_takes_its_place(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The damaged one has been renamed, and nothing is in its place yet."""
    back_up_daily(path, 86400.0)
    damage(path)

    class PowerCut(Exception):
        pass

    def cut(draft: Path, path: Path) -> None:
        raise PowerCut

    with monkeypatch.context() as until_the_next_start:
        until_the_next_start.setattr(set_aside, "put_in_place", cut)
        with pytest.raises(PowerCut):
            open_database(path)
    assert not path.exists()
    engine, said = open_database(path)
    engine.dispose()
    assert not said and sentences(path) == ["first"]


def test_damage_that_shows_while_it_is_written_is_mended_too(path: Path) -> None:
    said: list[str] = []
    writer = Writer("The database", lambda: open_database(path), said.append)
    writer.start()
    try:
        writer.change(
            lambda connection: connection.exec_driver_sql("PRAGMA shrink_memory")
        )  # else it is not read again
        damage(path)
        with pytest.raises(StoreUnavailable, match="it is damaged"):
            writer.change(event("store", "lost", 1.0))
        writer.change(event("store", "after", 1.0))
    finally:
        writer.stop()
    assert len(said) == 1 and sentences(path) == ["after"]


def test_an_older_releases_database_is_backed_up_and_brought_up_to_date(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripts = tmp_path / "migrations"
    shutil.copytree(migration.SCRIPTS, scripts)
    (scripts / "versions" / "next.py").write_text(
        "import sqlalchemy as sa\nfrom alembic import op\n"
        f"revision, down_revision = 'next', {migration.revisions()[-1]!r}\n"
        "def upgrade():\n"
        "    with op.batch_alter_table('events') as table:\n"
        "        table.add_column(sa.Column('colour', sa.String()))\n"
        "        table.alter_column('sentence', new_column_name='words')\n"
    )
    monkeypatch.setattr(migration, "SCRIPTS", scripts)
    engine, said = open_database(path)
    with engine.begin() as connection:
        assert connection.exec_driver_sql("SELECT words, colour FROM events").fetchall() == [("first", None)]
        assert migration.current_revision(connection) == "next"
    engine.dispose()
    (backup,) = set_aside.backups_of(path)
    with sqlite3.connect(backup) as copy:
        assert copy.execute("SELECT sentence FROM events").fetchall() == [("first",)]
    copy.close()
    assert not said


def test_a_newer_releases_database_is_left_alone(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(CannotStart, match="revision 9999, which this release does not know"):
        open_database(path)
    assert path.read_bytes() == before
    writer = Writer("The database", lambda: open_database(path), lambda said: None)
    with pytest.raises(CannotStart):
        writer.start()


def test_reading_where_there_is_none(tmp_path: Path) -> None:
    with pytest.raises(StoreUnreadable, match=FILE), reading(tmp_path):
        pass
    assert not list(tmp_path.iterdir())


def test_a_read_only_file_system_that_becomes_writable(path: Path) -> None:
    """In a mount namespace of its own: a real file system, mounted read-only and then not."""
    if not shutil.which("unshare") or subprocess.run(["unshare", "-Urm", "true"], capture_output=True).returncode:
        pytest.skip("this machine lets nobody make a mount namespace")
    script = Path(__file__).parent / "read_only_disk.py"
    command = ["unshare", "-Urm", sys.executable, str(script), str(path.parent)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_disk_that_reports_errors_and_then_no_longer(tmp_path: Path) -> None:
    machine = UnkindMachine(tmp_path)
    script, directory = Path(__file__).parent / "failing_disk.py", tmp_path / "state"
    environment = {**os.environ, **machine.environment}
    command = [sys.executable, str(script), str(directory)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2], env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    with reading(directory) as connection:
        sentences = connection.execute(select(events.c.sentence).order_by(events.c.id)).scalars().all()
    assert sentences == ["before", "kept", "after"]
