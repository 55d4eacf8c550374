"""Backups: taken while the store is written, put back when nothing runs."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import pytest

from appliance.store import queries
from appliance.store.backup import KEPT_BACKUPS, BackupRefused, back_up, back_up_daily, keep_replaced, restore
from appliance.store.database import open_database
from appliance.store.journal import event
from appliance.store.reading import FILE, StoreUnreadable, reading
from appliance.store.set_aside import is_good
from appliance.store.writer import Writer
from engine.errors import CannotStart


def sentences(state_dir: Path) -> list[str]:
    with reading(state_dir) as connection:
        return [row["sentence"] for row in queries.events(connection, 10_000)]


def write(path: Path, *said: str) -> None:
    engine, _ = open_database(path)
    with engine.begin() as connection:
        for sentence in said:
            event("store", sentence, 1.0)(connection)
    engine.dispose()


def test_a_backup_while_it_is_written_has_all_up_to_some_moment(tmp_path: Path) -> None:
    writer = Writer("The database", lambda: open_database(tmp_path / FILE), lambda said: None)
    writer.start()
    go_on = threading.Event()
    go_on.set()

    def fill() -> None:
        number = 0
        while go_on.is_set():
            writer.change(event("store", str(number), 1.0))
            number += 1

    filling = threading.Thread(target=fill)
    filling.start()
    (tmp_path / "after").mkdir(mode=0o700)
    copies = []
    for number in range(5):
        target = tmp_path / "after" / f"{number}.db"
        back_up(tmp_path / FILE, target)
        assert is_good(target) and target.stat().st_mode & 0o777 == 0o600
        with sqlite3.connect(target) as copy:
            copies.append([int(said) for (said,) in copy.execute("SELECT sentence FROM events ORDER BY id")])
        copy.close()
    go_on.clear()
    filling.join()
    writer.stop()
    assert all(copy == list(range(len(copy))) for copy in copies)
    assert sorted(path.name for path in (tmp_path / "after").iterdir()) == [f"{number}.db" for number in range(5)]


def test_restored_is_as_backed_up(tmp_path: Path) -> None:
    database, backup = tmp_path / "state" / FILE, tmp_path / "backup"
    write(database, "one")
    back_up(database, backup)
    write(database, "two")
    kept = keep_replaced(database, 0.0)
    restore(backup, database)
    assert sentences(database.parent) == ["one"]
    write(database, "three")
    assert sentences(database.parent) == ["one", "three"]
    assert kept is not None and is_good(kept)
    restore(kept, database)
    assert sentences(database.parent) == ["one", "two"]


def test_a_write_ahead_log_of_before_does_not_reach_what_was_restored(tmp_path: Path) -> None:
    """As a killed controller leaves it."""
    database, backup = tmp_path / "state" / FILE, tmp_path / "backup"
    write(database, "one")
    back_up(database, backup)
    killed = open_database(database).engine
    with killed.begin() as connection:
        event("store", "in the log only", 1.0)(connection)
    log = Path(f"{database}-wal")
    content = log.read_bytes()
    assert content
    killed.dispose()
    log.write_bytes(content)
    restore(backup, database)
    assert sentences(database.parent) == ["one"]


def test_what_is_no_backup_is_refused_and_nothing_changes(tmp_path: Path) -> None:
    database = tmp_path / "state" / FILE
    write(database, "one")
    text, foreign, newer = tmp_path / "text", tmp_path / "foreign", tmp_path / "newer"
    text.write_text("hello" * 1000)
    with sqlite3.connect(foreign) as connection:
        connection.execute("CREATE TABLE t (a)")
    connection.close()
    back_up(database, newer)
    with sqlite3.connect(newer) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    for source, problem, sentence in (
        (tmp_path / "absent", BackupRefused, "no whole SQLite database"),
        (text, BackupRefused, "no whole SQLite database"),
        (foreign, BackupRefused, "not one of this appliance's"),
        (newer, CannotStart, "9999"),
    ):
        with pytest.raises(problem, match=sentence):
            restore(source, database)
    assert sentences(database.parent) == ["one"]


def test_what_cannot_be_backed_up(tmp_path: Path) -> None:
    write(tmp_path / FILE, "one")
    with pytest.raises(BackupRefused, match="No backup can be written to /proc/no/such"):
        back_up(tmp_path / FILE, Path("/proc/no/such"))
    with pytest.raises(StoreUnreadable):
        back_up(tmp_path / "absent.db", tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_the_latest_daily_backups_are_kept(tmp_path: Path) -> None:
    write(tmp_path / FILE, "one")
    for day in range(KEPT_BACKUPS + 3):
        back_up_daily(tmp_path / FILE, 86400.0 * (day + 0.5))
        back_up_daily(tmp_path / FILE, 86400.0 * (day + 0.5))
    names = sorted(path.name for path in (tmp_path / "backups").iterdir())
    assert len(names) == KEPT_BACKUPS and names[-1].endswith(f"{KEPT_BACKUPS + 3}.db")
