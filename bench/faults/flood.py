"""`python -m bench.faults.flood`: far more requests than are served, for a while, whatever becomes of them.

A process of its own, of which there may be several. It is told what to send in a line of JSON, and says at the end what
came of it. A few of the requests are far too long for the model, and that is only known once they are tokenised: one of
them that is told to come again (503), and not that it is too long (400), was refused before.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from collections import Counter

import msgspec
import uvloop

from appliance.workload import Arrival
from bench.client import Planned
from bench.endpoint import Endpoint
from bench.faults.others import PROMPT_TOKENS, answered
from bench.prompts import Prompts
from bench.record import Record

TOO_LONG_CHARACTERS = 400_000
REFUSALS = ("HTTP 503", "HTTP 429")


class Task(msgspec.Struct):
    """`rate`: requests a second, in Poisson arrivals for `seconds`; one in `too_long_every` is too long."""

    endpoint: Endpoint
    rate: float
    seconds: float
    tokens: int
    vocabulary: int
    too_long_every: int
    seed: int


class Outcome(msgspec.Struct):
    """Seconds. `ttfts` and `tpots`: of each answer that was whole, in the same order. `refusals`: from the begin of
    connecting to the end of the refusal. `too_long`: how those were answered. `late`: how long after its time a request
    was sent.
    """

    ttfts: list[float] = msgspec.field(default_factory=list)
    tpots: list[float] = msgspec.field(default_factory=list)
    refusals: list[float] = msgspec.field(default_factory=list)
    too_long: dict[str, int] = msgspec.field(default_factory=dict)
    failures: dict[str, int] = msgspec.field(default_factory=dict)
    late: list[float] = msgspec.field(default_factory=list)

    @property
    def requests(self) -> int:
        return len(self.ttfts) + len(self.refusals) + sum(self.failures.values()) + sum(self.too_long.values())

    def take(self, record: Record, ended: float) -> None:
        """What became of one that was not too long."""
        if record.failure in REFUSALS:
            self.refusals.append(ended - record.sent)
        elif record.failure is not None:
            self.failures[record.failure] = self.failures.get(record.failure, 0) + 1
        else:
            assert record.ttft is not None and record.tpot is not None, "a whole answer has tokens"
            self.ttfts.append(record.ttft)
            self.tpots.append(record.tpot)


def together(outcomes: list[Outcome]) -> Outcome:
    """Of several processes."""
    return Outcome(
        ttfts=[seconds for one in outcomes for seconds in one.ttfts],
        tpots=[seconds for one in outcomes for seconds in one.tpots],
        refusals=[seconds for one in outcomes for seconds in one.refusals],
        too_long=dict(sum((Counter(one.too_long) for one in outcomes), Counter[str]())),
        failures=dict(sum((Counter(one.failures) for one in outcomes), Counter[str]())),
        late=[seconds for one in outcomes for seconds in one.late],
    )


class Flood:
    """Sends what a task says."""

    def __init__(self, task: Task):
        self._task = task
        self._prompts = Prompts(task.vocabulary)
        self._start = 0.0
        self.outcome = Outcome()

    async def run(self) -> Outcome:
        drawn, under_way, due, number = random.Random(self._task.seed), set[asyncio.Task[None]](), 0.0, 0
        self._start = time.monotonic()
        while (due := due + drawn.expovariate(self._task.rate)) < self._task.seconds:
            await asyncio.sleep(due - self._clock())
            self.outcome.late.append(self._clock() - due)
            number += 1
            ask = self._ask_too_long if number % self._task.too_long_every == 0 else self._ask
            one = asyncio.create_task(ask())
            under_way.add(one)
            one.add_done_callback(under_way.discard)
        await asyncio.gather(*under_way)
        return self.outcome

    async def _ask(self) -> None:
        arrival = Arrival(self._clock(), PROMPT_TOKENS, self._task.tokens)
        (request,) = self._prompts.requests(self._task.endpoint, [arrival])
        record = Record(*arrival, sent=self._clock())
        self.outcome.take(record, await answered(self._task.endpoint, Planned(record, request), self._clock))

    async def _ask_too_long(self) -> None:
        text = "too long " * (TOO_LONG_CHARACTERS // len("too long "))
        fields = {"model": self._task.endpoint.model, "prompt": text, "max_tokens": self._task.tokens, "stream": True}
        request = self._task.endpoint.request(msgspec.json.encode(fields))
        record = Record(self._clock(), 0, self._task.tokens, sent=self._clock())
        await answered(self._task.endpoint, Planned(record, request), self._clock)
        said = record.failure or "an answer"
        self.outcome.too_long[said] = self.outcome.too_long.get(said, 0) + 1

    def _clock(self) -> float:
        return time.monotonic() - self._start


def main() -> None:
    task = msgspec.json.decode(sys.stdin.readline(), type=Task)
    print(msgspec.json.encode(uvloop.run(Flood(task).run())).decode(), flush=True)


if __name__ == "__main__":
    main()
