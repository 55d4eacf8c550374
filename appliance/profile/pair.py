"""One probe of each phase, which do the same thing at the same time, each in its part of the device."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from appliance.profile.pace import Paces, pace_alone, paces
from appliance.profile.probe_process import A, ProbeProcess
from engine.allocation import Phase, SMAllocation
from engine.profile.conditions import Conditions
from engine.profile.messages import Check, Checked, Open, Opened, Order, Take, Taken, Work, Worked
from engine.profile.record import Pace, ShareTest

OPEN_SECONDS = TAKE_SECONDS = 600.0
"""Kernels may have to be built."""
TEST_SECONDS = GRACE_SECONDS = 120.0
MOST_WINDOWS = 5
"""Each is twice as long as the one before."""

P = TypeVar("P")


class Pair:
    """Two probes that have begun to import."""

    def __init__(self, prefill: ProbeProcess, decode: ProbeProcess, conditions: Conditions):
        self._probes = {Phase.PREFILL: prefill, Phase.DECODE: decode}
        self._conditions = conditions

    def open(self, orders: Mapping[Phase, Open]) -> dict[Phase, Opened]:
        """Map the memory. Raises `ProbeLost`, as all that follows does."""
        return self._both(orders, Opened, OPEN_SECONDS)

    def test(self, split: SMAllocation) -> list[ShareTest]:
        """Take a part each and compute the products of the phase, both at once."""
        take = Take(split.prefill_percentage, split.decode_percentage)
        taken = self._both(dict.fromkeys(Phase, take), Taken, TAKE_SECONDS)
        tested = self._both(dict.fromkeys(Phase, Check()), Checked, TEST_SECONDS)
        return [
            ShareTest(phase, split.share(phase), taken[phase].sm_count, tested[phase].products, tested[phase].problem)
            for phase in Phase
        ]

    def paces(self, lanes: int) -> Paces | None:
        """Of both phases beside each other, in the parts taken last, decode with so many lanes.

        None if too few steps end even in a long time.
        """
        return self._measured(lambda seconds: self._paces_within(seconds, lanes))

    def prefill_alone(self) -> Pace | None:
        """Of prefill while decode rests; None likewise."""
        tokens = self._conditions.chunk_tokens
        return self._measured(lambda seconds: self._pace_alone_within(Phase.PREFILL, seconds, tokens))

    def decode_alone(self, lanes: int) -> Pace | None:
        """Of decode, with so many lanes, while prefill rests; None likewise."""
        return self._measured(lambda seconds: self._pace_alone_within(Phase.DECODE, seconds, lanes))

    def probe(self, phase: Phase) -> ProbeProcess:
        return self._probes[phase]

    @property
    def lost(self) -> list[Phase]:
        """The phases whose probe has ended."""
        return [phase for phase, probe in self._probes.items() if probe.has_ended]

    def dismiss(self) -> None:
        for probe in self._probes.values():
            probe.dismiss()

    def _paces_within(self, seconds: float, lanes: int) -> Paces | None:
        worked = self._both(dict.fromkeys(Phase, Work(seconds, lanes)), Worked, GRACE_SECONDS + seconds)
        return paces(worked[Phase.PREFILL], worked[Phase.DECODE], self._conditions.chunk_tokens, lanes)

    def _pace_alone_within(self, phase: Phase, seconds: float, tokens: int) -> Pace | None:
        """`tokens` of a step: a prompt's, or a lane's each."""
        self._probes[phase].send(Work(seconds, tokens))
        return pace_alone(self._probes[phase].receive(Worked, GRACE_SECONDS + seconds), tokens)

    def _measured(self, within: Callable[[float], P | None]) -> P | None:
        """Over a window, or a longer one where too few steps have ended in it."""
        for doublings in range(MOST_WINDOWS):
            found = within(self._conditions.seconds * 2**doublings)
            if found is not None:
                return found
        return None

    def _both(self, orders: Mapping[Phase, Order], kind: type[A], seconds: float) -> dict[Phase, A]:
        for phase, probe in self._probes.items():
            probe.send(orders[phase])
        return {phase: probe.receive(kind, seconds) for phase, probe in self._probes.items()}
