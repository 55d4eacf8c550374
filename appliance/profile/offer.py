"""Which splits may be asked for on this machine, and how fast they are: from the profile that is kept, or without."""

from __future__ import annotations

from typing import NamedTuple

from appliance.profile.store import Kept
from appliance.slo.ladder import Ladder
from appliance.slo.profile import Profile
from engine.allocation import Phase, SMAllocation, Splitter
from engine.config import Mode, ServerArgs
from engine.profile.record import MachineProfile

STEP_PERCENT = 10
LEAST_UNTESTED_SHARE = 20
"""On a dozen SMs matrix products fail (an H200's at 90/10): so small a part is offered only where it has passed."""

GUESSED = (
    "This GPU has no profile for this model. Until `semi-pd profile` makes one, speeds at a split are held to be those "
    "of an 8B model on an H200."
)
UNTESTED_MPS = (
    "Under some shares of MPS matrix products are silently wrong, and none has been tested on this machine for this "
    "model: `semi-pd profile --splitter mps` does that, and the splitter green needs no test."
)


class Offer(NamedTuple):
    """`ladder` is what the policy may choose from, None where it has no choice; `notices` are for a person."""

    ladder: Ladder | None
    profile: Profile
    notices: tuple[str, ...] = ()
    measured: MachineProfile | None = None
    needs_test: bool = False
    """Only shares that have passed the self-test may be asked for."""

    def refusal(self, split: SMAllocation) -> str:
        """Why a split may not be asked for, in a sentence or two; empty if it may."""
        if split.is_together:
            return ""  # the whole device was always used
        if self.measured is None:
            return UNTESTED_MPS if self.needs_test else ""
        if failed := self.measured.failed(split):
            return " ".join([*(test.sentence for test in failed), _passed(self.measured)])
        untested = [phase for phase in Phase if self.measured.test(phase, split.share(phase)) is None]
        if self.needs_test and untested:
            named = " and ".join(f"{phase} at {split.share(phase)} %" for phase in untested)
            return f"The splitter mps has tested shares only, and {named} is none. {_passed(self.measured)}"
        return ""


def offer(settings: ServerArgs, kept: Kept) -> Offer:
    """`settings` are resolved for a device."""
    notices = (kept.stale,) if kept.stale else ()
    needs_test = settings.splitter is Splitter.MPS
    if settings.mode is Mode.COLOCATED:
        return Offer(None, Profile.duty())
    if kept.profile is not None:
        return _measured(kept.profile, needs_test)
    if settings.device == "cpu":
        return Offer(Ladder.in_steps_of(STEP_PERCENT), Profile.duty(), notices)
    rungs = [rung for rung in Ladder.in_steps_of(STEP_PERCENT) if _is_large_enough(rung)]
    return Offer(Ladder(rungs), Profile.guessed(), (*notices, GUESSED), needs_test=needs_test)


def _is_large_enough(split: SMAllocation) -> bool:
    return min(split.prefill_percentage, split.decode_percentage) >= LEAST_UNTESTED_SHARE


def _measured(measured: MachineProfile, needs_test: bool) -> Offer:
    rungs = [rung.split for rung in measured.offered]  # nothing else is on the ladder
    failed = tuple(f"Not offered: {test.sentence}" for test in measured.tests if not test.passed)
    return Offer(Ladder(rungs) if rungs else None, Profile.of_machine(measured), failed, measured, needs_test)


def _passed(measured: MachineProfile) -> str:
    """What may be asked for."""
    shares = [", ".join(map(str, measured.passing_shares(phase))) or "none" for phase in Phase]
    return f"Shares that passed: {shares[0]} for prefill, {shares[1]} for decode."
