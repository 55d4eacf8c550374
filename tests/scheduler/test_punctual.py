"""Who is computed first: nobody is put off without need, and no other order makes fewer late."""

from __future__ import annotations

from itertools import permutations

from hypothesis import given
from hypothesis import strategies as st

from engine.request import Request, SamplingParams
from engine.scheduler.live_request import LiveRequest
from engine.scheduler.punctual import OVERDUE_EVERY, PATIENCE, Punctual, fewest_late

TARGET = 1.0
RATE = 100.0
NOW = 10.0


def prompt(number: int, tokens: int, waited: float = 0.0, priority: int = 0) -> LiveRequest:
    request = Request(number, [1] * tokens, SamplingParams(max_tokens=1), priority=priority, received_at=NOW - waited)
    return LiveRequest(request, b"", age=number)


def in_turn(*prompts: LiveRequest, overdue_since: float | None = None) -> list[int]:
    order = fewest_late(prompts, NOW, TARGET, RATE, overdue_since)
    return [live.id for live in order]


def late_ones(order: list[LiveRequest]) -> int:
    """How many first tokens come after the target when prompts are computed one after the other."""
    done_at, late = NOW, 0
    for live in order:
        done_at += live.length / RATE
        late += done_at > live.request.received_at + TARGET + 1e-9
    return late


def test_first_come_first_served_where_all_can_be_in_time() -> None:
    assert in_turn(prompt(1, 60), prompt(2, 10), prompt(3, 30)) == [1, 2, 3]


def test_the_longest_is_put_off_where_not_all_can_be_in_time() -> None:
    assert in_turn(prompt(1, 20), prompt(2, 80), prompt(3, 30)) == [1, 3, 2]


def test_a_prompt_that_is_late_in_any_case_makes_no_other_late() -> None:
    assert in_turn(prompt(1, 90, waited=0.5), prompt(2, 90)) == [2, 1]


def test_what_is_computed_already_does_not_count() -> None:
    under_way = prompt(1, 100)
    under_way.ordered = 80
    assert in_turn(under_way, prompt(2, 75)) == [1, 2]


def test_the_urgent_is_never_put_off_for_the_less_urgent() -> None:
    assert in_turn(prompt(1, 90, priority=-1), prompt(2, 20)) == [1, 2]


def test_one_that_has_had_tokens_before_is_not_put_off() -> None:
    again = prompt(1, 90)
    again.append(7)
    assert in_turn(again, prompt(2, 20)) == [1, 2]


def test_who_is_overdue_comes_first() -> None:
    overdue = prompt(1, 90, waited=9.0)
    assert in_turn(overdue, prompt(2, 20)) == [2, 1]
    assert in_turn(overdue, prompt(2, 20), overdue_since=NOW - 8.0) == [1, 2]


NEVER_ON_THE_DOT = st.integers(0, 1200).map(lambda ms: (ms + 0.5) / 1000)
"""A token takes 10 ms: who is due just when it is computed is late or not by how a sum was rounded."""


@given(st.lists(st.tuples(st.integers(1, 60), NEVER_ON_THE_DOT), max_size=6))
def test_no_order_makes_fewer_late(drawn: list[tuple[int, float]]) -> None:
    prompts = [
        prompt(number, tokens, waited) for number, (tokens, waited) in enumerate(sorted(drawn, key=lambda job: -job[1]))
    ]
    best = min(late_ones(list(order)) for order in permutations(prompts))
    assert late_ones(fewest_late(prompts, NOW, TARGET, RATE)) == best


def test_the_speed_is_what_was_seen_and_the_overdue_have_their_turn() -> None:
    now = NOW
    punctual = Punctual(TARGET, clock=lambda: now)
    long, short = prompt(1, 90, waited=TARGET * PATIENCE + 0.1), prompt(2, 20, waited=-1.0)
    assert [live.id for live in punctual.in_turn([long, short], 0, 0)] == [1, 2], "no speed is known yet"
    now += 1.0
    punctual.computed(100)
    turns = [[live.id for live in punctual.in_turn([long, short], 0, 0)] for _ in range(OVERDUE_EVERY)]
    assert turns == [[2, 1]] * (OVERDUE_EVERY - 1) + [[1, 2]]


def test_without_a_target_the_order_stays() -> None:
    punctual = Punctual(0.0, clock=lambda: NOW + 100.0)
    punctual.in_turn([], 0, 0)
    punctual.computed(1)
    assert [live.id for live in punctual.in_turn([prompt(1, 900), prompt(2, 1)], 0, 0)] == [1, 2]
