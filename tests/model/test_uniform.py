"""The counter-based uniform numbers."""

from __future__ import annotations

import numpy as np

from engine.model.uniform import splitmix64, uniform

GOLDEN = 0x9E3779B97F4A7C15


def test_splitmix64_gives_the_published_sequence() -> None:
    """The first outputs for seed 1234567, as reference implementations print them."""
    states = np.array([(1234567 + index * GOLDEN) % 2**64 for index in range(3)], dtype=np.uint64)
    assert splitmix64(states).tolist() == [6457827717110365317, 3203168211198807973, 9817491932198370423]


def test_numbers_lie_in_zero_to_one_and_fill_it_evenly() -> None:
    drawn = uniform([9] * 20000, range(20000))
    assert drawn.min() >= 0.0
    assert drawn.max() < 1.0
    counts = np.histogram(drawn, bins=50, range=(0.0, 1.0))[0]
    # 49 degrees of freedom: one case in 10,000 is above 91.
    assert ((counts - 400) ** 2 / 400).sum() < 91


def test_any_whole_number_is_a_seed() -> None:
    assert uniform([-1], [0]) == uniform([2**64 - 1], [0])
    assert len({float(value) for value in uniform([0, 1, -1, 2**63, 2**64 - 2], [0] * 5)}) == 5


def test_each_number_depends_on_its_own_seed_and_index() -> None:
    together = uniform([5, 6, 7], [10, 20, 30])
    assert together.tolist() == [uniform([s], [i])[0] for s, i in ((5, 10), (6, 20), (7, 30))]
