"""Which changes of what processes share are noticed by an upgrade, and which are none."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from engine.compatibility import formats, needed
from engine.config import PortArgs, ServerArgs
from engine.errors import CANNOT_START
from engine.wire.codec import Message


class Order(Message, frozen=True):
    epoch: int


def longer() -> type[Message]:
    class Order(Message, frozen=True):
        epoch: int
        reason: str = ""

    return Order


def other() -> type[Message]:
    class Order(Message, frozen=True):
        epoch: int
        reason: str

    return Order


def test_a_field_with_a_default_changes_no_format_and_one_without_does() -> None:
    assert needed(longer()) == needed(Order)
    assert needed(other()) != needed(Order)


def told(runtime_dir: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "engine.compatibility", str(runtime_dir)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_line_a_format_is_told(tmp_path: Path) -> None:
    PortArgs(tmp_path).write_settings(ServerArgs(device="cpu"))
    done = told(tmp_path)
    assert dict(line.split() for line in done.stdout.splitlines()) == formats()
    assert set(formats()) == {"messages", "resident", "page-ledger", "load-table"}


def test_settings_that_this_release_does_not_know_are_named(tmp_path: Path) -> None:
    (tmp_path / "settings.json").write_text('{"device": "cpu", "of_another_release": 1}')
    done = told(tmp_path)
    assert done.returncode == CANNOT_START
    assert "of_another_release" in done.stderr
