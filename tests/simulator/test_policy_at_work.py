"""The policy over simulated load: it goes where it should, and nowhere when it need not."""

from __future__ import annotations

import json
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from appliance.simulator.comparison import POLICY, simulate
from appliance.simulator.plot import as_svg
from appliance.simulator.result import Result
from appliance.slo.ladder import Ladder
from appliance.slo.target import SLOTarget
from appliance.workload import Arrival, draw, mix_named
from engine.allocation import SMAllocation
from tests.simulator.boxes import LARGE, SMALL

LADDER = Ladder.in_steps_of(10)
EVEN = SMAllocation(50, 50)
KEEPING = replace(LARGE, borrowing=False)
"""Each phase keeps to its own part: at these rates borrowing makes every split good enough."""
SHIFT_TARGET = SLOTarget(1500.0, 20.0)
SMALL_TARGET = SLOTarget(800.0, 60.0)


def shift(code_rate: float, reason_rate: float, seconds: float, seed: int) -> list[Arrival]:
    """Prompts that are long, then answers that are; each at a rate of its own."""
    code = draw(mix_named("azure-code"), code_rate, seconds, seed)
    reason = draw(mix_named("reason"), reason_rate, seconds, seed + 1)
    return code + [arrival._replace(at_seconds=arrival.at_seconds + seconds) for arrival in reason]


def under_policy(arrivals: list[Arrival], start: SMAllocation = EVEN) -> Result:
    return simulate(KEEPING, arrivals, SHIFT_TARGET, start, LADDER)


def test_it_follows_a_shift_from_prompts_to_answers() -> None:
    result = under_policy(shift(5.5, 6.0, 300.0, seed=1))
    splits = [split for _, split in result.changes]
    before = [split for at, split in result.changes if at < 300.0][-1]
    assert before.prefill_percentage > 50
    assert splits[-1].decode_percentage > 50
    assert 2 <= len(splits) - 1 <= 5
    assert len(result.sentences) >= 20


def test_it_leaves_a_split_that_starves_decode() -> None:
    result = under_policy(draw(mix_named("reason"), 5.0, 240.0, seed=4), SMAllocation(80, 20))
    assert result.changes[-1][1].decode_percentage > 20


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("seed", [1, 21])
def test_under_a_shift_it_beats_every_single_split_by_a_fifth(seed: int) -> None:
    arrivals = shift(5.5, 6.0, 600.0, seed)
    best = max(simulate(KEEPING, arrivals, SHIFT_TARGET, split).attainment for split in LADDER)
    assert under_policy(arrivals).attainment >= 1.2 * best


def steady(hours: float, rate: float = 0.6) -> Result:
    arrivals = draw(mix_named("fixed:200/60"), rate, hours * 3600.0, seed=7)
    return simulate(SMALL, arrivals, SMALL_TARGET, EVEN, LADDER)


def test_steady_load_moves_nothing_for_two_hours() -> None:
    result = steady(2.0, rate=0.4)
    assert len(result.changes) == 1
    assert result.attainment > 0.95


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_steady_load_moves_nothing_for_a_day() -> None:
    result = steady(24.0)
    assert len(result.changes) == 1
    assert result.attainment > 0.95


def test_a_box_that_is_overloaded_says_so_and_comes_to_rest() -> None:
    arrivals = draw(mix_named("azure-conv"), 14.0, 240.0, seed=3)
    result = under_policy(arrivals)
    assert len(result.changes) - 1 <= len(LADDER)
    assert result.attainment < 0.9


def test_a_result_is_plain_data_and_a_picture() -> None:
    arrivals = draw(mix_named("fixed:100/30"), 1.0, 60.0, seed=1)
    results = [simulate(SMALL, arrivals, SMALL_TARGET, split) for split in (EVEN, None)]
    results.append(simulate(SMALL, arrivals, SMALL_TARGET, EVEN, LADDER))
    assert [result.name for result in results] == ["50/50", "colocated", POLICY]
    again = json.loads(json.dumps([result.as_dict() for result in results]))
    assert again[0]["requests"] == len(arrivals)
    picture = ElementTree.fromstring(as_svg(results, "a < b & c"))
    texts = [element.text for element in picture.iter("{http://www.w3.org/2000/svg}text")]
    assert {"a < b & c", "50/50", "policy", "colocated"} <= set(texts)
    assert len(list(picture.iter("{http://www.w3.org/2000/svg}polyline"))) == 3
