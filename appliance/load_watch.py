"""Passes on to the policy what the scheduler tells of requests and work, and learns what one request alone needs.

What was seen in the last minutes is kept as it was, for whoever wants to simulate it."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import msgspec

from appliance.recent_load import LoadMemory, SpeedsOf
from appliance.slo import RequestRecord, SLOAwareResourceManager, WorkTotals
from appliance.slo.alone import Alone
from appliance.slo.profile import Profile, Speeds
from engine.allocation import SMAllocation
from engine.wire.to_controller import LoadReport

LOOK_SECONDS = 1.0
"""How often the scheduler is asked."""


class LoadWatch:
    """`in_force` tells the split; like `observe` it is called in the rotation manager's thread."""

    def __init__(
        self,
        policy: SLOAwareResourceManager,
        profile: Profile,
        in_force: Callable[[], SMAllocation | None],
        clock: Callable[[], float] = time.monotonic,
    ):
        self.alone = Alone()
        self.memory = LoadMemory()
        self._policy = policy
        self._profile = profile
        self._in_force = in_force
        self._clock = clock
        self._split: SMAllocation | None = None
        self._since = clock()

    def observe(self, report: LoadReport) -> None:
        """How far requests have come, and what the workers have computed."""
        self._note_split()
        records = [RequestRecord(**msgspec.structs.asdict(progress)) for progress in report.requests]
        for record in records:
            self._policy.observe(record)
            self._learn(record)
        for request_id in report.cancelled:
            self._policy.forget(request_id)
        totals = WorkTotals(
            report.prefill_tokens,
            report.prefill_seconds,
            report.decode_tokens,
            report.decode_steps,
            report.decode_seconds,
            report.prefill_borrowed_seconds,
            report.decode_borrowed_seconds,
            report.prefill_steps,
        )
        self._policy.count_work(totals)
        self.memory.observe(records, totals, self._step_speeds(), self._clock())

    def _step_speeds(self) -> SpeedsOf | None:
        """How fast a phase's steps are in its share; one that rests between them makes each at full speed."""
        if self._split is None:
            return None
        if not self._profile.stretches_steps:
            return lambda lanes: Speeds(1.0, 1.0)
        return partial(self._profile.speeds, self._split)

    def _note_split(self) -> None:
        if (split := self._in_force()) != self._split:
            self._split, self._since = split, self._clock()

    def _learn(self, record: RequestRecord) -> None:
        """From one that was served at one split from its begin to its end."""
        if self._split is not None and record.arrived_at >= self._since:
            self.alone = self.alone.learned(record, self._profile.speeds(self._split))
