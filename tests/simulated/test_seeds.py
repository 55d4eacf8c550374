"""Whatever a seed does to the appliance: every accepted request is answered, every page comes back."""

from __future__ import annotations

import pytest

from tests.simulated.replay import Failure, replay

SHORT, LONG = 300, 10_000


def check(seeds: range) -> None:
    """One failure is enough to stop, and tells how to see it again."""
    answered = 0
    for seed in seeds:
        result = replay(seed)
        assert not isinstance(result, Failure), str(result)
        answered += result.answered
    assert answered > len(seeds), "hardly anybody was answered: these seeds show nothing"


@pytest.mark.parametrize("first", range(0, SHORT, 50))
def test_fifty_seeds(first: int) -> None:
    check(range(first, first + 50))


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("first", range(SHORT, LONG, 500))
def test_five_hundred_seeds(first: int) -> None:
    check(range(first, min(first + 500, LONG)))
