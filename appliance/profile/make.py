"""Makes a profile: every share tested, then the speed of both phases beside each other at every split that passed."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from msgspec.structs import replace

from appliance.mps import visible_gpu
from appliance.profile.pair import Pair
from appliance.profile.probe_process import ProbeLost
from appliance.profile.rig import Rig
from appliance.slo.ladder import Ladder
from engine.allocation import WHOLE, Phase, SMAllocation
from engine.config import ServerArgs
from engine.errors import CannotStart
from engine.nvml import GpuMemory
from engine.profile.conditions import Conditions
from engine.profile.key import ProfileKey
from engine.profile.record import MachineProfile, Pace, Rung, ShareTest


def make_profile(
    settings: ServerArgs, key: ProfileKey, step_percent: int, log_dir: Path, say: Callable[[str], None]
) -> MachineProfile:
    """`settings` are resolved for a device, of which nobody else makes use. `say` is told what is measured next.

    Raises `CannotStart` where even the whole device does not compute right.
    """
    began = time.monotonic()
    on_gpu = settings.device == "cuda"
    free_bytes = GpuMemory(visible_gpu(settings.gpu, os.environ)).free_bytes if on_gpu else None
    conditions = Conditions.of(settings, step_percent, free_bytes)
    ladder = Ladder.in_steps_of(step_percent)
    with Rig(settings, conditions, ladder.rungs, log_dir) as rig:
        maker = _Maker(rig, conditions, say)
        whole = maker.whole()
        rungs = [maker.rung(split) for split in ladder]
    return MachineProfile(
        key=key,
        measured_at=datetime.now(UTC).isoformat(timespec="seconds"),
        seconds=time.monotonic() - began,
        conditions=conditions,
        tests=tuple(maker.tests),
        whole_prefill=whole.prefill,
        whole_decode=whole.decode,
        rungs=tuple(rungs),
        whole_crowded=whole.crowded,
    )


class _Whole(NamedTuple):
    """Each phase alone on the whole device, decode with few lanes and, if that is measured, with many."""

    prefill: Pace
    decode: Pace
    crowded: Pace | None


class _Maker:
    """Goes from split to split with one pair of probes, or with a new one where the old is lost."""

    def __init__(self, rig: Rig, conditions: Conditions, say: Callable[[str], None]):
        self._rig = rig
        self._few, self._many = conditions.decode_lanes, conditions.many_lanes
        self._say = say
        self._pair: Pair | None = None
        self._opened_for = WHOLE
        self.tests: list[ShareTest] = []

    def whole(self) -> _Whole:
        self._say("the whole device")
        try:
            pair = self._rig.open(WHOLE)
            self.tests += pair.test(WHOLE)
            prefill, decode = pair.prefill_alone(), pair.decode_alone(self._few)
            crowded = pair.decode_alone(self._many) if self._many else None
        except ProbeLost as error:
            raise CannotStart(f"The whole device cannot be measured: {error}.") from error
        if failed := [test.sentence for test in self.tests if not test.passed]:
            raise CannotStart(f"Not even the whole device computes right. {' '.join(failed)}")
        if prefill is None or decode is None:
            raise CannotStart("The whole device cannot be measured: it is too slow for this model.")
        self._pair = None if self._rig.is_fresh_each_time else pair
        return _Whole(prefill, decode, crowded)

    def rung(self, split: SMAllocation) -> Rung:
        """Tested and, if it passed, measured. What goes wrong here says something about this split only."""
        self._say(f"prefill {split.prefill_percentage} %, decode {split.decode_percentage} %")
        try:
            return self._measured(split)
        except ProbeLost as error:
            self._note_loss(split, str(error))
            self._let_go()
            return Rung(split.prefill_percentage, split.decode_percentage)

    def _measured(self, split: SMAllocation) -> Rung:
        pair = self._pair = self._pair or self._open(split)
        tests = self._in_force(pair.test(split))
        self.tests += tests
        found = pair.paces(self._few) if all(test.passed for test in tests) else None
        crowded = pair.paces(self._many) if found and self._many else None
        if self._rig.is_fresh_each_time:
            self._let_go()
        shares = (split.prefill_percentage, split.decode_percentage)
        return Rung(*shares, *found, crowded.decode if crowded else None) if found else Rung(*shares)

    def _in_force(self, tests: list[ShareTest]) -> list[ShareTest]:
        """A part with as many SMs as the whole chip is no part."""
        whole = {test.phase: test.sm_count for test in self.tests if test.share == WHOLE.share(test.phase)}
        return [
            replace(test, problem="the share is not in force: all SMs are there")
            if test.passed and test.sm_count and test.sm_count >= whole[test.phase]
            else test
            for test in tests
        ]

    def _open(self, split: SMAllocation) -> Pair:
        self._opened_for = split
        return self._rig.open(split)

    def _let_go(self) -> None:
        if self._pair is not None:
            self._rig.dismiss(self._opened_for)
            self._pair = None

    def _note_loss(self, split: SMAllocation, problem: str) -> None:
        """Against the phases whose probes ended; against both if that is not known."""
        lost = self._pair.lost if self._pair else []
        for phase in lost or Phase:
            self.tests = [test for test in self.tests if (test.phase, test.share) != (phase, split.share(phase))]
            self.tests.append(ShareTest(phase, split.share(phase), 0, 0, problem))
