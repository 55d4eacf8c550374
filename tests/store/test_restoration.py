"""A backup takes the place of the database while a controller writes it and others read it."""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from multiprocessing.connection import Connection as Pipe
from pathlib import Path

import pytest
from sqlalchemy import Connection

from appliance.store import queries
from appliance.store.backup import BackupRefused, back_up, back_up_daily
from appliance.store.database import open_database
from appliance.store.journal import event
from appliance.store.key_book import KeyBook
from appliance.store.keys import NewKey, digest
from appliance.store.reading import FILE, open_read_only, reading
from appliance.store.restoration import KEPT_REPLACED, draft_of, take_in
from appliance.store.set_aside import BACKUPS, is_good, restorable
from appliance.store.store import Store
from appliance.store.trouble import StoreUnavailable
from appliance.store.writer import Writer
from engine.api_keys import parse_snapshot
from engine.config import PortArgs, ServerArgs
from engine.errors import CannotStart

SETTINGS = ServerArgs(device="cpu")


@pytest.fixture
def store(tmp_path: Path, runtime_dir: Path) -> Iterator[Store]:
    store = Store(tmp_path / "state", PortArgs(runtime_dir))
    store.start()
    store.settle(SETTINGS, (), "test")
    yield store
    store.stop()


def daily(store: Store) -> str:
    """The name of a backup of now."""
    back_up_daily(store.path, 0.0)
    return "appliance-19700101.db"


def said(path: Path) -> list[str]:
    with closing(open_read_only(path)) as connection:
        return [sentence for (sentence,) in connection.execute("SELECT sentence FROM events ORDER BY id")]


def test_it_is_as_it_was_and_what_was_there_is_kept(store: Store) -> None:
    store.change_policy("ada", "before", ttft_ms=700.0)
    store._writer.change(event("store", "in the backup", 1.0))
    name = daily(store)
    store.change_policy("ada", "after", ttft_ms=900.0)
    store._writer.change(event("store", "after it", 2.0))
    restored = store.restore(name, "console:ada")
    assert restored.policy is not None and restored.policy.ttft_ms == 700.0
    assert store.change_policy("ada", "goes on from there", tpot_ms=33.0).ttft_ms == 700.0
    (kept,) = (store.path.parent / BACKUPS).glob("replaced-*.db")
    assert kept.name in restored.sentence and "after it" in said(kept)
    assert "after it" not in said(store.path) and "in the backup" in said(store.path)
    assert said(store.path)[-1] == f"{restored.sentence} Asked for by console:ada."
    store.restore(kept.name, "console:ada")
    assert "after it" in said(store.path)
    assert sorted(path.name for path in store.path.parent.iterdir() if path.name != BACKUPS) == [
        FILE,
        f"{FILE}-shm",
        f"{FILE}-wal",
    ]


def test_a_reader_sees_all_of_before_or_of_after(store: Store) -> None:
    """Connections that were open before and a transaction in the middle of it, while the two change places."""
    store._writer.change(lambda connection: [event("store", "old", 1.0)(connection) for _ in range(500)])
    name = daily(store)
    store._writer.change(lambda c: c.exec_driver_sql("UPDATE events SET sentence = 'new' WHERE sentence = 'old'"))
    seen: list[tuple[int, int]] = []
    stop = threading.Event()

    def read() -> None:
        with closing(open_read_only(store.path)) as connection:
            while not stop.is_set():
                row = connection.execute("SELECT count(*) FILTER (WHERE sentence = 'old'), count(*) FILTER "
                                         "(WHERE sentence = 'new') FROM events").fetchone()  # fmt: skip
                seen.append(row)

    with closing(open_read_only(store.path)) as long:
        long.execute("BEGIN")
        before = long.execute("SELECT count(*) FROM events WHERE sentence = 'new'").fetchone()
        readers = [threading.Thread(target=read) for _ in range(2)]
        for reader in readers:
            reader.start()
        for _ in range(3):
            store.restore(name, "test")
        stop.set()
        for reader in readers:
            reader.join()
        assert before == long.execute("SELECT count(*) FROM events WHERE sentence = 'new'").fetchone() == (500,)
    assert set(seen) <= {(500, 0), (0, 500)} and (500, 0) in seen


def test_a_revoked_key_stays_revoked_and_no_id_is_used_again(store: Store, runtime_dir: Path) -> None:
    kept, revoked = store.keys.add(NewKey("kept", "ada")), store.keys.add(NewKey("revoked", "ada"))
    name = daily(store)
    later = store.keys.add(NewKey("later", "ada"))
    store.keys.revoke("revoked", "ada")
    store.restore(name, "test")
    valid = {key.sha256 for key in parse_snapshot(PortArgs(runtime_dir).keys_path.read_text())}
    assert digest(kept) in valid and not valid & {digest(revoked), digest(later)}
    with reading(store.path.parent) as connection:
        rows = {row["name"]: row for row in queries.all_keys(connection)}
    assert rows["revoked"]["revoked_by"] == "ada"
    store.keys.add(NewKey("newest", "ada"))
    with reading(store.path.parent) as connection:
        assert {row["name"]: row["id"] for row in queries.all_keys(connection)}["newest"] == 4


def test_a_bad_backup_is_refused_and_nothing_changes(store: Store) -> None:
    store._writer.change(event("store", "one", 1.0))
    directory = store.path.parent / BACKUPS
    newer = directory / daily(store)
    text, foreign, torn = (directory / f"appliance-{name}.db" for name in ("text", "foreign", "torn"))
    text.write_text("hello" * 1000)
    with closing(sqlite3.connect(foreign)) as connection:
        connection.execute("CREATE TABLE t (a)")
    content = newer.read_bytes()
    torn.write_bytes(content[: len(content) // 2])
    with closing(sqlite3.connect(newer)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    before = sorted(path.name for path in directory.iterdir()), said(store.path)
    for name, problem, sentence in (
        ("absent.db", BackupRefused, "There is no backup named absent.db"),
        (f"../{FILE}", BackupRefused, "There is no backup named"),
        (text.name, BackupRefused, "no whole SQLite database"),
        (torn.name, BackupRefused, "no whole SQLite database"),
        (foreign.name, BackupRefused, "not one of this appliance's"),
        (newer.name, CannotStart, "9999"),
    ):
        with pytest.raises(problem, match=sentence):
            store.restore(name, "test")
    assert (sorted(path.name for path in directory.iterdir()), said(store.path)) == before
    assert store.status["problem"] == ""
    store.change_policy("ada", "goes on", ttft_ms=800.0)


def test_a_disk_that_takes_no_more_of_it(tmp_path: Path) -> None:
    """What fits no more is taken back as a whole, and what was there is written on."""
    path, backup = tmp_path / "state" / FILE, tmp_path / "backup.db"
    writer = Writer("The database", lambda: open_database(path), lambda said: None)
    writer.start()
    writer.change(lambda connection: [event("store", "x" * 3000, 1.0)(connection) for _ in range(100)])
    back_up(path, backup)
    writer.change(lambda c: (c.exec_driver_sql("DELETE FROM events"), event("store", "small", 2.0)(c)))
    with draft_of(backup, path) as draft:

        def without_room(connection: Connection) -> None:
            before = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, before[1]))
            try:
                take_in(draft, connection)
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, before)

        with pytest.raises(StoreUnavailable, match="Nothing was changed. The database cannot be written: the disk"):
            writer.replace(without_room)
    assert said(path) == ["small"]
    writer.change(event("store", "goes on", 3.0))
    writer.stop()
    assert said(path) == ["small", "goes on"] and is_good(path)


def test_another_program_that_has_it_locked_is_no_reason_to_wait_for_ever(store: Store) -> None:
    name = daily(store)
    with closing(sqlite3.connect(store.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(BackupRefused, match="another program has locked the database"):
            store.restore(name, "test")
        other.execute("ROLLBACK")
    assert "is that of" in store.restore(name, "test").sentence


def test_the_latest_of_those_that_were_replaced_are_kept(store: Store) -> None:
    name = daily(store)
    for _ in range(KEPT_REPLACED + 2):
        store.restore(name, "test")
    names = [path.name for path in restorable(store.path)]
    assert len(names) == KEPT_REPLACED + 1 and name in names


def _go_to_and_fro(path: Path, runtime: Path, names: list[str], told: Pipe) -> None:
    writer = Writer("The database", lambda: open_database(path), lambda said: None)
    writer.start()
    book = KeyBook(path.parent, writer, PortArgs(runtime))
    while True:
        for name in names:
            with draft_of(path.parent / BACKUPS / name, path) as draft:
                told.send(name)
                book.replace(lambda draft=draft: writer.replace(lambda connection: take_in(draft, connection)))


def test_killed_in_the_middle(tmp_path: Path, runtime_dir: Path) -> None:
    """Whenever it happens, the database is whole, and all of it is of one backup."""
    path = tmp_path / FILE
    (tmp_path / BACKUPS).mkdir()
    for name in ("a", "b"):
        engine, _ = open_database(path)
        with engine.begin() as connection:
            connection.exec_driver_sql("DELETE FROM events")
            for _ in range(2000):
                event("store", name * 100, 1.0)(connection)
        engine.dispose()
        back_up(path, tmp_path / BACKUPS / f"{name}.db")
    spawn = multiprocessing.get_context("spawn")
    for kill in range(6):
        ours, theirs = spawn.Pipe()
        process = spawn.Process(target=_go_to_and_fro, args=(path, runtime_dir, ["a.db", "b.db"], theirs), daemon=True)
        process.start()
        for _ in range(3 + kill % 2):
            ours.recv()
        threading.Event().wait(kill * 0.001)  # nothing to wait for: another moment each time
        os.kill(process.pid or 0, signal.SIGKILL)
        process.join()
        engine, told = open_database(path)
        engine.dispose()
        assert not told
        assert said(path) in (["a" * 100] * 2000, ["b" * 100] * 2000)
