"""The policy: from what was seen to what is done. Pure: no clock, no effects."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import NamedTuple

from appliance.slo.decision import Action, Choice, Decision
from appliance.slo.given_up import GivenUp, Memory, fresh, give_up, may_return
from appliance.slo.ladder import Ladder
from appliance.slo.predictor import Prediction, Predictor
from appliance.slo.target import SLOTarget
from appliance.slo.verdict import Verdict, judge, verdict_of
from appliance.slo.window import WindowSummary
from engine.allocation import Phase, SMAllocation

LEAST_SAMPLES = 20
LEAST_GAIN = 0.2
"""Total relative violation that a move must take off, and this part of it, if it does not end the violation."""
LEAST_HEADROOM = 0.1
"""Of the targets, for a move that ends a violation however small: what it gains must not be lost to noise at once."""
GRAVE = 0.5
"""Total relative violation from which the policy does not wait for a second window to show it, or to foretell it."""
PATIENCE = 2
"""Windows in a row that must show a lesser violation, or a violation to come, or one that nothing explains: neither the
curves, nor that the split in force gets less done than comes."""


class Mode(StrEnum):
    """`hold`: say what would be done, do nothing. `manual`: the split is a person's."""

    AUTO = "auto"
    HOLD = "hold"
    MANUAL = "manual"


@dataclass(frozen=True, slots=True)
class Settings:
    target: SLOTarget
    ladder: Ladder
    mode: Mode = Mode.AUTO
    cooldown_seconds: float = 60.0
    least_confidence: float = 0.7


@dataclass(frozen=True, slots=True)
class PolicyState:
    """`violated` and `foreseen` count windows in a row, those shown and those predicted at the split in force."""

    changed_at: float | None = None
    violated: int = 0
    foreseen: int = 0
    given_up: Memory = ()

    def counted(self, is_violated: bool, is_foreseen: bool) -> PolicyState:
        violated = self.violated + 1 if is_violated else 0
        return replace(self, violated=violated, foreseen=self.foreseen + 1 if is_foreseen else 0)

    def changed(self, at: float) -> PolicyState:
        """Another split was asked for, or is in force: what was counted at the old one means nothing."""
        return PolicyState(changed_at=at, given_up=self.given_up)

    def gave_up(self, view: View) -> PolicyState:
        """The split in force was left for another."""
        seen = view.seen
        left = GivenUp(view.in_force, seen.at, view.shown.violation, seen.offered)
        memory = give_up(fresh(self.given_up, seen.at, seen.seconds), left)
        return replace(self.changed(seen.at), given_up=memory)

    def cooldown_left(self, settings: Settings, now: float) -> float:
        """Seconds until the split may change again."""
        return 0.0 if self.changed_at is None else max(0.0, self.changed_at + settings.cooldown_seconds - now)


class View(NamedTuple):
    """Everything a choice is made from: `shown` by the window, what is expected where the split `stays`, `lacking` the
    phase that should have more, and `short` the splits at which a phase cannot keep up whatever the curves say."""

    seen: WindowSummary
    in_force: SMAllocation
    shown: Verdict
    stays: Prediction
    rungs: dict[SMAllocation, Prediction]
    confidence: float
    lacking: Phase
    short: frozenset[SMAllocation]

    def may_take(self, split: SMAllocation, state: PolicyState) -> bool:
        """The split in force, always; one that was given up under such a load, only if it was better."""
        seen = self.seen
        memory = fresh(state.given_up, seen.at, seen.seconds)
        return split == self.in_force or may_return(memory, split, self.shown.violation, seen.offered)

    def is_grave(self, settings: Settings) -> bool:
        """Shown, or predicted where the split stays: until that is shown, what must be worked off then piles up."""
        is_believed = self.confidence >= settings.least_confidence
        foreseen = judge(self.stays, settings.target).violation if is_believed else 0.0
        return max(self.shown.violation, foreseen) >= GRAVE

    def expected(self, split: SMAllocation) -> Prediction:
        return self.rungs.get(split, self.stays)

    def distance(self, split: SMAllocation) -> int:
        """From the split in force: of splits that promise the same, the nearest is the least of a change."""
        return abs(split.prefill_percentage - self.in_force.prefill_percentage)

    def stay(self, reason: str) -> Choice:
        return Choice(Action.STAY, self.in_force, reason, self.confidence, self.stays)


def decide(
    state: PolicyState, settings: Settings, predictor: Predictor, seen: WindowSummary, in_force: SMAllocation
) -> tuple[Decision, PolicyState]:
    """Once a window. Returns the decision, and the state to decide from next time."""
    if seen.samples < LEAST_SAMPLES:
        choice = Choice(Action.STAY, in_force, f"fewer than {LEAST_SAMPLES} requests are no ground to decide on")
        return Decision(in_force, seen, settings.target, choice), state.counted(False, False)
    view = _view(settings, predictor, seen, in_force)
    state = state.counted(bool(view.shown.violation), bool(judge(view.stays, settings.target).violation))
    choice = _if_auto(_choose(state, settings, view), settings.mode, view)
    decision = Decision(in_force, seen, settings.target, choice, view.rungs)
    return decision, state.gave_up(view) if decision.moves else state


def _view(settings: Settings, predictor: Predictor, seen: WindowSummary, in_force: SMAllocation) -> View:
    speeds = {split: predictor.profile.speeds(split, seen.lanes) for split in (*settings.ladder, in_force)}
    now = speeds[in_force]
    rungs = {split: predictor.predict(seen, now, speeds[split]) for split in settings.ladder}
    shown = verdict_of(seen, settings.target)
    lacking = Phase.DECODE if predictor.is_blocked(seen, now) else shown.worst
    short = frozenset(split for split in settings.ladder if predictor.is_short(seen, speeds[split]))
    stays = predictor.predict(seen, now, now)
    return View(
        seen, in_force, shown, stays, rungs, predictor.confidence(seen.at, seen.next_prompt_tokens), lacking, short
    )


def _choose(state: PolicyState, settings: Settings, view: View) -> Choice:
    """The questions in turn; each either ends in a choice or leads to the next."""
    if view.in_force.is_together:
        return view.stay("one worker computes both phases, until a person divides them again")
    if not view.is_grave(settings) and max(state.violated, state.foreseen) < PATIENCE:
        return view.stay("one window more must show it" if view.shown.violation else "both targets are kept")
    if left := state.cooldown_left(settings, view.seen.at):
        return view.stay(f"the last change was too recent, {left:.0f} s of cooldown are left")
    if view.confidence < settings.least_confidence:
        return _explore(state, settings, view)
    return _take_best(state, settings, view)


def _explore(state: PolicyState, settings: Settings, view: View) -> Choice:
    doubt = f"the prediction is uncertain ({view.confidence:.2f}, {settings.least_confidence:g} are wanted)"
    rung = _next_rung(settings.ladder, view)
    is_noise = state.violated < PATIENCE and view.in_force not in view.short
    if is_noise or rung is None:
        return view.stay(doubt)
    if not view.may_take(rung, state):
        return view.stay(f"{doubt}, and {rung} was no better")
    step = "one rung" if rung == settings.ladder.toward(view.lacking, view.in_force) else "the first that keeps up"
    reason = f"{doubt}, so {step} toward {view.lacking}, to learn from it"
    return Choice(Action.EXPLORE, rung, reason, view.confidence, view.rungs[rung])


def _next_rung(ladder: Ladder, view: View) -> SMAllocation | None:
    """One toward the phase that lacks; where that could not keep up either, the first that can, if there is one."""
    nearest = rung = ladder.toward(view.lacking, view.in_force)
    while rung is not None and rung in view.short:
        rung = ladder.toward(view.lacking, rung)
    return rung or nearest


def _take_best(state: PolicyState, settings: Settings, view: View) -> Choice:
    open_rungs = [split for split in view.rungs if view.may_take(split, state)] or [view.in_force]
    best = min(open_rungs, key=lambda split: (judge(view.expected(split), settings.target).rank, view.distance(split)))
    stays, there = judge(view.stays, settings.target), judge(view.expected(best), settings.target)
    overload = f"the box is overloaded at every split, at {best} by {there.excess(settings.target)}"
    gain = stays.violation - there.violation
    is_worth_it = there.headroom >= LEAST_HEADROOM or gain >= LEAST_GAIN * max(1.0, stays.violation)
    if best == view.in_force or not is_worth_it:
        return view.stay(overload if there.violation else "no other split promises enough")
    if there.violation:
        reason = f"it is the least bad, for {overload}"
    elif view.shown.violation:
        reason = "both targets should be kept there"
    else:
        reason = f"both targets should be kept there, and not at {view.in_force} ({stays.excess(settings.target)})"
    return Choice(Action.MOVE, best, reason, view.confidence, view.rungs[best])


def _if_auto(choice: Choice, mode: Mode, view: View) -> Choice:
    if mode is Mode.AUTO or choice.action is Action.STAY:
        return choice
    return view.stay(f"the policy is set to {mode} and does not take {choice.split}, though {choice.reason}")
