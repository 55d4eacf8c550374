"""What is written to the device, replayed on an array: each lane finds its token and pages, nobody's row page 0."""

from __future__ import annotations

import random

import numpy as np
import pytest

from engine.model.lane import Lane
from engine.model.lane_slots import LaneSlots
from engine.request import SamplingParams

BUCKETS = (1, 2, 4, 8)
TABLE_PAGES = 6
PAGE_SIZE = 4
PARAMS = SamplingParams(max_tokens=1)


def lane(request_id: int, position: int = 0, pages: int = 1) -> Lane:
    return Lane(request_id, request_id * 100, position, 0, [request_id * 10 + at for at in range(pages)], PARAMS, None)


class Mirror:
    """The device's buffer, which draws a token in each row of the bucket at each step."""

    def __init__(self) -> None:
        self.slots = LaneSlots(BUCKETS, TABLE_PAGES)
        self.buffer = np.full(self.slots.size, 0, dtype=np.int64)
        self.written = 0

    def step(self, lanes: list[Lane]) -> None:
        """Check what a step over `lanes` would read, then draw: the next token is this one and one."""
        placement = self.slots.place(lanes)
        sources = [source for source, _ in placement.moves]
        self.buffer[[to for _, to in placement.moves]] = self.buffer[sources]
        places, values = placement.cells
        assert len(set(places.tolist())) == len(places), "a cell is written twice, in no order"
        self.buffer[places] = values
        self.written = len(places)
        assert placement.bucket == next(bucket for bucket in BUCKETS if bucket >= len(lanes))
        assert len(set(placement.slots)) == len(lanes)
        tables = self.buffer[BUCKETS[-1] :].reshape(-1, TABLE_PAGES)
        for one, slot in zip(lanes, placement.slots, strict=True):
            assert slot < placement.bucket
            assert self.buffer[slot] == one.token_id
            assert tables[slot][: len(one.pages)].tolist() == one.pages
        for slot in set(range(placement.bucket)) - set(placement.slots):
            assert tables[slot][0] == 0, "a row of nobody writes to somebody's page"
        self.buffer[: placement.bucket] += 1
        for one in lanes:
            one.token_id += 1
            one.position += 1


def test_a_lane_that_runs_on_is_written_once() -> None:
    mirror, lanes = Mirror(), [lane(1), lane(2, pages=3), lane(3)]
    mirror.step(lanes)
    assert mirror.written == 3 + 5
    mirror.step(lanes)
    assert mirror.written == 0


def test_granted_pages_are_written_alone() -> None:
    mirror, lanes = Mirror(), [lane(1), lane(2)]
    mirror.step(lanes)
    lanes[1].pages += [98, 99]
    mirror.step(lanes)
    assert mirror.written == 2


def test_a_step_that_was_computed_elsewhere_makes_the_token_known() -> None:
    mirror, lanes = Mirror(), [lane(1), lane(2)]
    mirror.step(lanes)
    lanes[0].token_id, lanes[0].position = 555, lanes[0].position + 1
    mirror.step(lanes)
    assert mirror.written == 1


def test_those_left_over_move_down_into_the_smaller_bucket() -> None:
    mirror, lanes = Mirror(), [lane(request_id, pages=2) for request_id in range(1, 8)]
    mirror.step(lanes)
    mirror.step(lanes[5:])
    mirror.step([lanes[6]])
    assert mirror.slots.place([lanes[6]]).slots == [0]


def test_a_request_that_comes_back_is_another_lane() -> None:
    mirror = Mirror()
    mirror.step([lane(1)])
    again = lane(1, position=1)
    again.pages = [77]
    mirror.step([again])


def test_more_pages_than_the_longest_sequence_has_are_our_own_mistake() -> None:
    with pytest.raises(AssertionError, match="longest"):
        Mirror().step([lane(1, pages=TABLE_PAGES + 1)])


@pytest.mark.parametrize("seed", range(20))
def test_any_coming_and_going(seed: int) -> None:
    source, mirror = random.Random(seed), Mirror()
    lanes, made = [lane(1)], 1
    for _ in range(200):
        for gone in [one for one in lanes if source.random() < 0.2 or one.position >= TABLE_PAGES * PAGE_SIZE]:
            lanes.remove(gone)
        while not lanes or (len(lanes) < BUCKETS[-1] and source.random() < 0.5):
            made += 1
            lanes.insert(source.randrange(len(lanes) + 1), lane(made, pages=source.randint(1, TABLE_PAGES)))
        for one in lanes:
            if len(one.pages) < TABLE_PAGES and source.random() < 0.3:
                one.pages.append(source.randrange(1, 1000))
        mirror.step([one for one in lanes if source.random() < 0.9] or lanes[:1])
