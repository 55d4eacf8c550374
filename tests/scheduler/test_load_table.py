"""The load table between real processes, and what its readers see when a writer dies."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from engine.scheduler.load_table import KEY_SLOTS, NOT_READY, LoadSnapshot, LoadTable

FULL = LoadSnapshot(
    ready=True,
    waiting=3,
    running=17,
    free_pages=250,
    total_pages=1000,
    queue_limit=1024,
    max_model_len=4096,
    pool_tokens=16000,
    live_by_key={"0123456789ab": 12, "": 1, "ba9876543210": 7},
)

# Every field of a snapshot has the same value, so that a torn read shows.
WRITER = """
import sys
from pathlib import Path
from engine.scheduler.load_table import LoadSnapshot, LoadTable
table = LoadTable.create(Path(sys.argv[1]))
print("created", flush=True)
value = 0
while True:
    value += 1
    table.publish(LoadSnapshot(ready=True, waiting=value, running=value, free_pages=value, total_pages=value,
        queue_limit=value, max_model_len=value, pool_tokens=value,
        live_by_key={f"{slot:012x}": value for slot in range(value % 40)}))
"""

READER = """
import sys
from pathlib import Path
from engine.scheduler.load_table import LoadTable
table = LoadTable.open(Path(sys.argv[1]))
distinct = set()
while len(distinct) < 500:
    seen = table.read()
    if not seen.ready:
        continue
    values = {seen.waiting, seen.running, seen.free_pages, seen.total_pages, seen.queue_limit, seen.max_model_len,
        seen.pool_tokens, *seen.live_by_key.values()}
    assert len(values) == 1 and len(seen.live_by_key) == seen.waiting % 40, seen
    assert not distinct or seen.waiting >= max(distinct), (seen, max(distinct))
    distinct.add(seen.waiting)
print("consistent", flush=True)
"""


def test_a_reader_sees_what_was_published(tmp_path: Path) -> None:
    writer = LoadTable.create(tmp_path / "table")
    reader = LoadTable.open(tmp_path / "table")
    assert reader.read() == NOT_READY
    writer.publish(FULL)
    assert reader.read() == FULL
    assert reader.read().kv_usage == 0.75
    writer.publish(NOT_READY)
    assert reader.read() == NOT_READY
    assert NOT_READY.kv_usage == 0.0


def test_of_too_many_keys_the_busiest_are_kept(tmp_path: Path) -> None:
    writer = LoadTable.create(tmp_path / "table")
    writer.publish(LoadSnapshot(ready=True, live_by_key={f"{n:012x}": n for n in range(KEY_SLOTS + 10)}))
    kept = LoadTable.open(tmp_path / "table").read().live_by_key
    assert sorted(kept.values()) == list(range(10, KEY_SLOTS + 10))


def test_no_table_before_a_writer_made_it(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        LoadTable.open(tmp_path / "table")
    (tmp_path / "table").touch()
    with pytest.raises(FileNotFoundError):
        LoadTable.open(tmp_path / "table")


def test_a_writer_that_stopped_in_a_write_leaves_the_last_snapshot(tmp_path: Path) -> None:
    writer = LoadTable.create(tmp_path / "table")
    reader = LoadTable.open(tmp_path / "table")
    writer.publish(FULL)
    assert reader.read() == FULL
    _begin_a_write(tmp_path / "table")
    assert reader.read() == FULL
    assert LoadTable.open(tmp_path / "table").read() == NOT_READY
    restarted = LoadTable.create(tmp_path / "table")
    assert reader.read() == NOT_READY
    restarted.publish(FULL)
    assert reader.read() == FULL


def test_content_that_does_not_match_its_checksum_is_not_believed(tmp_path: Path) -> None:
    LoadTable.create(tmp_path / "table").publish(FULL)
    with (tmp_path / "table").open("r+b") as file:
        file.seek(28)  # the second number: waiting
        file.write((99).to_bytes(4, "little"))
    assert LoadTable.open(tmp_path / "table").read() == NOT_READY


def test_two_processes_never_tear_a_snapshot(tmp_path: Path) -> None:
    path = tmp_path / "table"
    with subprocess.Popen([sys.executable, "-c", WRITER, path], stdout=subprocess.PIPE, text=True) as writer:
        try:
            assert writer.stdout is not None and writer.stdout.readline() == "created\n"
            reader = subprocess.run(
                [sys.executable, "-c", READER, path], capture_output=True, text=True, timeout=60, check=False
            )
            assert (reader.stdout, reader.returncode) == ("consistent\n", 0), reader.stderr
        finally:
            writer.send_signal(signal.SIGKILL)
    survivor = LoadTable.open(path).read()
    assert survivor == NOT_READY or survivor.waiting == survivor.pool_tokens


def _begin_a_write(path: Path) -> None:
    """Do what a writer does first, and no more: make the sequence odd."""
    with path.open("r+b") as file:
        file.seek(8)
        sequence = int.from_bytes(file.read(8), "little")
        file.seek(8)
        file.write((sequence + 1).to_bytes(8, "little"))
