"""Logs: read, filtered, followed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from webui.logs.files import TAIL_BYTES, LogFiles
from webui.logs.line import LogFilter, LogLine


def written(event: str, second: int, level: str = "info", **more: str) -> str:
    return json.dumps({"event": event, "level": level, "timestamp": f"2026-01-01T00:00:{second:02}Z", **more}) + "\n"


@pytest.fixture
def logs(tmp_path: Path) -> LogFiles:
    (tmp_path / "gateway.log").write_text(written("accepted", 1, request_id="r-7") + written("slow", 5, "warning"))
    (tmp_path / "scheduler.log").write_text(written("queued", 3, request_id="r-7") + "Traceback:\n  a line\n")
    return LogFiles(tmp_path)


def events(logs: LogFiles, wanted: LogFilter, limit: int = 100) -> list[str]:
    return [line.event for line in logs.tail(wanted, limit)]


def test_all_files_are_one_log_in_order_of_time(logs: LogFiles) -> None:
    assert events(logs, LogFilter()) == ["accepted", "queued", "Traceback:", "  a line", "slow"]
    assert events(logs, LogFilter(), limit=2) == ["  a line", "slow"]


def test_filters(logs: LogFiles) -> None:
    assert events(logs, LogFilter(unit="gateway")) == ["accepted", "slow"]
    assert events(logs, LogFilter(unit="gateway", level="warning")) == ["slow"]
    assert events(logs, LogFilter(words="R-7")) == ["accepted", "queued"]
    assert events(logs, LogFilter(words="r-7 queued")) == ["queued"]


@pytest.mark.parametrize("raw", ["", "[1]", "null", '{"event": 1}', "\x00\xff", '{"timestamp": null}'])
def test_whatever_is_written_is_a_line(raw: str) -> None:
    assert LogLine.of("x", raw).unit == "x"


def test_a_long_file_is_read_from_its_end(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_text(written("first", 1) + written("x" * TAIL_BYTES, 2) + written("last", 3))
    assert events(LogFiles(tmp_path), LogFilter()) == ["last"]


def test_following_sees_whole_new_lines_new_files_and_files_begun_anew(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_text(written("old", 1))
    tail = LogFiles(tmp_path).follow(LogFilter())
    assert tail.added() == []
    whole = written("new", 2)
    with log.open("a") as file:
        file.write(whole[:10])
        file.flush()
        assert tail.added() == []
        file.write(whole[10:])
    (tmp_path / "b.log").write_text(written("other", 3))
    assert [line.event for line in tail.added()] == ["new", "other"]
    log.write_text(written("anew", 4))
    assert [line.event for line in tail.added()] == ["anew"]
