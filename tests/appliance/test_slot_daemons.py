"""A daemon that ends by itself is started again, with a fake of NVIDIA's program."""

from __future__ import annotations

import errno
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from appliance import slot_daemons
from appliance.attention import Attention
from appliance.mps import MpsDaemon
from appliance.slot_daemons import SlotDaemons
from tests.appliance.test_mps import directory, fake

__all__ = ["directory", "fake"]

WAIT_SECONDS = 30.0


class Stand:
    """The daemons, whoever attends to them, and what they said."""

    def __init__(self, directory: Path, fake: str):
        self.made: dict[str, MpsDaemon] = {}
        self.said: list[str] = []
        self.attention = Attention()
        self._directory, self._fake = directory, fake
        self.daemons = SlotDaemons(self._make, self.attention, self.said.append)

    def _make(self, slot: str) -> MpsDaemon:
        self.made[slot] = MpsDaemon(slot, self._directory / slot, self._directory / f"log-{slot}", "0", self._fake)
        return self.made[slot]

    def pid(self, slot: str) -> int:
        pid = self.made[slot].pid
        assert pid is not None
        return pid

    def attend_until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + WAIT_SECONDS
        while not condition():
            assert time.monotonic() < deadline, self.said
            self.attention.after(0.05, lambda: None)
            self.attention.turn()


@pytest.fixture
def stand(directory: Path, fake: str) -> Iterator[Stand]:
    stand = Stand(directory, fake)
    yield stand
    stand.daemons.stop()


def test_one_is_started_for_each_slot_and_only_once(stand: Stand) -> None:
    first = stand.daemons.environment("a")
    assert stand.daemons.environment("a") == first != stand.daemons.environment("b")
    assert sorted(stand.made) == ["a", "b"]


def test_one_that_is_killed_is_started_again_and_the_other_is_left_alone(stand: Stand) -> None:
    for slot in ("a", "b"):
        stand.daemons.environment(slot)
    killed, other = stand.pid("a"), stand.pid("b")
    os.kill(killed, signal.SIGKILL)
    stand.attend_until(lambda: bool(stand.said) and stand.made["a"].pid not in (None, killed))
    assert stand.made["a"].servers() == []
    assert stand.pid("b") == other
    assert stand.said == ["The MPS daemon of slot a has ended: it is started again, and a group of that slot is lost."]


def test_one_that_cannot_be_started_again_is_tried_until_it_can(
    stand: Stand, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slot_daemons, "RETRY_SECONDS", 0.1)
    stand.daemons.environment("a")
    monkeypatch.setenv("FAKE_MPS", "refuse")
    os.kill(stand.pid("a"), signal.SIGKILL)
    stand.attend_until(lambda: len(stand.said) > 2)
    assert "ended at once with status 1: An instance of this daemon is already running" in stand.said[1]
    monkeypatch.delenv("FAKE_MPS")
    stand.attend_until(lambda: stand.made["a"].pid is not None)
    assert stand.made["a"].servers() == []


def test_one_that_does_not_answer_after_a_loss_is_killed_and_started_again(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slot_daemons, "PATIENCE_SECONDS", 0.3)
    stand.daemons.environment("a")
    stopped = stand.pid("a")
    os.kill(stopped, signal.SIGSTOP)
    stand.daemons.ask("a")
    stand.attend_until(lambda: stand.made["a"].pid not in (None, stopped))
    assert stand.made["a"].servers() == []
    assert stand.said[0] == "The MPS daemon of slot a has not answered for 0.3 s: it is killed."


def test_one_that_answers_is_left_alone(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slot_daemons, "PATIENCE_SECONDS", 1.0)
    stand.daemons.environment("a")
    asked = stand.pid("a")
    stand.daemons.ask("a")
    over: list[bool] = []
    stand.attention.after(2.0, lambda: over.append(True))
    stand.attend_until(lambda: bool(over))
    assert stand.pid("a") == asked and not stand.said


def test_where_no_process_can_be_begun_it_is_left_alone(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_files(daemon: MpsDaemon) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    stand.daemons.environment("a")
    monkeypatch.setattr(MpsDaemon, "begin_asking", no_files)
    stand.daemons.ask("a")
    assert stand.made["a"].pid is not None
    assert "could not be asked whether it answers: [Errno 24] Too many open files." in stand.said[0]


def test_a_slot_without_a_daemon_is_not_asked(stand: Stand) -> None:
    stand.daemons.ask("a")
    assert not stand.made and not stand.said


def test_an_end_that_is_expected_starts_nothing(stand: Stand) -> None:
    stand.daemons.environment("a")
    stand.daemons.expect_ends()
    os.kill(stand.pid("a"), signal.SIGKILL)
    for _ in range(5):
        stand.attention.after(0.05, lambda: None)
        stand.attention.turn()
    assert not stand.said and stand.made["a"].pid is None
