"""A box made of what was seen of another one serves as that one does, at splits that were never in force too."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import msgspec
import pytest

from appliance.recent_load import MOST_REQUESTS, LoadMemory
from appliance.simulator.box import Box
from appliance.simulator.comparison import simulate
from appliance.simulator.foretelling import Task, box_of, foretold
from appliance.simulator.simulation import Simulation
from appliance.slo.ladder import Ladder
from appliance.slo.profile import Profile, Speeds
from appliance.slo.target import SLOTarget
from appliance.workload import Arrival, draw, mix_named
from engine.allocation import SMAllocation
from tests.simulator.boxes import SMALL

SECONDS = 60
TARGET = SLOTarget(150.0, 14.0)
LADDER = Ladder.in_steps_of(20)
IN_FORCE = SMAllocation(50, 50)
STRETCHED = replace(SMALL, profile=Profile.guessed(), ttft_target_ms=TARGET.ttft_target_ms)
RESTING = replace(SMALL, ttft_target_ms=TARGET.ttft_target_ms)


def arrivals() -> list[Arrival]:
    return draw(mix_named("fixed:200/50"), 3.0, SECONDS, 1)


def seen_of(box: Box) -> Task:
    """What a controller has seen of it by the end, having looked once a second."""
    memory, simulation = LoadMemory(), Simulation(box, arrivals(), IN_FORCE)
    resting = Speeds(1.0, 1.0)

    def speeds_of(lanes: float | None) -> Speeds:
        return box.profile.speeds(IN_FORCE, lanes) if box.profile.stretches_steps else resting

    def look() -> None:
        live = {journey.request_id: (live, latest) for journey, live, latest in simulation.live_journeys()}
        records = [
            journey.record(len(live[number][0].output_ids), live[number][1]) if number in live
            else journey.record(0, None)
            for number, journey in simulation.journal.journeys.items()
        ]  # fmt: skip
        memory.observe(records, simulation.totals, speeds_of, simulation.now)
        if simulation.now < SECONDS:
            simulation.after(1.0, look)

    simulation.after(1.0, look)
    simulation.run()
    limits = {name: getattr(box, name) for name in ("pages", "page_size", "max_running_requests", "borrowing")}
    return Task(
        memory.recent(), limits | {"max_model_len": None}, box.profile.as_dict(), tuple(map(str, LADDER)),
        str(IN_FORCE), ttft_ms=TARGET.ttft_target_ms, tpot_ms=TARGET.tpot_target_ms,
    )  # fmt: skip


@pytest.mark.parametrize("box", [STRETCHED, RESTING], ids=["stretched", "resting"])
def test_it_serves_as_the_one_that_was_seen(box: Box) -> None:
    found = {result.name: result for result in foretold(seen_of(box))}
    assert list(found) == ["20/80", "40/60", "50/50", "60/40", "80/20", "policy"]
    truth = {str(split): simulate(box, arrivals(), TARGET, split) for split in (*LADDER, IN_FORCE)}
    for name, expected in truth.items():
        told = found[name]
        assert told.ttft_ms and told.tpot_ms and expected.ttft_ms and expected.tpot_ms
        assert told.attainment == pytest.approx(expected.attainment, abs=0.12), name
        assert told.tpot_ms.p95 == pytest.approx(expected.tpot_ms.p95, rel=0.15), name
        assert told.ttft_ms.p95 == pytest.approx(expected.ttft_ms.p95, rel=0.3), name
    assert min(result.attainment for result in truth.values()) < 0.7 < 0.8 < found["policy"].attainment


def test_step_times_are_those_of_the_whole_device() -> None:
    times = box_of(seen_of(STRETCHED)).times
    assert times.decode(8, 2000) == pytest.approx(SMALL.times.decode(8, 2000), rel=0.1)
    assert times.prefill(200, 0) == pytest.approx(SMALL.times.prefill(200, 20_000), rel=0.1)


def test_of_too_little_nothing_is_foretold() -> None:
    task = seen_of(RESTING)
    few = msgspec.structs.replace(task.load, requests=task.load.requests[:19])
    with pytest.raises(ValueError, match="20 requests are wanted, and 19 came"):
        foretold(msgspec.structs.replace(task, load=few))
    with pytest.raises(ValueError, match="Not enough"):
        foretold(msgspec.structs.replace(task, load=msgspec.structs.replace(task.load, decode=())))


def test_a_process_of_its_own() -> None:
    command = [sys.executable, "-m", "appliance.simulator.foretelling"]
    task = seen_of(RESTING)
    done = subprocess.run(command, input=msgspec.json.encode(task), capture_output=True, check=True)
    answer = msgspec.json.decode(done.stdout)
    assert answer["problem"] == "" and answer["results"][-1]["name"] == "policy"
    nothing = msgspec.structs.replace(task, load=msgspec.structs.replace(task.load, requests=()))
    refused = subprocess.run(command, input=msgspec.json.encode(nothing), capture_output=True, check=True)
    assert msgspec.json.decode(refused.stdout)["problem"].startswith("Not enough was served")


def test_no_more_is_kept_than_is_soon_simulated() -> None:
    task = seen_of(replace(RESTING, max_running_requests=64))
    assert len(task.load.requests) <= MOST_REQUESTS
    assert all(request.output_tokens == 50 for request in task.load.requests)
