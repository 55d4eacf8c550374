"""What the standard library's loggers write: in a process of its own, as a process of the appliance does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from webui.logs.line import LogLine

SET_UP = "import logging; from engine.process import set_up_logging; log = set_up_logging('controller', 'INFO');"


def lines(code: str) -> list[dict[str, Any]]:
    done = subprocess.run([sys.executable, "-c", SET_UP + code], capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stderr.splitlines()]


def test_both_kinds_of_logger_write_the_same_fields() -> None:
    ours, theirs = lines("log.info('begun', split='40/60'); logging.getLogger('appliance.slo').info('chosen %d', 3)")
    assert theirs.keys() == ours.keys() - {"split"}
    assert (theirs["process"], theirs["event"], theirs["level"]) == ("controller", "chosen 3", "info")
    assert len(theirs["timestamp"]) == len(ours["timestamp"])
    assert theirs["pid"] != os.getpid()


def test_what_a_task_has_noted_is_in_its_lines_and_in_no_other_task() -> None:
    first, second = lines("""
import contextvars
from engine.json_lines import MORE, note
told = logging.getLogger("engine.gateway")
def handle():
    note(request_id="abc")
    told.info("answered", extra={MORE: {"status": 200}})
contextvars.copy_context().run(handle)
told.info("idle")
""")
    assert (first["request_id"], first["status"]) == ("abc", 200)
    assert "request_id" not in second


@pytest.mark.parametrize(("level", "is_told"), [("info", False), ("warning", True)])
def test_a_library_is_heard_when_something_is_wrong(level: str, is_told: bool) -> None:
    assert bool(lines(f"logging.getLogger('apscheduler.scheduler').{level}('job')")) is is_told


def test_a_warning_is_one_line() -> None:
    [line] = lines("import warnings; warnings.warn('no time zone')")
    assert "UserWarning: no time zone" in line["event"]


def test_a_trace_is_in_the_line_and_the_console_reads_it() -> None:
    code = """
try:
    1 / 0
except ZeroDivisionError:
    logging.getLogger("appliance").exception("a chore failed")
"""
    [line] = lines(code)
    assert "ZeroDivisionError" in line["exception"]
    read = LogLine.of("controller", json.dumps(line))
    assert (read.level, read.event) == ("error", "a chore failed")


@pytest.mark.parametrize("log", ["log.warning('full')", "logging.getLogger('appliance').warning('full')"])
def test_the_journal_is_told_how_bad_it_is_and_nobody_else(log: str) -> None:
    reading, writing = os.pipe()
    stream = os.fstat(writing)
    environment = {**os.environ, "JOURNAL_STREAM": f"{stream.st_dev}:{stream.st_ino}"}
    to_journal = f"{SET_UP}{log}"
    subprocess.run([sys.executable, "-c", to_journal], env=environment, stderr=writing, check=True)
    elsewhere = subprocess.run([sys.executable, "-c", to_journal], env=environment, capture_output=True, check=True)
    os.close(writing)
    with open(reading, "rb") as journal:
        assert journal.read().startswith(b'<4>{"')
    assert elsewhere.stderr.startswith(b'{"')
