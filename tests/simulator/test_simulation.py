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
KEEPING = replace(SMALL, borrowing=False)
"""Each phase keeps to its own part."""
TIGHT = replace(SMALL, pages=60, max_model_len=900)


def journeys(simulation: Simulation) -> list[Journey]:
    simulation.run()
    assert simulation.scheduler.allocator.free_count == simulation.scheduler.allocator.total_pages
    assert not simulation.scheduler.live
    return list(simulation.journal.journeys.values())


def test_one_request_alone_takes_what_its_steps_take() -> None:
    (alone,) = journeys(Simulation(KEEPING, [Arrival(1.0, 100, 11)], EVEN))
    times = SMALL.times
    assert alone.ttft_ms == pytest.approx(1000 * (times.prefill(100, 5050) + times.overhead))
    steps = [times.decode(1, 101 + step) for step in range(10)]
    # Each step is followed by a rest of its own length; the last token comes before the last rest.
    assert alone.tpot_ms == pytest.approx(1000 * (2 * sum(steps) - steps[-1]) / 10)


def test_who_is_alone_has_the_whole_device_in_pieces_that_decode_could_wait_for() -> None:
    (alone,) = journeys(Simulation(SMALL, [Arrival(1.0, 100, 11)], EVEN))
    times = SMALL.times
    assert alone.ttft_ms == pytest.approx(1000 * (times.prefill(100, 5050) + times.overhead)), (
        "no rest, too short to cut"
    )
    steps = [times.decode(1, 101 + step) for step in range(10)]
    assert alone.tpot_ms == pytest.approx(1000 * sum(steps) / 10), "no rest between steps"
    long = Box(replace(SMALL.times, c0=0.001, c1=1e-4), prefill_token_budget=1024, max_model_len=4096)
    (cut,) = journeys(Simulation(long, [Arrival(1.0, 1024, 1)], EVEN))
    whole = 1000 * (long.times.prefill(1024, 1024 * 1025 / 2) + long.times.overhead)
    assert cut.ttft_ms is not None and cut.ttft_ms == pytest.approx(whole), "a first order teaches how long a piece is"


@pytest.mark.parametrize("box", [SMALL, replace(SMALL, profile=LARGE.profile)])
def test_a_step_has_the_whole_device_only_while_the_other_phase_is_idle(box: Box) -> None:
    arrivals = [Arrival(0.0, 20, 200), Arrival(0.3, 900, 2)]
    lent, kept = (Simulation(replace(box, borrowing=borrowing), arrivals, EVEN) for borrowing in (True, False))
    ends = [[journey.finished_at or 0.0 for journey in journeys(simulation)] for simulation in (lent, kept)]
    assert ends[0][0] < ends[1][0], "decode alone is faster than its share"
    assert 0 < lent.totals.decode_borrowed_seconds < lent.totals.decode_seconds, "not beside the long prompt"
    assert kept.totals.decode_borrowed_seconds == 0


@pytest.mark.parametrize("box", [KEEPING, replace(KEEPING, profile=LARGE.profile)])
def test_a_split_taken_in_place_is_another_pace_and_the_same_workers(box: Box) -> None:
    arrivals = [Arrival(0.0, 20, 400)]
    stayed, moved = Simulation(box, arrivals, SMAllocation(80, 20)), Simulation(box, arrivals, SMAllocation(80, 20))
    moved.after(0.5, lambda: moved.take_split(SMAllocation(20, 80)))
    slow, fast = (journeys(simulation)[0].finished_at or 0.0 for simulation in (stayed, moved))
    assert fast < slow
    assert {worker.epoch for worker in moved.scheduler.groups.workers.values()} == {1}
    assert sorted(worker.share for worker in moved.scheduler.groups.workers.values()) == [20, 80]


def test_who_joins_after_the_next_step_was_launched_waits_for_the_one_after_it() -> None:
    early = replace(KEEPING, launch_seconds=0.0)
    late = replace(KEEPING, launch_seconds=0.004)
    arrivals = [Arrival(0.0, 20, 60), Arrival(0.1, 20, 2), Arrival(0.17, 25, 2), Arrival(0.23, 30, 2)]
    at_once, ahead = (
        sum(journey.finished_at or 0.0 for journey in journeys(Simulation(box, arrivals, SMAllocation(50, 50)))[1:])
        for box in (early, late)
    )
    assert ahead > at_once


def test_a_long_prompt_is_cut_and_rests_between_its_chunks() -> None:
    (alone,) = journeys(Simulation(KEEPING, [Arrival(0.0, 512, 1)], EVEN))
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
