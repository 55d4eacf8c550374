"""An open loop that one process cannot hold, spread over several: each takes every n-th request."""

from __future__ import annotations

import gc
import multiprocessing
import time
from collections.abc import Sequence
from contextlib import ExitStack
from multiprocessing.connection import Connection
from typing import NamedTuple

from appliance.workload import Arrival
from bench.client import IsHopeless, Planned, run_open_loop
from bench.endpoint import Endpoint
from bench.prompts import Prompts
from bench.record import Observed, Record

START_DELAY = 0.25
"""Seconds between the word to start and time 0, so that every process has heard it."""


class Share(NamedTuple):
    """What one client process does."""

    endpoint: Endpoint
    arrivals: list[Arrival]
    prompts: Prompts
    grace_seconds: float
    is_hopeless: IsHopeless | None

    def plan(self) -> list[Planned]:
        requests = self.prompts.requests(self.endpoint, self.arrivals)
        return [Planned(Record(*arrival), request) for arrival, request in zip(self.arrivals, requests, strict=True)]

    def run(self, plan: Sequence[Planned], start: float) -> Observed:
        return run_open_loop(self.endpoint, plan, start, self.grace_seconds, self.is_hopeless)


def run_shares(whole: Share, clients: int) -> Observed:
    """The run as if one client had done it; records are in the order of their times."""
    if clients == 1:
        plan = whole.plan()
        gc.collect()  # takes long beside many prompts; during the run there is none
        return whole.run(plan, time.monotonic() + START_DELAY)
    shares = [whole._replace(arrivals=whole.arrivals[index::clients]) for index in range(clients)]
    return _merged(_run_in_processes(shares))


def _run_in_processes(shares: Sequence[Share]) -> list[Observed]:
    context = multiprocessing.get_context("spawn")
    with ExitStack() as ends:
        connections = list[Connection]()
        for share in shares:
            here, there = context.Pipe()
            ends.enter_context(here)
            process = context.Process(target=_run_share, args=(share, there), daemon=True)
            process.start()
            there.close()
            ends.callback(process.join)
            connections.append(here)
        for connection in connections:
            connection.recv()
        start = time.monotonic() + START_DELAY
        for connection in connections:
            connection.send(start)
        return [connection.recv() for connection in connections]


def _run_share(share: Share, connection: Connection) -> None:
    """The main function of a client process."""
    with connection:
        plan = share.plan()
        gc.collect()
        connection.send("ready")
        connection.send(share.run(plan, connection.recv()))


def _merged(parts: Sequence[Observed]) -> Observed:
    records = sorted((record for part in parts for record in part.records), key=lambda record: record.due)
    lags = [lag for part in parts for lag in part.loop_lags]
    return Observed(records, lags, any(part.is_cut_short for part in parts))
