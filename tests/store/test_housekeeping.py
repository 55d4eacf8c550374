"""Chores are done, again and again, also after they failed."""

from __future__ import annotations

import logging
import threading

import pytest

from appliance.store.housekeeping import Chore, Housekeeping


def test_a_chore_that_fails_is_done_again_and_keeps_none_from_theirs(caplog: pytest.LogCaptureFixture) -> None:
    failed_twice, done = threading.Event(), threading.Event()
    failures = []

    def fail() -> None:
        failures.append(1)
        if len(failures) == 2:
            failed_twice.set()
        raise OSError("no")

    chores = Housekeeping((Chore("fails", 1, fail), Chore("works", 1, done.set)))
    with caplog.at_level(logging.ERROR):
        chores.start()
        assert failed_twice.wait(30) and done.wait(30)
        chores.stop()
    assert "The chore fails failed." in caplog.messages


def test_the_end_without_a_start() -> None:
    Housekeeping(()).stop()
