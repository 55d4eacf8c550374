"""Decisions, each with its sentence."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.slo.capacity import Capacity
from appliance.slo.decision import Action
from appliance.slo.given_up import REMEMBERED_WINDOWS
from appliance.slo.ladder import Ladder
from appliance.slo.offered import Load
from appliance.slo.policy import LEAST_SAMPLES, Mode, PolicyState, Settings, decide
from appliance.slo.predictor import Predictor
from appliance.slo.profile import Profile, Speeds
from appliance.slo.target import SLOTarget
from appliance.slo.window import WindowSummary
from engine.allocation import Phase, SMAllocation
from tests.slo.test_predictor import SEEN, TARGET, learn_all, taught, window

EVEN = SMAllocation(50, 50)
LADDER = Ladder.in_steps_of(10)
SETTINGS = Settings(TARGET, LADDER)
KNOWING = taught(300.0, 0.0, 10.0, 0.0, [0.3, 0.5, 0.7, 0.5])  # TTFT 300 / x, TPOT 10 / y
UNKNOWING = Predictor(Profile.duty(), TARGET)
TWICE = PolicyState(violated=1)


def late(at: float = 200.0, factor: float = 1.0) -> WindowSummary:
    """At 50/50 the first token comes too late."""
    return window(at, 2.4 * factor * TARGET.ttft_target_ms, 20.0)


def test_targets_that_are_kept_change_nothing() -> None:
    decision, state = decide(PolicyState(), SETTINGS, KNOWING, window(200.0, 600.0, 20.0), EVEN)
    assert (decision.choice.action, decision.moves) == (Action.STAY, False)
    assert decision.sentence.endswith("Stays: both targets are kept.")
    assert state == PolicyState()


def test_few_requests_are_no_ground_to_decide_on() -> None:
    few = replace(late(), samples=LEAST_SAMPLES - 1)
    decision, state = decide(TWICE, SETTINGS, KNOWING, few, EVEN)
    assert not decision.moves
    assert "fewer than 20 requests" in decision.sentence
    assert state.violated == 0


def test_a_violation_moves_to_the_best_split_and_says_so() -> None:
    decision, state = decide(PolicyState(), SETTINGS, KNOWING, late(), EVEN)
    assert decision.choice.action is Action.MOVE
    assert decision.choice.split.prefill_percentage > 50
    assert state.changed_at == 200.0
    assert f"Predicted at {decision.choice.split}: TTFT" in decision.sentence
    assert f"Moves to {decision.choice.split}" in decision.sentence


def test_decode_gets_more_where_decode_is_late() -> None:
    decision, _ = decide(PolicyState(), SETTINGS, KNOWING, window(200.0, 300.0, 110.0), EVEN)
    assert decision.choice.split.decode_percentage > 50


def test_a_slight_violation_must_be_seen_twice() -> None:
    slight = window(200.0, 1300.0, 20.0)
    first, state = decide(PolicyState(), SETTINGS, KNOWING, slight, EVEN)
    assert "one window more must show it" in first.sentence
    second, _ = decide(state, SETTINGS, KNOWING, replace(slight, at=230.0), EVEN)
    assert second.choice.action is Action.MOVE


COMING = replace(window(200.0, 600.0, 20.0, Load(100.0)), forecast=Load(450.0))
"""Of 1,000 prompt tokens a second, half of which 50/50 computes."""


def test_what_is_foreseen_to_be_grave_is_not_waited_for() -> None:
    measured = replace(KNOWING, capacity=Capacity(prefill_rate=1000.0))
    decision, _ = decide(PolicyState(), SETTINGS, measured, COMING, EVEN)
    assert (decision.choice.action, str(decision.choice.split)) == (Action.MOVE, "80/20")
    assert "both targets should be kept there, and not at 50/50 (TTFT 5." in decision.sentence


def test_what_is_foreseen_without_confidence_must_be_foreseen_twice() -> None:
    measured = replace(KNOWING, capacity=Capacity(prefill_rate=1000.0))
    first, state = decide(PolicyState(), replace(SETTINGS, least_confidence=0.99), measured, COMING, EVEN)
    assert first.sentence.endswith("Stays: both targets are kept.")
    assert state.foreseen == 1


def test_of_splits_that_promise_the_same_the_nearest_is_taken() -> None:
    """Decode has all that it can use of 60 % of the chip, and prefill is far from its target."""
    speeds = {split: Speeds(split.prefill_percentage / 100, min(0.8, split.decode_percentage / 75)) for split in LADDER}
    plateau = replace(KNOWING, profile=Profile(speeds, stretches_steps=True))
    easy = replace(SETTINGS, target=SLOTarget(10_000.0, 30.0))
    decision, _ = decide(PolicyState(), easy, plateau, window(200.0, 450.0, 50.0), SMAllocation(80, 20))
    assert str(decision.choice.split) == "40/60"


@pytest.mark.parametrize(("since", "moves"), [(30.0, False), (59.0, False), (60.0, True), (300.0, True)])
def test_the_cooldown_holds(since: float, moves: bool) -> None:
    decision, _ = decide(PolicyState(changed_at=200.0 - since), SETTINGS, KNOWING, late(), EVEN)
    assert decision.moves is moves
    assert ("cooldown" in decision.sentence) is not moves


def test_without_confidence_one_rung_is_tried_after_two_windows() -> None:
    first, state = decide(PolicyState(), SETTINGS, UNKNOWING, late(), EVEN)
    assert "uncertain" in first.sentence and not first.moves
    second, state = decide(state, SETTINGS, UNKNOWING, late(230.0), EVEN)
    assert (second.choice.action, second.choice.split) == (Action.EXPLORE, SMAllocation(60, 40))
    assert "Tries 60/40" in second.sentence


@pytest.mark.parametrize(
    ("tokens_per_second", "tried"),
    [(300.0, "60/40"), (570.0, "70/30"), (620.0, "70/30"), (700.0, "80/20"), (990.0, "60/40")],
)
def test_rungs_that_could_not_keep_up_are_passed_over(tokens_per_second: float, tried: str) -> None:
    """The chip prefills 1,000 tokens a second, and a rung must have a twentieth of it to spare. Where the split in
    force cannot keep up itself, one window shows enough."""
    measured = replace(UNKNOWING, capacity=Capacity(prefill_rate=1000.0))
    load = Load(prefill=tokens_per_second, decode=0.0)
    first, state = decide(PolicyState(), SETTINGS, measured, replace(late(), offered=load, forecast=load), EVEN)
    second, _ = decide(state, SETTINGS, measured, replace(late(230.0), offered=load, forecast=load), EVEN)
    assert first.moves is (tokens_per_second > 450)
    decision = first if first.moves else second
    assert (decision.choice.action, str(decision.choice.split)) == (Action.EXPLORE, tried)
    step = "one rung" if tried == "60/40" else "the first that keeps up"
    assert f"so {step} toward prefill, to learn from it" in decision.sentence


def test_where_no_split_is_good_it_comes_to_rest() -> None:
    state, in_force, tried = PolicyState(), EVEN, []
    for number in range(REMEMBERED_WINDOWS * 30 // 100):
        violated = Phase.PREFILL if in_force.prefill_percentage < 70 else Phase.DECODE
        seen = late(100.0 * number) if violated is Phase.PREFILL else window(100.0 * number, 300.0, 120.0)
        decision, state = decide(state, SETTINGS, UNKNOWING, seen, in_force)
        if decision.moves:
            in_force = decision.choice.split
            tried.append(in_force)
    assert tried == [SMAllocation(60, 40), SMAllocation(70, 30)]


@pytest.mark.parametrize("mode", [Mode.HOLD, Mode.MANUAL])
def test_other_modes_say_what_they_do_not_do(mode: Mode) -> None:
    decision, _ = decide(PolicyState(), replace(SETTINGS, mode=mode), KNOWING, late(), EVEN)
    assert not decision.moves
    assert f"the policy is set to {mode} and does not take" in decision.sentence


def test_an_overloaded_box_is_called_so_and_by_how_much() -> None:
    hopeless = taught(9000.0, 0.0, 400.0, 0.0, [0.3, 0.5, 0.7, 0.5])
    seen = window(200.0, 18_000.0, 800.0)
    decision, _ = decide(PolicyState(), SETTINGS, hopeless, seen, EVEN)
    assert "overloaded at every split" in decision.sentence
    assert "times its 1000 ms" in decision.sentence


def test_a_split_asked_for_by_hand_is_a_place_to_leave_from() -> None:
    decision, _ = decide(PolicyState(), SETTINGS, KNOWING, late(), SMAllocation(60, 60))
    assert decision.choice.split in SETTINGS.ladder or not decision.moves


@given(st.lists(SEEN, min_size=1, max_size=12), st.integers(1, 99), st.integers(0, 5), st.booleans())
def test_whatever_was_seen_the_choice_is_a_rung_or_the_split_in_force(
    windows: list, share: int, violated: int, foreseen: bool
) -> None:
    predictor, seen, _ = learn_all(windows)
    in_force = SMAllocation(share, 100 - share)
    state = PolicyState(violated=violated, foreseen=2 * foreseen)
    decision, after = decide(state, SETTINGS, predictor, seen, in_force)
    assert decision.choice.split == in_force or decision.choice.split in SETTINGS.ladder
    assert decision.moves == (decision.choice.action is not Action.STAY)
    assert decision.sentence.endswith(".")
    assert (after.changed_at == seen.at) is decision.moves
