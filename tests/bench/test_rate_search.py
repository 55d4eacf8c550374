"""The search finds the rate of a server whose limit is known, in few runs, and never asks twice."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.rate_search import FLOOR, RateSearch, highest_good


class Queue:
    """A server with one line (M/M/1): a request is attained if it leaves within the target, which the part
    1 − exp(−(capacity − rate) · target) does."""

    def __init__(self, capacity: float, target_seconds: float):
        self._capacity = capacity
        self._target_seconds = target_seconds

    def attainment(self, rate: float) -> float:
        spare = self._capacity - rate
        return 0.0 if spare <= 0 else 1 - 2.718281828459045 ** (-spare * self._target_seconds)

    @property
    def limit(self) -> float:
        """Where nine in ten are attained: exp(−(capacity − rate) · target) = 1/10."""
        return self._capacity - 2.302585092994046 / self._target_seconds


def searched(server: Queue, search: RateSearch) -> dict[float, bool]:
    tried: dict[float, bool] = {}
    while (rate := search.next_rate(tried)) is not None:
        assert rate not in tried
        tried[rate] = server.attainment(rate) >= 0.9
    return tried


@given(capacity=st.floats(1.0, 200.0), start=st.floats(0.5, 100.0), resolution=st.floats(0.02, 0.2))
def test_the_limit_is_found_within_the_resolution(capacity: float, start: float, resolution: float) -> None:
    server = Queue(capacity, target_seconds=5.0)
    tried = searched(server, RateSearch(start, resolution))
    found = highest_good(tried)

    assert found is not None
    assert found <= server.limit * 1.0001
    assert server.limit <= found * (1 + resolution) * 1.01  # rates have three digits
    assert len(tried) <= 20


def test_a_server_that_keeps_nothing_ends_the_search() -> None:
    tried = searched(Queue(capacity=0.0, target_seconds=1.0), RateSearch(4.0))

    assert highest_good(tried) is None
    assert min(tried) < 2 * FLOOR


def test_it_goes_on_from_what_is_known() -> None:
    search = RateSearch(4.0, resolution=0.1)

    assert search.next_rate({}) == 4.0
    assert search.next_rate({4.0: True}) == 8.0
    assert search.next_rate({4.0: False}) == 2.0
    assert search.next_rate({4.0: True, 8.0: False}) == 6.0
    assert search.next_rate({4.0: True, 8.0: False, 6.0: True}) == 7.0
    assert search.next_rate({6.0: True, 6.5: False}) is None


def test_luck_beyond_a_bad_rate_is_not_believed() -> None:
    assert highest_good({4.0: True, 8.0: False, 10.0: True}) == 4.0


@pytest.mark.parametrize("start", [0.0123456, 1234.56])
def test_rates_are_round(start: float) -> None:
    rate = RateSearch(start).next_rate({})

    assert rate == pytest.approx(start, rel=0.01)
    assert len(f"{rate:g}".replace(".", "").strip("0")) <= 3
