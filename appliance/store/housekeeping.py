"""What is done regularly: samples, sums, forgetting, when keys were used, backups."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import NamedTuple

from apscheduler.schedulers.background import BackgroundScheduler

from appliance.slo.wall_clock import WallClockWatch

log = logging.getLogger(__name__)

LOOK_SECONDS = 10.0

_QUIET = logging.getLogger(f"{__name__}.scheduler")
_QUIET.setLevel(logging.ERROR)  # a sample that is skipped because the scheduler takes its time is no news


class Chore(NamedTuple):
    """Something to be done every so many seconds."""

    name: str
    seconds: int
    do: Callable[[], None]


class Housekeeping:
    """Each chore from `start` to `stop`: never twice at once, once where it was missed several times."""

    def __init__(self, chores: tuple[Chore, ...]):
        self._chores = chores
        self._scheduler = BackgroundScheduler(timezone=UTC, logger=_QUIET)
        self._wall_clock = WallClockWatch(self._reschedule, LOOK_SECONDS)

    def start(self) -> None:
        for chore in self._chores:
            self._scheduler.add_job(
                _careful(chore), "interval", seconds=chore.seconds, start_date=_middle_of_a_second(), id=chore.name,
                max_instances=1, coalesce=True, misfire_grace_time=None,
            )  # fmt: skip
        self._scheduler.start()
        self._wall_clock.start()

    def stop(self) -> None:
        """Waits for what is being done."""
        if self._scheduler.running:
            self._wall_clock.stop()
            self._scheduler.shutdown()

    def _reschedule(self) -> None:
        """APScheduler plans by the wall clock, which was set."""
        for chore in self._chores:
            self._scheduler.reschedule_job(
                chore.name, trigger="interval", seconds=chore.seconds, start_date=_middle_of_a_second()
            )


def _careful(chore: Chore) -> Callable[[], None]:
    """A chore that fails is done again next time, and says so once a time."""

    def do() -> None:
        try:
            chore.do()
        except Exception:
            log.exception("The chore %s failed.", chore.name)

    return do


def _middle_of_a_second() -> datetime:
    """So that a sample that is a little late or early is still of its own second."""
    return datetime.fromtimestamp(int(time.time()) + 1.5, UTC)
