"""The journal as a source of logs. A stand-in for `journalctl` gives entries that a real one was seen to give."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.webui import journalctl
from tests.webui.stand import Browser
from webui.logs.files import LogFiles
from webui.logs.journal import UNITS, Journal, JournalTail
from webui.logs.journal_entry import line_of, unit_of
from webui.logs.line import LogFilter, LogLine
from webui.logs.source import logs_of_appliance
from webui.services import NAME

SYSTEMD = Path(__file__).parent.parent.parent / "systemd"
AT = 1795390913866024
"""2026-11-22T23:41:53.866024Z"""


def entry(unit: str, message: Any, *, at: int = AT, **fields: str) -> dict[str, Any]:
    """As journald keeps a line of a service's standard output."""
    time_and_place = {
        "__CURSOR": "s=926f7ab5;i=25", "__REALTIME_TIMESTAMP": str(at), "_BOOT_ID": "7be02c99",
        "_SYSTEMD_UNIT": unit_of(unit), "_TRANSPORT": "stdout", "PRIORITY": "6", "SYSLOG_IDENTIFIER": "python",
    }  # fmt: skip
    return {**time_and_place, "_PID": "17", "MESSAGE": message, **fields}


def event(said: str, level: str = "info", **more: str) -> str:
    return json.dumps({"event": said, "level": level, "timestamp": "2026-11-22T23:41:53.800000Z", **more})


def by_systemd(about: str, message: str, priority: str = "6") -> dict[str, Any]:
    fields: dict[str, Any] = {"_SYSTEMD_UNIT": "init.scope", "_TRANSPORT": "journal", "SYSLOG_IDENTIFIER": "systemd"}
    return entry("", message, UNIT=unit_of(about), PRIORITY=priority, **fields)


class Kept:
    """The journal that the stand-in shows."""

    def __init__(self, folder: Path):
        self._folder = folder
        self._entries = folder / "entries"
        self._entries.touch()
        os.mkfifo(folder / "added")

    def keep(self, *entries: dict[str, Any]) -> None:
        with self._entries.open("a") as file:
            file.writelines(json.dumps(one) + "\n" for one in entries)

    def add(self, *entries: dict[str, Any]) -> None:
        """To who follows, who sees the end of the journal then."""
        with (self._folder / "added").open("w") as file:
            file.writelines(json.dumps(one) + "\n" for one in entries)

    def deny(self) -> None:
        (self._folder / "denied").touch()


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kept:
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "journalctl"
    program.write_text(f"#!{sys.executable}\n{Path(journalctl.__file__).read_text()}")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return Kept(folder)


def events(lines: list[LogLine]) -> list[tuple[str, str]]:
    return [(line.unit, line.event) for line in lines]


def wait_for(tail: JournalTail, is_enough: Callable[[list[LogLine]], bool]) -> list[LogLine]:
    lines: list[LogLine] = []
    while not is_enough(lines):
        lines += tail.added()
    return lines


def test_an_event_of_a_process_has_its_own_time_and_level() -> None:
    raw = json.dumps(entry("group@a", event("worker ready", "warning", rotation_id="7"))).encode()
    assert line_of(raw) == LogLine("group@a", "2026-11-22T23:41:53.800000Z", "warning", "worker ready", "rotation_id=7")


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("Traceback (most recent call last):", "Traceback (most recent call last):"),
        ([98, 97, 100, 32, 255], "bad \N{REPLACEMENT CHARACTER}"),
        (["twice", [27, 91]], "twice \x1b["),
        (None, ""),
    ],
)
def test_whatever_else_is_written_has_the_journals_time_and_no_level(message: Any, shown: str) -> None:
    line = line_of(json.dumps(entry("gateway", message)).encode())
    assert line == LogLine("gateway", "2026-11-22T23:41:53.866024Z", "", shown, "")


def test_what_systemd_says_of_a_unit_is_that_units() -> None:
    line = line_of(json.dumps(by_systemd("gateway", "Failed with result 'exit-code'.", "4")).encode())
    assert line == LogLine(
        "gateway", "2026-11-22T23:41:53.866024Z", "warning", "Failed with result 'exit-code'.", "by=systemd"
    )


def test_the_end_of_the_journal_oldest_first(kept: Kept) -> None:
    kept.keep(entry("gateway", event("first")), by_systemd("gateway", "Started."), entry("ssh", "x", _SYSTEMD_UNIT="a"))
    kept.keep(entry("scheduler", event("second", "error", request_id="r-7")), entry("gateway", event("third")))
    journal = Journal()
    assert [name for _, name in events(journal.tail(LogFilter(), 10))] == ["first", "Started.", "second", "third"]
    assert events(journal.tail(LogFilter(), 1)) == [("gateway", "third")]
    assert events(journal.tail(LogFilter(unit="scheduler"), 10)) == [("scheduler", "second")]
    assert events(journal.tail(LogFilter(words="R-7"), 10)) == [("scheduler", "second")]
    assert events(journal.tail(LogFilter(level="warning"), 10)) == [("scheduler", "second")]
    assert journal.tail(LogFilter(unit="../ssh"), 10) == []


def test_one_that_has_enough_does_not_read_on(kept: Kept) -> None:
    kept.keep(*(entry("gateway", event(f"{number} {'x' * 500}")) for number in range(1000)))
    lines = Journal().tail(LogFilter(), 3)
    assert [line.event.split()[0] for line in lines] == ["997", "998", "999"]


def test_following_begins_when_it_is_asked_for(kept: Kept) -> None:
    later = int(time.time() * 1e6) + 60_000_000
    kept.keep(entry("gateway", event("old")))
    tail = Journal().follow(LogFilter(unit="gateway"))
    kept.keep(entry("gateway", event("before it was read"), at=later))
    lines = tail.added()  # it runs from here on
    kept.add(entry("scheduler", event("another's"), at=later), entry("gateway", event("new"), at=later))
    lines += wait_for(tail, lambda more: len(lines + more) == 3)
    assert [line.event for line in lines[:2]] == ["before it was read", "new"]
    assert (lines[2].level, lines[2].event) == ("error", "The journal cannot be read: The journal went away.")
    assert tail.added() == []


def test_nothing_runs_on_when_nobody_reads_on(kept: Kept) -> None:
    never_read = Journal().follow(LogFilter())
    never_read.close()
    assert never_read.added() == []
    kept.keep(entry("gateway", event("now"), at=AT * 2))
    tail = Journal().follow(LogFilter())
    wait_for(tail, bool)
    child = tail._child
    assert child is not None
    assert child.poll() is None
    tail.close()
    assert child.poll() is not None


def test_what_keeps_it_from_reading_is_said(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    kept.deny()
    sentence = "The journal cannot be read: No journal files were opened due to insufficient permissions."
    assert events(Journal().tail(LogFilter(), 10)) == [("console", sentence)]
    tail = Journal().follow(LogFilter())
    assert events(wait_for(tail, bool)) == [("console", sentence)]
    monkeypatch.setenv("PATH", "/nowhere")
    sentence = "The journal cannot be read: No such file or directory."
    assert events(Journal().tail(LogFilter(), 10)) == [("console", sentence)]
    assert events(Journal().follow(LogFilter()).added()) == [("console", sentence)]


def test_it_is_read_where_this_process_writes_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    error = (tmp_path / "error").open("w")
    monkeypatch.setattr(sys, "__stderr__", error)
    found = os.fstat(error.fileno())
    assert isinstance(logs_of_appliance(tmp_path), LogFiles)
    monkeypatch.setenv("JOURNAL_STREAM", f"{found.st_dev}:{found.st_ino}")
    assert isinstance(logs_of_appliance(tmp_path), Journal)
    monkeypatch.setenv("JOURNAL_STREAM", f"{found.st_dev}:{found.st_ino + 1}")
    assert isinstance(logs_of_appliance(tmp_path), LogFiles)
    error.close()


def test_every_service_has_its_place_in_the_list() -> None:
    services = {path.name for path in SYSTEMD.glob("*.service")}
    assert {unit_of(unit.rstrip("ab") if "@" in unit else unit) for unit in UNITS} == services


@pytest.mark.skipif(shutil.which("journalctl") is None, reason="there is no journalctl")
def test_the_real_one_knows_every_option() -> None:
    assert not [line for line in Journal().tail(LogFilter(), 1) if "option" in line.event]
    tail = Journal().follow(LogFilter())
    assert not [line for line in tail.added() if "option" in line.event]
    tail.close()


def test_pages_show_it(kept: Kept, owner: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    kept.keep(entry("gateway", event("<b>accepted</b>", request_id="r-7")), entry("scheduler", event("other")))
    monkeypatch.setitem(owner.client.application.extensions[NAME].__dict__, "logs", Journal())
    page = owner.get("/logs/?words=r-7").text
    assert "&lt;b&gt;accepted&lt;/b&gt;" in page
    assert "other" not in page.split('id="log"')[1]
    assert owner.get("/logs/download?unit=scheduler").text == ("2026-11-22T23:41:53.800000Z scheduler info other\n")
