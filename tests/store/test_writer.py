"""The one writer, on a good disk and on a bad one."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, insert

from appliance.store import queries, writer
from appliance.store.database import connect, open_database
from appliance.store.journal import event
from appliance.store.keys import KeyRefused, NewKey, add
from appliance.store.reading import FILE, reading
from appliance.store.schema import events
from appliance.store.trouble import StoreUnavailable
from appliance.store.writer import Writer
from tests.store.rows import second

PLENTY = 1 << 20


@dataclass
class Stand:
    """A writer on a disk with room for so many pages."""

    state_dir: Path
    pages: int = PLENTY
    said: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        path = self.state_dir / FILE
        self.writer = Writer("The database", lambda: open_database(path, self._connect), self.said.append)

    def _connect(self, path: Path) -> sqlite3.Connection:
        connection = connect(path)
        connection.execute(f"PRAGMA max_page_count = {self.pages}")
        return connection

    def fill_up(self) -> None:
        """From the next opening on nothing can be added; it is opened anew after any trouble."""
        used = self.writer.change(lambda c: c.exec_driver_sql("PRAGMA page_count").scalar_one())
        self.pages = used
        self.writer.change(lambda c: c.exec_driver_sql(f"PRAGMA max_page_count = {used}"))

    @property
    def sentences(self) -> list[str]:
        with reading(self.state_dir) as connection:
            return [row["sentence"] for row in queries.events(connection)]


@pytest.fixture
def stand(tmp_path: Path) -> Iterator[Stand]:
    stand = Stand(tmp_path / "state")
    stand.writer.start()
    yield stand
    stand.writer.stop()


def note(sentence: str) -> Any:
    return lambda connection: connection.execute(insert(events).values(at=1.0, kind="store", sentence=sentence))


def test_what_is_changed_can_be_read_by_others(stand: Stand) -> None:
    assert stand.writer.change(lambda connection: connection.exec_driver_sql("SELECT 7").scalar()) == 7
    stand.writer.change(note("one"))
    stand.writer.record(note("two")).result(10)
    assert stand.sentences == ["one", "two"]


def test_only_its_owner_can_read_the_files(stand: Stand) -> None:
    stand.writer.change(note("one"))
    assert stand.state_dir.stat().st_mode & 0o777 == 0o700
    assert {path.name for path in stand.state_dir.iterdir()} == {FILE, f"{FILE}-wal", f"{FILE}-shm"}
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in stand.state_dir.iterdir())


@pytest.mark.parametrize(("pragma", "value"), [("journal_mode", "wal"), ("mmap_size", 0), ("foreign_keys", 1)])
def test_how_the_connection_is_set_up(stand: Stand, pragma: str, value: object) -> None:
    assert stand.writer.change(lambda c: c.exec_driver_sql(f"PRAGMA {pragma}").scalar()) == value


def test_settings_and_records_are_synced_and_samples_are_not(stand: Stand) -> None:
    seen: list[tuple[str, object]] = []

    def look(name: str) -> Any:
        return lambda connection: seen.append((name, connection.exec_driver_sql("PRAGMA synchronous").scalar()))

    stand.writer.sample(look("sample"))
    stand.writer.record(look("record"))
    stand.writer.sample(look("sample"))
    stand.writer.change(look("setting"))
    assert seen == [("sample", 1), ("record", 2), ("sample", 1), ("setting", 2)]


def test_readers_cannot_write(stand: Stand) -> None:
    with reading(stand.state_dir) as connection, pytest.raises(Exception, match="readonly"):
        connection.execute(insert(events).values(at=1.0, kind="store", sentence="no"))


def test_a_change_that_is_wrong_is_its_callers_matter(stand: Stand) -> None:
    def half(connection: Connection) -> None:
        note("half")(connection)
        add(connection, NewKey("no such name!", "me"), "00", 1.0)

    with pytest.raises(KeyRefused):
        stand.writer.change(half)
    assert stand.sentences == [] and stand.writer.status["problem"] == ""


def test_a_full_disk(stand: Stand) -> None:
    stand.fill_up()
    big = "x" * 100_000
    with pytest.raises(StoreUnavailable, match="Nothing was changed. The database cannot be written: the disk is full"):
        stand.writer.change(note(big))
    kept = stand.writer.record(note(f"record {big}"))
    for number in range(3):
        stand.writer.sample(note(f"sample {number} {big}"))
    with pytest.raises(StoreUnavailable):
        stand.writer.change(note(big))
    status = stand.writer.status
    assert "the disk is full: free some space" in status["problem"]
    assert (status["waiting_records"], status["dropped_samples"], status["dropped_records"]) == (1, 3, 0)

    stand.pages = PLENTY
    stand.writer.change(note("after"))
    kept.result(10)
    assert [sentence[:6] for sentence in stand.sentences] == ["record", "after"]
    assert stand.writer.status["problem"] == "" and stand.writer.status["waiting_records"] == 0


def test_it_recovers_without_being_asked_for_a_setting(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "REOPEN_SECONDS", 0.0)
    stand.fill_up()
    kept = stand.writer.record(note("x" * 100_000))
    with pytest.raises(StoreUnavailable):
        stand.writer.change(note("y" * 100_000))
    stand.pages = PLENTY
    stand.writer.sample(second(1))
    kept.result(10)
    assert len(stand.sentences) == 1


def test_the_backlog_is_bounded_and_the_oldest_goes(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "BACKLOG", 2)
    stand.fill_up()
    kept = [stand.writer.record(note(f"{number} {'x' * 100_000}")) for number in range(3)]
    with pytest.raises(StoreUnavailable):
        kept[0].result(10)
    assert stand.writer.status["dropped_records"] == 1
    stand.pages = PLENTY
    stand.writer.change(note("after"))
    assert [sentence[0] for sentence in stand.sentences] == ["1", "2", "a"]


def test_the_end_writes_what_waits(tmp_path: Path) -> None:
    stand = Stand(tmp_path / "state")
    stand.writer.start()
    for number in range(100):
        stand.writer.record(event("store", str(number), 1.0))
    stand.writer.stop()
    assert len(stand.sentences) == 100
    assert {path.name for path in stand.state_dir.iterdir()} <= {FILE, f"{FILE}-wal", f"{FILE}-shm"}


def test_a_store_that_cannot_be_opened_does_not_keep_the_appliance_from_starting(tmp_path: Path) -> None:
    stand = Stand(tmp_path / "state", pages=3)
    stand.writer.start()
    assert "the disk is full" in stand.writer.status["problem"]
    stand.pages = PLENTY
    stand.writer.change(note("after"))
    assert stand.sentences == ["after"]
    stand.writer.stop()


def test_samples_do_not_pile_up_behind_a_slow_disk(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "QUEUED_SAMPLES", 0)
    stand.writer.sample(note("no"))
    stand.writer.change(note("yes"))
    assert stand.sentences == ["yes"] and stand.writer.status["dropped_samples"] == 1
