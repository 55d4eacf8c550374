"""Ends of processes, one or several: those of children and of others, with real ones."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from appliance.attention import Attention


@pytest.fixture
def attention() -> Iterator[Attention]:
    attention = Attention()
    yield attention
    attention.close()


@contextmanager
def waiting_process() -> Iterator[subprocess.Popen[bytes]]:
    """It ends when it is told to, or when its input does."""
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


def test_what_waits_for_several_processes_is_done_once_when_the_last_has_ended(attention: Attention) -> None:
    done: list[bool] = []
    with ExitStack() as stack:
        first, second = (stack.enter_context(waiting_process()) for _ in range(2))
        attention.when_ended([first.pid, second.pid], lambda: done.append(True))
        first.kill()
        attention.turn()
        assert not done
        second.kill()
        attention.turn()
        assert done == [True]


def test_what_waits_for_nobody_is_done_at_once(attention: Attention) -> None:
    with waiting_process() as process:
        process.kill()
        process.wait()
    done: list[bool] = []
    attention.when_ended([], lambda: done.append(True))
    attention.when_ended([process.pid], lambda: done.append(True))
    assert done == [True, True]
