"""Full collections come when nobody waits, and at last in any case."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from engine.garbage import LONGEST_SECONDS, NEVER, REST_SECONDS, Garbage


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    thresholds = gc.get_threshold()
    yield
    gc.set_threshold(*thresholds)
    gc.unfreeze()


def test_it_waits_for_a_rest() -> None:
    now, collections = 0.0, []
    garbage = Garbage(lambda: now, lambda: collections.append(now))
    assert collections == [0.0]
    now = REST_SECONDS + 1
    garbage.may_be_collected(is_at_rest=False)
    assert collections == [0.0]
    garbage.may_be_collected(is_at_rest=True)
    garbage.may_be_collected(is_at_rest=True)
    assert collections == [0.0, now]
    now += LONGEST_SECONDS
    garbage.may_be_collected(is_at_rest=False)
    assert collections[-1] == now


def test_no_full_collection_comes_by_itself_and_what_was_there_is_left_out() -> None:
    Garbage()
    assert gc.get_threshold()[2] == NEVER
    assert gc.get_freeze_count() > 0
