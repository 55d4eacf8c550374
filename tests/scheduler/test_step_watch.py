"""When a worker that has work counts as stuck."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

from engine.allocation import Phase
from engine.scheduler.groups import Worker
from engine.scheduler.step_watch import FIRST_SECONDS, FIRST_STEPS, StepWatch, is_stopped
from engine.wire.to_scheduler import WorkerReady


def worker(steps: int = FIRST_STEPS, seconds: float = 0.01) -> Worker:
    made = Worker(b"decode", WorkerReady(1, "a", (Phase.DECODE,), 7, "duty", 50, 0))
    for _ in range(steps):
        made.did_step(seconds)
    return made


def first_overdue(watch: StepWatch, busy: Worker, until: float) -> float | None:
    """Looked at four times a second."""
    return next((n / 4 for n in range(int(until * 4)) if watch.overdue([busy], n / 4)), None)


def test_a_stopped_one_is_stuck_after_the_setting_even_at_its_first_step() -> None:
    assert first_overdue(StepWatch(3.0, lambda pid: pid == 7), worker(steps=0), 10) == 3.0


def test_one_that_runs_has_so_many_of_its_usual_steps_more() -> None:
    look = 0.25
    assert first_overdue(StepWatch(3.0, lambda pid: False), worker(seconds=0.01), 10) == 3.0 + look
    assert first_overdue(StepWatch(3.0, lambda pid: False), worker(seconds=0.25), 10) == 8.0


def test_the_first_steps_may_take_long() -> None:
    assert first_overdue(StepWatch(3.0, lambda pid: False), worker(steps=1), FIRST_SECONDS + 1) == FIRST_SECONDS


def test_a_report_begins_the_count_anew_and_so_does_having_had_nothing_to_do() -> None:
    watch, busy = StepWatch(1.0, lambda pid: True), worker()
    for second in range(4):
        assert not watch.overdue([busy], second / 4)
    busy.did_step(0.01)
    assert not watch.overdue([busy], 1.0)
    assert not watch.overdue([], 1.5)
    assert not watch.overdue([busy], 2.25)


def test_who_did_not_look_for_long_accuses_nobody() -> None:
    watch, busy = StepWatch(3.0, lambda pid: True), worker()
    assert not watch.overdue([busy], 0.0)
    assert not watch.overdue([busy], 100.0)


def test_the_kernel_says_who_is_stopped() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        assert not is_stopped(child.pid)
        child.send_signal(signal.SIGSTOP)
        os.waitpid(child.pid, os.WUNTRACED)
        assert is_stopped(child.pid)
    finally:
        child.kill()
        child.wait()
        assert child.stdin is not None
        child.stdin.close()
    assert not is_stopped(child.pid)
