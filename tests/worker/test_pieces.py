"""An order that is cut: every token once, in order, and each prompt's draw from its last piece."""

from __future__ import annotations

from typing import NamedTuple, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.model.runner import ModelRunner
from engine.model.segment import Drawn, Segment
from engine.piece_size import BORROW_SECONDS, FIRST_TOKENS, LEAST_TOKENS, PieceSize
from engine.request import SamplingParams
from engine.wire.to_scheduler import PrefillReport
from engine.wire.to_worker import PrefillChunk, PrefillOrder
from engine.worker.in_flight import ANSWER_SECONDS
from engine.worker.pieces import Pieces, cut
from engine.worker.prefill_steps import QUIET_SECONDS, PrefillSteps
from engine.worker.prefiller import Prefiller

ONCE = SamplingParams(max_tokens=1, temperature=0.0)


def segment(tokens: list[int], start: int = 0, draws: bool = True) -> Segment:
    return Segment(tokens, start, [1, 2, 3], ONCE if draws else None, 0)


def test_a_segment_that_is_cut_draws_with_its_tail() -> None:
    piece, rest = cut([segment([1, 2]), segment([3, 4, 5], start=8), segment([6])], 4)
    assert [(each.token_ids, each.start, each.sampling) for each in piece] == [([1, 2], 0, ONCE), ([3, 4], 8, None)]
    assert [(each.token_ids, each.start, each.sampling) for each in rest] == [([5], 10, ONCE), ([6], 0, ONCE)]


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(0, 50), st.booleans()), min_size=1), st.data())
def test_whatever_the_pieces_the_order_is_computed_once(
    order: list[tuple[int, int, bool]], data: st.DataObject
) -> None:
    segments = [segment(list(range(start, start + length)), start, draws) for length, start, draws in order]
    pieces, seen = Pieces(segments), list[tuple[int, int]]()
    while not pieces.is_over:
        most = data.draw(st.integers(1, 12))
        piece = pieces.take(most)
        assert 0 < sum(len(each.token_ids) for each in piece) <= most
        seen += [(each.start + at, token) for each in piece for at, token in enumerate(each.token_ids)]
        drawn = [Drawn(each.start + len(each.token_ids)) if each.sampling else None for each in piece]
        pieces.computed(drawn, 0.5, borrowed=True)
    assert seen == [(start + at, start + at) for length, start, _ in order for at in range(length)]
    assert pieces.drawn == [Drawn(start + length) if draws else None for length, start, draws in order]
    assert pieces.seconds == pieces.borrowed_seconds


@pytest.mark.parametrize(
    ("tokens", "pieces"), [(1, [1]), (100, [100]), (114, [114]), (150, [75, 75]), (205, [103, 102])]
)
def test_pieces_are_of_one_size_and_none_is_a_remnant(tokens: int, pieces: list[int]) -> None:
    size, cut = PieceSize(BORROW_SECONDS, tokens=100), []
    while left := tokens - sum(cut):
        cut.append(size.of(left))
    assert cut == pieces


def test_the_size_follows_the_speed_of_full_pieces() -> None:
    size = PieceSize.borrowed()
    assert size.tokens == FIRST_TOKENS
    size.learn(8, 0.01)
    assert size.tokens == FIRST_TOKENS, "a short piece says nothing"
    size.learn(FIRST_TOKENS, BORROW_SECONDS / 10)
    assert size.tokens == 2 * FIRST_TOKENS, "it grows step by step"
    size.learn(2 * FIRST_TOKENS, BORROW_SECONDS)
    assert size.tokens == 2 * FIRST_TOKENS
    size.learn(100, 2 * BORROW_SECONDS)
    assert size.tokens == 50, "what took too long counts, whatever its size"
    size.learn(50, 1.0)
    assert size.tokens == LEAST_TOKENS


class Launched(NamedTuple):
    """`is_over` False: as a GPU has it, until it is waited for."""

    drawn: list[Drawn | None]
    is_over: bool

    def tokens(self) -> list[Drawn | None]:
        return self.drawn


class Counter:
    """A model that draws how many tokens it was given, and keeps what it was given."""

    def __init__(self, runs_ahead: bool = False) -> None:
        self.steps: list[list[int]] = []
        self._runs_ahead = runs_ahead

    def launch(self, segments: list[Segment]) -> Launched:
        self.steps.append([len(each.token_ids) for each in segments])
        drawn = [Drawn(each.start + len(each.token_ids)) if each.sampling else None for each in segments]
        return Launched(drawn, is_over=not self._runs_ahead)


class Time:
    """A clock that is a little further each time it is looked at."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1e-6
        return self.now


def an_order(*lengths: int) -> PrefillOrder:
    return PrefillOrder(
        1, 1, tuple(PrefillChunk(number, [0] * length, 0, [1], ONCE) for number, length in enumerate(lengths))
    )


def steps_over(model: Counter, *lengths: int, may_cut: bool = True) -> PrefillSteps:
    """Just after the report of another order, whose requests may be on their way to decode."""
    steps = PrefillSteps(Prefiller(), cast(ModelRunner, model), may_cut=may_cut, clock=Time())
    steps.apply(an_order(1))
    steps.turn()
    model.steps.clear()
    steps.apply(an_order(*lengths))
    return steps


def test_with_the_whole_device_an_order_is_one_step_where_nobody_is_on_the_way_to_decode() -> None:
    model, time = Counter(), Time()
    steps = PrefillSteps(Prefiller(), cast(ModelRunner, model), clock=time)
    steps.apply(an_order(2000, 80))
    assert len(steps.turn(borrowed=True)) == 1
    time.now += QUIET_SECONDS
    steps.apply(an_order(2000, 90))
    assert len(steps.turn(borrowed=True)) == 1
    assert model.steps == [[2000, 80], [2000, 90]]
    steps.apply(an_order(10_000, 100))
    assert steps.turn(borrowed=True) == [], "those of the last order may be about to join"


def test_with_the_whole_device_an_order_takes_several_steps_and_one_report() -> None:
    model = Counter()
    steps = steps_over(model, 800, 400, 80)
    assert steps.turn(borrowed=True) == []
    assert model.steps == [[640]]
    assert steps.has_work
    (report,) = steps.turn(borrowed=False)
    assert isinstance(report, PrefillReport)
    assert model.steps == [[640], [160, 400, 80]]
    assert [token.token_id for token in report.tokens] == [800, 400, 80]
    assert (report.token_count, report.steps) == (1280, 2)
    assert 0 < report.borrowed_seconds < report.seconds
    assert not steps.has_work


def test_without_borrowing_it_takes_one() -> None:
    model = Counter()
    (report,) = steps_over(model, 1000, 2000).turn()
    assert model.steps == [[1000, 2000]]
    assert isinstance(report, PrefillReport) and (report.borrowed_seconds, report.steps) == (0.0, 1)


@pytest.mark.parametrize(("tokens", "can_borrow"), [(FIRST_TOKENS, True), (2 * FIRST_TOKENS, False)])
def test_what_must_not_be_cut_borrows_only_if_it_is_short(tokens: int, can_borrow: bool) -> None:
    assert steps_over(Counter(), tokens, may_cut=False).can_borrow is can_borrow
    assert steps_over(Counter(), tokens).can_borrow


def test_the_next_order_is_launched_before_the_last_is_seen() -> None:
    model, time = Counter(runs_ahead=True), Time()
    steps = PrefillSteps(Prefiller(), cast(ModelRunner, model), clock=time)
    steps.apply(an_order(100))
    assert steps.turn() == []
    assert model.steps == [[100]] and steps.has_work
    steps.apply(an_order(200))
    (report,) = steps.turn()
    assert isinstance(report, PrefillReport) and report.token_count == 100
    assert model.steps == [[100], [200]]
    assert steps.seconds_to_spare > 0, "the scheduler may just be answering"
    assert steps.turn() == [] and steps.has_work and not steps.can_borrow
    time.now += ANSWER_SECONDS
    assert steps.seconds_to_spare == 0
    (report,) = steps.turn()
    assert isinstance(report, PrefillReport) and report.token_count == 200
    assert not steps.has_work


def test_what_borrows_begins_when_nothing_else_is_in_flight() -> None:
    model = Counter(runs_ahead=True)
    steps = steps_in_flight(model, 100)
    steps.apply(an_order(30))
    before, borrowed = steps.turn(borrowed=True)
    assert isinstance(before, PrefillReport) and isinstance(borrowed, PrefillReport)
    assert (before.token_count, before.borrowed_seconds) == (100, 0.0)
    assert borrowed.token_count == 30 and borrowed.borrowed_seconds > 0


def test_nothing_is_in_flight_when_it_has_finished() -> None:
    steps = steps_in_flight(Counter(runs_ahead=True), 100)
    (report,) = steps.finish()
    assert isinstance(report, PrefillReport) and report.token_count == 100
    assert not steps.has_work and steps.finish() == []


def steps_in_flight(model: Counter, *lengths: int) -> PrefillSteps:
    steps = PrefillSteps(Prefiller(), cast(ModelRunner, model), clock=Time())
    steps.apply(an_order(*lengths))
    assert steps.turn() == []
    return steps
