"""One block: load, a calm span, rotations, and what the streams say of both."""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import Sequence
from random import Random
from statistics import median
from typing import NamedTuple

import uvloop

from appliance.instance import Instance
from appliance.workload import draw_together, mix_named
from bench.client import LoadClient
from bench.endpoint import Endpoint
from bench.record import Observed, Record
from bench.results import Origin
from bench.rotation.load import EndlessLoad
from bench.rotation.orders import Orders, Outcome
from bench.rotation.result import Rotated, RotationConfiguration, RotationLine
from bench.rotation.timeline import Span, calm_gaps, calm_pauses, longest_gap, pauses
from bench.rotation.undisturbed import undisturbed_answers
from bench.rotation.witness import Witness, fault_of, witnesses
from bench.summary import p99_ms
from engine.allocation import SMAllocation

WITNESSES = 24
GRACE_SECONDS = 120.0


class Known(NamedTuple):
    """Prompts and the answers they get when nothing else runs; without the answers nothing is compared."""

    witnesses: list[Witness]
    answers: list[list[int]] | None


def learn(endpoint: Endpoint, asked: RotationConfiguration, vocabulary: int) -> Known:
    """Ask for every witness alone. Raises `SemiPDError` where one does not answer."""
    lengths = draw_together(mix_named(asked.mix).scaled(asked.scale), WITNESSES, asked.seed)
    known = witnesses(lengths, vocabulary, asked.seed)
    if not asked.is_exact:
        return Known(known, None)
    return Known(known, undisturbed_answers(endpoint, known, GRACE_SECONDS))


class Block(NamedTuple):
    """What a block needs to know. `splits`: one a rotation."""

    instance: Instance
    endpoint: Endpoint
    configuration: RotationConfiguration
    known: Known
    vocabulary: int
    warmup_seconds: float
    splits: Sequence[SMAllocation]

    def measure(self, origin: Origin) -> RotationLine:
        """Carry it out; takes as long as the rotations do. Raises `NotRunning` where the appliance ends meanwhile."""
        start = time.monotonic()
        load = self._load()
        client = LoadClient(self.endpoint, start, GRACE_SECONDS)
        orders = Orders(self.instance, lambda: time.monotonic() - start, in_place=self.configuration.in_place)

        async def run() -> tuple[Observed, tuple[Span, list[Outcome]]]:
            return await asyncio.gather(client.open_loop(load.plan()), self._drive(load, orders, start))  # type: ignore[arg-type]

        try:
            observed, (calm, outcomes) = uvloop.run(run())
        finally:
            orders.close()
        return self._line(origin, load, observed, calm, outcomes, time.monotonic() - start)

    def _load(self) -> EndlessLoad:
        asked = self.configuration
        mix = mix_named(asked.mix).scaled(asked.scale)
        random = Random(f"{asked.seed}/{time.time_ns()}")
        share = asked.witness_share
        return EndlessLoad(self.endpoint, mix, asked.rate, self.known.witnesses, share, self.vocabulary, random)

    async def _drive(self, load: EndlessLoad, orders: Orders, start: float) -> tuple[Span, list[Outcome]]:
        try:
            await asyncio.sleep(self.warmup_seconds)
            begin = time.monotonic() - start
            await asyncio.sleep(self.configuration.calm_seconds)
            calm = Span(begin, time.monotonic() - start)
            return calm, await orders.rotate(self.splits, self.configuration.rest_seconds)
        finally:
            load.stop()

    def _line(
        self,
        origin: Origin,
        load: EndlessLoad,
        observed: Observed,
        calm: Span,
        outcomes: list[Outcome],
        seconds: float,
    ) -> RotationLine:
        records = load.records
        lengths = [outcome.moments.whole.seconds for outcome in outcomes if outcome.moments]
        gaps = calm_gaps(records, calm, median(lengths)) if lengths else []
        hand_overs = [outcome.moments.hand_over.seconds for outcome in outcomes if outcome.moments]
        still = calm_pauses(records, calm, median(hand_overs)) if hand_overs else []
        compared, faults = self._compared(load)
        return RotationLine(
            origin=origin,
            configuration=self.configuration,
            rotations=tuple(_rotated(outcome, records) for outcome in outcomes),
            requests=len(records),
            failures=dict(Counter(record.failure for record in records if record.failure is not None)),
            compared=compared,
            faults=faults,
            tokens=sum(record.completion_tokens or 0 for record in records),
            seconds=round(seconds, 1),
            calm_gaps_ms=tuple(_ms(gap) for gap in gaps),
            late_ms_p99=p99_ms([record.late for record in records if record.sent]),
            loop_lag_ms_p99=p99_ms(observed.loop_lags),
            load_average=round(os.getloadavg()[0], 2),
            calm_pauses_ms=tuple(_ms(pause) for pause in still),
        )

    def _compared(self, load: EndlessLoad) -> tuple[int, dict[str, int]]:
        if self.known.answers is None:
            return 0, {}
        whole = [(number, record) for number, record in load.watched if record.failure in (None, "wrong length")]
        faults = [fault_of(record.token_ids or [], self.known.answers[number]) for number, record in whole]
        return len(whole), dict(Counter(str(fault) for fault in faults if fault is not None))


def _rotated(outcome: Outcome, records: list[Record]) -> Rotated:
    moments = outcome.moments
    if moments is None:
        return Rotated(str(outcome.split), problem=outcome.problem)
    return Rotated(
        split=str(outcome.split),
        ready_seconds=round(moments.ready - moments.ordered, 4),
        live_seconds=round(moments.live - moments.ordered, 4),
        gone_seconds=round(moments.gone - moments.ordered, 4),
        longest_gap_ms=_ms(longest_gap(records, moments.whole)),
        pauses_ms=tuple(_ms(pause) for pause in pauses(records, moments)),
    )


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 2)
