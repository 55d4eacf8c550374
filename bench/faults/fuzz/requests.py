"""Made-up requests by the hundred thousand, from several processes, in rounds."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import NamedTuple

from bench.faults.box import Box
from bench.faults.fuzz.any_request import MOST_SHOWN, SLOW_SECONDS, Endpoint, Outcome, again, ask_in_many_ways
from bench.faults.fuzz.crashes import Crashes
from bench.faults.fuzz.result import FuzzConfiguration, FuzzLine
from bench.results import Origin

BATCH = 100
"""Requests of one batch, at most: to some operations there are fewer."""
BATCHES_A_PROCESS = 17
"""In a round."""


class Requests(NamedTuple):
    """What a round needs to know. It ends early at `most` cases."""

    box: Box
    configuration: FuzzConfiguration
    processes: int

    def round(self, number: int, origin: Origin, most: int, say: Callable[[str], None]) -> FuzzLine:
        began, crashes, endpoint = time.monotonic(), Crashes(self.box), endpoint_of(self.box)
        batches = self.processes * BATCHES_A_PROCESS
        total = Outcome()
        with ProcessPoolExecutor(self.processes, mp_context=get_context("spawn")) as pool:
            places = range(number * batches, (number + 1) * batches)
            asked = [pool.submit(ask_in_many_ways, endpoint, place, self.configuration.seed, BATCH) for place in places]
            for batch in asked:
                if total.outcomes.total() >= most:
                    batch.cancel()
                else:
                    add(total, batch.result())
        problems = [*total.problems, *_still_slow(total), *crashes.since(), *left_over(self.box)]
        for problem in problems:
            say(problem)
        return FuzzLine(
            origin,
            self.configuration,
            number,
            total.outcomes.total(),
            dict(sorted(total.outcomes.items())),
            tuple(problems),
            round(total.slowest_seconds, 3),
            None,
            round(time.monotonic() - began, 1),
            round(os.getloadavg()[0], 2),
        )


def endpoint_of(box: Box) -> Endpoint:
    found = box.endpoint
    return Endpoint(f"http://{found.address}:{found.port}", found.api_key, found.model)


def add(total: Outcome, more: Outcome) -> None:
    total.outcomes += Counter(more.outcomes)
    total.problems += more.problems
    total.slow += more.slow
    total.slowest_seconds = max(total.slowest_seconds, more.slowest_seconds)


def _still_slow(total: Outcome) -> Iterator[str]:
    """Those that are slow by themselves, in words."""
    for slow in total.slow:
        seconds = again(slow)
        total.slowest_seconds = max(total.slowest_seconds, seconds)
        if seconds > SLOW_SECONDS:
            yield f"it takes {seconds:.1f} s: {slow.method} {slow.url} {slow.body!r}"[:MOST_SHOWN]


def left_over(box: Box) -> list[str]:
    """Pages that nobody has and that are not free, in words."""
    left = box.pages_left()
    return [] if left == 0 else [f"pages in use afterwards: {'not served' if left is None else left}"]
