"""The power goes while the store is written: it opens again, whole, with everything that was acknowledged."""

from __future__ import annotations

import itertools
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from random import Random
from typing import NamedTuple

import pytest
from sqlalchemy import select

from appliance.store import keys, targets
from appliance.store.database import Opened, open_database
from appliance.store.journal import event
from appliance.store.keys import NewKey
from appliance.store.reading import FILE
from appliance.store.rollup import roll_up
from appliance.store.schema import events, slo_targets
from appliance.store.schema import keys as key_table
from appliance.store.targets import PolicySettings
from appliance.store.writer import Writer
from tests.store import apsw_dbapi
from tests.store.power_cut import cuts
from tests.store.recorded_disk import Acknowledged, Created, RecordedDisk
from tests.store.rows import second

CHANGES, STARTS = 60, 3
"""Of one recording: changes at each start, and starts."""
CUTS_OF_A_RECORDING = 100
WHOLE_OPENING_EVERY = 20
"""The store's own opening takes as long as ten looks at the tables, and does the same to the file."""

_names = itertools.count()


class Kept(NamedTuple):
    """What somebody was told is kept: a row of a table."""

    table: str
    value: str


def recorded(path: Path, dice: Random, has_syncs: bool = True) -> RecordedDisk:
    """A store's life on a disk that notes everything: several starts, settings, records and samples."""
    disk = RecordedDisk(f"recorded-{next(_names)}", has_syncs)
    disk.operations.append(Created(path.name))  # the store makes the file itself, before SQLite opens it

    def opened() -> Opened:
        return open_database(
            path, lambda file: apsw_dbapi.Connection(file, disk.name, "wal_autocheckpoint = 30"), module=apsw_dbapi
        )

    for start in range(STARTS):
        writer = Writer("The database", opened, lambda said: None)
        writer.start()
        for number in range(CHANGES):
            _change(writer, disk, f"{start}-{number}", start * CHANGES + number, dice)
        writer.stop()
    disk.unregister()
    return disk


def _change(writer: Writer, disk: RecordedDisk, name: str, number: int, dice: Random) -> None:
    """One of those that the controller makes; noted as acknowledged once the writer has said so."""
    now = time.time()
    match dice.choice(("target", "key", "revoke", "record", "sample", "sample", "sum-up")):
        case "target":
            writer.change(lambda c: targets.keep(c, PolicySettings(1.0, 2.0, 30.0, 60.0, 0.7, "auto"), "me", name, now))
            disk.operations.append(Acknowledged(Kept("slo_targets", name)))
        case "key":
            writer.change(lambda c: keys.add(c, NewKey(name, "me"), name, now))
            disk.operations.append(Acknowledged(Kept("keys", name)))
        case "revoke":
            writer.change(lambda c: keys.add(c, NewKey(name, "me"), name, now))
            writer.change(lambda c: keys.revoke(c, name, "me", now))
            disk.operations.append(Acknowledged(Kept("revoked", name)))
        case "record":
            writer.record(event("store", name * 200, now)).result()
            disk.operations.append(Acknowledged(Kept("events", name * 200)))
        case "sample":
            writer.sample(second(number))
        case "sum-up":
            writer.sample(lambda c: roll_up(c, 10 * number))


def look(directory: Path, is_whole_opening: bool) -> set[object]:
    """What the store has after the cut. Fails unless SQLite finds it whole."""
    path = directory / FILE
    if is_whole_opening:
        opened = open_database(path)
        opened.engine.dispose()
        assert not opened.said
    if not path.exists():
        return set()
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'events'").fetchall():
            return set()
        questions = {
            "slo_targets": select(slo_targets.c.reason),
            "keys": select(key_table.c.name),
            "revoked": select(key_table.c.name).where(key_table.c.revoked_at.is_not(None)),
            "events": select(events.c.sentence),
        }
        return {Kept(table, value) for table, query in questions.items() for (value,) in connection.execute(str(query))}


def losses(tmp_path: Path, cut_count: int, seed: int, has_syncs: bool = True) -> Iterator[str]:
    """A sentence for each cut after which something acknowledged is gone."""
    dice = Random(seed)
    operations = recorded(tmp_path / f"{seed}" / FILE, dice, has_syncs).operations
    for number, (files, acknowledged) in enumerate(cuts(operations, cut_count, dice)):
        directory = tmp_path / "after"
        directory.mkdir(mode=0o700, exist_ok=True)
        for old in directory.iterdir():
            old.unlink()
        for name, content in files.items():
            (directory / name).write_bytes(content)
        missing = set(acknowledged) - look(directory, number % WHOLE_OPENING_EVERY == 0)
        if missing:
            yield f"seed {seed}, cut {number}: {len(missing)} lost, such as {missing.pop()}"


@pytest.mark.parametrize("seed", range(2))
def test_nothing_acknowledged_is_lost_in_200_cuts(tmp_path: Path, seed: int) -> None:
    assert not list(losses(tmp_path, CUTS_OF_A_RECORDING, seed))


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(100, 200))
def test_nothing_acknowledged_is_lost_in_10000_cuts(tmp_path: Path, seed: int) -> None:
    assert not list(losses(tmp_path, CUTS_OF_A_RECORDING, seed))


def test_a_disk_that_lies_about_syncs_is_found_out(tmp_path: Path) -> None:
    """So the two tests above can fail."""
    with pytest.raises((AssertionError, sqlite3.DatabaseError)):
        assert not list(losses(tmp_path, CUTS_OF_A_RECORDING, 0, has_syncs=False))
