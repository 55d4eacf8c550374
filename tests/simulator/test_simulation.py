"""The real scheduler over simulated workers: everybody is served, every page comes back, skipping changes nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest

from appliance.simulator.box import Box
from appliance.simulator.journal import Journey
from appliance.simulator.simulation import Simulation
from appliance.workload import Arrival, draw, mix_named
from engine.allocation import SMAllocation
from tests.simulator.boxes import LARGE, SMALL

EVEN = SMAllocation(50, 50)
TIGHT = replace(SMALL, pages=60, max_model_len=900)


def journeys(simulation: Simulation) -> list[Journey]:
    simulation.run()
    assert simulation.scheduler.allocator.free_count == simulation.scheduler.allocator.total_pages
    assert not simulation.scheduler.live
    return list(simulation.journal.journeys.values())


def test_one_request_alone_takes_what_its_steps_take() -> None:
    (alone,) = journeys(Simulation(SMALL, [Arrival(1.0, 100, 11)], EVEN))
    times = SMALL.times
    assert alone.ttft_ms == pytest.approx(1000 * (times.prefill(100, 5050) + times.overhead))
    steps = [times.decode(1, 101 + step) for step in range(10)]
    # Each step is followed by a rest of its own length; the last token comes before the last rest.
    assert alone.tpot_ms == pytest.approx(1000 * (2 * sum(steps) - steps[-1]) / 10)


def test_a_long_prompt_is_cut_and_rests_between_its_chunks() -> None:
    (alone,) = journeys(Simulation(SMALL, [Arrival(0.0, 512, 1)], EVEN))
    first, second = (SMALL.times.prefill(256, context) for context in (256 * 257 / 2, 256 * 256 + 256 * 257 / 2))
    assert alone.ttft_ms == pytest.approx(1000 * (2 * first + second + SMALL.times.overhead))


@pytest.mark.parametrize("split", [EVEN, SMAllocation(80, 20), None])
@pytest.mark.parametrize("box", [SMALL, TIGHT, LARGE])
def test_skipping_equal_steps_changes_nothing(box: Box, split: SMAllocation | None) -> None:
    arrivals = draw(mix_named("fixed:100/40") if box is TIGHT else mix_named("sharegpt"), 3.0, 30.0, seed=5)
    step_by_step = Simulation(box, arrivals, split, skips=False)
    skipping = Simulation(box, arrivals, split)
    for slow, fast in zip(journeys(step_by_step), journeys(skipping), strict=True):
        assert fast.first_token_at == pytest.approx(slow.first_token_at, abs=1e-6)
        assert fast.finished_at == pytest.approx(slow.finished_at, abs=1e-6)
    assert skipping.totals.decode_tokens == step_by_step.totals.decode_tokens
    assert skipping.totals.decode_steps == step_by_step.totals.decode_steps
    assert skipping.totals.decode_seconds == pytest.approx(step_by_step.totals.decode_seconds)
    assert skipping.scheduler.preemptions == step_by_step.scheduler.preemptions


def test_a_pool_that_is_short_preempts_and_still_serves_all() -> None:
    simulation = Simulation(TIGHT, draw(mix_named("fixed:100/120"), 5.0, 10.0, seed=1), EVEN)
    done = journeys(simulation)
    assert simulation.scheduler.preemptions > 0
    assert all(journey.finished_at is not None for journey in done)


def test_a_change_of_split_under_load_loses_nothing_and_retires_the_old_group() -> None:
    simulation = Simulation(SMALL, draw(mix_named("sharegpt"), 2.0, 40.0, seed=2), SMAllocation(20, 80))
    for at, share in enumerate((80, 50, 30, 70), start=1):
        split = SMAllocation(share, 100 - share)
        simulation.after(8.0 * at, lambda split=split: simulation.change_split(split))
    done = journeys(simulation)
    assert all(journey.finished_at is not None for journey in done)
    assert {worker.epoch for worker in simulation.scheduler.groups.workers.values()} == {5}
    assert [str(split) for _, split in simulation.changes] == ["20/80", "80/20", "50/50", "30/70", "70/30"]


def test_more_for_a_phase_makes_it_faster() -> None:
    arrivals = draw(mix_named("sharegpt"), 1.0, 60.0, seed=3)
    to_prefill, to_decode = (journeys(Simulation(SMALL, arrivals, SMAllocation(x, 100 - x))) for x in (80, 20))
    assert sum(j.ttft_ms or 0 for j in to_prefill) < sum(j.ttft_ms or 0 for j in to_decode)
    assert sum(j.tpot_ms or 0 for j in to_prefill) > sum(j.tpot_ms or 0 for j in to_decode)


def test_what_does_not_fit_is_refused_and_has_no_latency() -> None:
    refused, served = journeys(Simulation(SMALL, [Arrival(0.0, 5000, 10), Arrival(0.1, 50, 10)], EVEN))
    assert refused.is_refused and refused.ttft_ms is None
    assert served.ttft_ms is not None
