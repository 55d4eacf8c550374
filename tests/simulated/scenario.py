"""What a seed stands for: the box, its load, its faults. The same seed gives the same, whatever becomes of it."""

from __future__ import annotations

from enum import StrEnum
from random import Random
from typing import NamedTuple

from engine.request import Request, SamplingParams
from engine.scheduler.limits import Limits


class Fault(StrEnum):
    """What is done to the appliance. Rotations and clients that leave are none, but are drawn with them."""

    KILL_WORKER = "kill a worker"
    STOP_WORKER = "stop a worker, let it go on"
    STOP_AND_KILL_WORKER = "stop a worker, kill it later"
    KILL_GROUP = "kill a group"
    KILL_LEADER = "kill a leader"
    KILL_SCHEDULER = "kill the scheduler"
    STOP_SCHEDULER = "stop the scheduler, let it go on"
    KILL_GATEWAY = "kill a gateway worker"
    CLIENT_LEAVES = "a client leaves"
    ROTATE = "rotate"
    ROTATE_TWICE = "rotate twice"
    CHANGE_IN_PLACE = "change the split in place"
    NEXT_GROUP_IS_LATE = "the next group is not ready in time"


class Event(NamedTuple):
    """`choice` says whom it hits, out of those that are there when it comes; `seconds` how long it lasts."""

    at: float
    fault: Fault
    choice: float
    seconds: float


class Arrival(NamedTuple):
    at: float
    gateway: int
    request: Request


class Scenario(NamedTuple):
    pages: int
    page_size: int
    limits: Limits
    prefix_caching: bool
    colocated: bool
    on_gpu: bool
    keeps_warm: bool
    runs_ahead: bool
    step_seconds: float
    gateways: int
    arrivals: list[Arrival]
    events: list[Event]


def scenario_of(seed: int) -> Scenario:
    """Pools are too small for their load in most of them."""
    chance = Random(f"scenario {seed}")
    page_size = chance.choice((2, 4))
    pages = chance.randint(16, 40)
    seconds = chance.uniform(0.5, 8.0)
    gateways = chance.randint(1, 3)
    count = chance.randint(4, 30)
    return Scenario(
        pages=pages,
        page_size=page_size,
        limits=_limits(chance, pages, page_size),
        prefix_caching=chance.random() < 0.7,
        colocated=chance.random() < 0.2,
        on_gpu=chance.random() < 0.5,
        keeps_warm=Random(f"standby {seed}").random() < 0.3,
        runs_ahead=chance.random() < 0.7,
        step_seconds=chance.choice((0.005, 0.03, 0.15)),
        gateways=gateways,
        arrivals=sorted(_arrival(chance, number, seconds, gateways, pages * page_size) for number in range(1, count)),
        events=sorted(_event(chance, seconds) for _ in range(chance.choice((0, 1, 2, 4, 8, 12, 16)))),
    )


def _limits(chance: Random, pages: int, page_size: int) -> Limits:
    return Limits(
        max_model_len=pages * page_size,
        max_running_requests=chance.randint(2, 8),
        max_queued_requests=100,
        prefill_token_budget=chance.randint(4, 20),
        prefill_depth=chance.randint(1, 3),
        grant_ahead_tokens=chance.choice((page_size, 2 * page_size)),
        chunk_tokens=2 * page_size if chance.random() < 0.2 else None,
        ttft_target_seconds=chance.choice((0.0, 0.2)),
    )


def _arrival(chance: Random, number: int, seconds: float, gateways: int, room: int) -> Arrival:
    """Most prompts have a beginning in common with another."""
    prompt = [chance.randint(1, 2)] * chance.randint(1, 20) + [
        chance.randint(0, 9) for _ in range(chance.randint(0, 4))
    ]
    sampling = SamplingParams(
        max_tokens=chance.randint(1, min(24, room - len(prompt))), stop_token_ids=(chance.randint(0, 49),), min_tokens=1
    )
    request = Request(number, prompt, sampling, key_id=chance.choice("xy"), priority=chance.choice((0, 0, 1)))
    return Arrival(chance.uniform(0.0, seconds) + number * 1e-9, chance.randrange(gateways), request)


def _event(chance: Random, seconds: float) -> Event:
    longest = chance.choice((0.02, 0.5, 8.0))
    return Event(
        chance.uniform(0.05, seconds + 1.0), chance.choice(list(Fault)), chance.random(), chance.uniform(0, longest)
    )
