"""Counted lanes report what a worker's real decoder reports, order for order and step for step."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from appliance.simulator.lanes import Lanes
from engine.model.segment import Drawn
from engine.request import SamplingParams
from engine.wire.to_scheduler import DecodeReport
from engine.wire.to_worker import DecodeOrder, Grant, Join
from engine.worker.decoder import Decoder

PAGE_SIZE = 4


def random_order(random: Random, sequence: int, known: list[int], next_id: int) -> DecodeOrder:
    """Joins of new requests, leaves and grants of known, unknown and finished ones."""
    joins = []
    for request_id in range(next_id, next_id + random.randrange(3)):
        index, prompt = random.randrange(3), random.randrange(1, 9)
        position = prompt + index
        pages = [1] * (position // PAGE_SIZE + 1)
        sampling = SamplingParams(max_tokens=index + random.randrange(1, 9))
        joins.append(Join(request_id, 0, position, index, pages, sampling))
    leaves = tuple(request_id for request_id in known if random.random() < 0.1)
    grants = tuple(Grant(request_id, [1] * random.randrange(1, 3)) for request_id in known if random.random() < 0.4)
    return DecodeOrder(1, sequence, tuple(joins), leaves, grants)


@given(st.integers(0, 10_000))
def test_the_same_reports_as_the_real_decoder(seed: int) -> None:
    random, real, counted = Random(seed), Decoder(1, PAGE_SIZE), Lanes(1, PAGE_SIZE)
    known: list[int] = []
    for sequence in range(1, 30):
        order = random_order(random, sequence, known, len(known) + 1)
        known += [join.request_id for join in order.joins]
        real.apply(order)
        counted.apply(order)
        assert real.has_work == counted.has_work
        segments = real.segments()
        batch, context = counted.begin()
        assert batch == len(segments)
        assert context == sum(segment.start + 1 for segment in segments)
        assert real.report([Drawn(0)] * len(segments), 0.5) == counted.report(0.5)


@given(st.lists(st.integers(1, 30), min_size=1, max_size=6))
def test_skipping_is_stepping(lengths: list[int]) -> None:
    stepping, skipping = Lanes(1, PAGE_SIZE), Lanes(1, PAGE_SIZE)
    pages = [1] * 20
    joins = tuple(Join(at, 0, 5, 1, pages, SamplingParams(max_tokens=n + 1)) for at, n in enumerate(lengths, start=1))
    for lanes in (stepping, skipping):
        lanes.apply(DecodeOrder(1, 1, joins))
    while skipping.has_work:
        batch, _ = skipping.begin()
        steps = skipping.equal_steps(free_pages=1000)
        if batch:
            skipping.skip(steps - 1)
        one_by_one = [step_of(stepping) for _ in range(steps)]
        assert skipping.report(0.5) == one_by_one[-1]


def step_of(lanes: Lanes) -> DecodeReport:
    lanes.begin()
    return lanes.report(0.5)


def test_nothing_is_skipped_where_a_page_might_be_missing() -> None:
    lanes = Lanes(1, PAGE_SIZE)
    lanes.apply(DecodeOrder(1, 1, (Join(1, 0, 3, 1, [1], SamplingParams(max_tokens=100)),)))
    lanes.begin()
    assert lanes.equal_steps(free_pages=2) == 1
    assert lanes.equal_steps(free_pages=12) == 40
    assert lanes.equal_steps(free_pages=1000) == 99
