"""`python -m bench.faults overload`: ten times what is served, for minutes. Who is refused at once, who is in time?"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import msgspec
from rich.console import Console
from typer import Option

from bench.budget import Budget
from bench.faults.box import Box, end_when_asked
from bench.faults.flood import Outcome, Task, together
from bench.faults.memory import MemoryWatch, processes_of
from bench.faults.open_files import allow
from bench.faults.others import Others
from bench.faults.overload_result import RESULTS, Grown, OverloadConfiguration, OverloadLine, OverloadResults
from bench.faults.overload_table import as_rich
from bench.machine import Machine, this_machine
from bench.options import BudgetMinutes, Resume, Seed, Vocabulary, explained
from bench.results import Origin
from bench.summary import p99_ms, percentiles
from engine.errors import SemiPDError

PROGRAM = ("python", "-m", "bench.faults")
QUEUE_VARIABLE = "SEMI_PD_MAX_QUEUE_SECONDS"
PART_OF_THE_TARGET = 0.5
"""Of the target for the first token, that the queue may take; the rest is for the prompt itself."""
STARTS_SECONDS = 120.0
LOOKS_SECONDS = 5.0
END_SECONDS = 120.0


class FloodFailed(SemiPDError):
    """A process that was to send requests has not."""


def overload(
    times: Annotated[float, Option(min=1.0, help="So many times what is served.")] = 10.0,
    minutes: Annotated[float, Option(min=0.1, help="How long.")] = 10.0,
    tokens: Annotated[int, Option(min=2, help="Of each answer.")] = 32,
    ttft_ms: Annotated[float, Option("--ttft-ms", min=1.0, help="Target for the first token of who is accepted.")] = (
        2000.0
    ),
    tpot_ms: Annotated[float, Option("--tpot-ms", min=1.0, help="Target for the time per token after it.")] = 200.0,
    queue_seconds: Annotated[
        float | None, Option(min=0.001, help="How long a request may wait; half of the first token's target if absent.")
    ] = None,
    saturating: Annotated[int, Option(min=1, help="Requests at once, to see how many are served.")] = 64,
    saturating_seconds: Annotated[float, Option(min=1.0, help="How long that is looked at.")] = 30.0,
    too_long_every: Annotated[int, Option(min=2, help="One in so many is too long for the model.")] = 50,
    clients: Annotated[int, Option(min=1, max=64, help="Processes that send.")] = 1,
    gateway_workers: Annotated[int, Option(min=1, max=16, help="Of the appliance.")] = 2,
    serve: Annotated[str, Option(help="More options of semi-pd serve.")] = "--device cpu",
    vocabulary: Vocabulary = 8192,
    seed: Seed = 0,
    results: Annotated[Path, Option("--results", help="JSON lines, appended to.")] = RESULTS,
    budget_minutes: BudgetMinutes = None,
    resume: Resume = False,
) -> None:
    """Send far more than is served, and look at refusals, at those accepted, and at every process' memory."""
    machine, file, budget = this_machine(), OverloadResults(results), Budget(budget_minutes)
    may_wait = queue_seconds or ttft_ms / 1000 * PART_OF_THE_TARGET
    box = Box(["--gateway-workers", str(gateway_workers), "--ttft-target-ms", str(ttft_ms), *serve.split()])
    end_when_asked()
    with explained():
        allow(4096)
        try:
            box.start()
            asked = OverloadConfiguration(
                box.serves, times, minutes, tokens, ttft_ms, tpot_ms, gateway_workers, seed, queue_seconds=may_wait
            )
            if resume and file.has(asked, Origin.now(machine, PROGRAM)):
                return
            budget.require(STARTS_SECONDS + saturating_seconds + 60 * minutes, f"{minutes:g} minutes of overload")
            served = _served_per_second(box, tokens, vocabulary, saturating, saturating_seconds)
            box.stop()
            os.environ[QUEUE_VARIABLE] = str(may_wait)
            box.start()
            tasks = [
                Task(
                    endpoint=box.endpoint,
                    rate=times * served / clients,
                    seconds=60 * minutes,
                    tokens=tokens,
                    vocabulary=vocabulary,
                    too_long_every=too_long_every,
                    seed=seed * 64 + number,
                )
                for number in range(clients)
            ]
            outcome, memory = _flood(box, tasks)
            file.append(_line(box, asked, machine, served, outcome, memory))
            Console().print(as_rich(file.lines[-1]))
        finally:
            box.stop()


def _served_per_second(box: Box, tokens: int, vocabulary: int, streams: int, seconds: float) -> float:
    """Answers that ended in the last two thirds, where so many are under way all the time."""
    records = Others(box.endpoint, streams, tokens, 0.001, vocabulary).measure(seconds).streamed
    ends = [record.events[-1] for record in records if record.failure is None]
    served = sum(seconds / 3 <= end < seconds for end in ends) / (seconds * 2 / 3)
    if not served:
        raise SemiPDError(f"None of {streams} requests at once was answered in {seconds:g} s: look longer.")
    return served


def _flood(box: Box, tasks: list[Task]) -> tuple[Outcome, dict[str, Grown]]:
    """All at once. Memory is looked at while they send."""
    status = box.status()
    assert status is not None, "it serves"
    command = [sys.executable, "-m", "bench.faults.flood"]
    floods = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in tasks]
    watch = MemoryWatch(processes_of(status), LOOKS_SECONDS)
    try:
        for flood, task in zip(floods, tasks, strict=True):
            assert flood.stdin is not None
            flood.stdin.write(msgspec.json.encode(task) + b"\n")
            flood.stdin.flush()
        said = [flood.communicate(timeout=tasks[0].seconds + END_SECONDS)[0] for flood in floods]
    finally:
        memory = watch.stop()
        for flood in floods:
            flood.kill()
    if any(flood.returncode for flood in floods):
        raise FloodFailed("Requests were not sent to the end: the process that was to send them has failed.")
    return together([msgspec.json.decode(one, type=Outcome) for one in said]), memory


def _line(
    box: Box,
    asked: OverloadConfiguration,
    machine: Machine,
    served: float,
    outcome: Outcome,
    memory: dict[str, Grown],
) -> OverloadLine:
    pairs = zip(outcome.ttfts, outcome.tpots, strict=True)
    return OverloadLine(
        origin=Origin.now(machine, PROGRAM),
        configuration=asked,
        served_per_second=round(served, 3),
        requests=outcome.requests,
        whole=len(outcome.ttfts),
        within=sum(1000 * ttft <= asked.ttft_ms and 1000 * tpot <= asked.tpot_ms for ttft, tpot in pairs),
        ttft_ms=percentiles(outcome.ttfts),
        tpot_ms=percentiles(outcome.tpots),
        refused=len(outcome.refusals),
        refusal_ms=percentiles(outcome.refusals),
        longest_refusal_ms=1000 * max(outcome.refusals, default=0.0),
        too_long=outcome.too_long,
        failures=outcome.failures,
        memory=memory,
        pages_left=box.pages_left(),
        late_ms_p99=p99_ms(outcome.late),
        load_average=round(os.getloadavg()[0], 2),
    )
