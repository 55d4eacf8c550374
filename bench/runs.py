"""Carries runs out, one after another, and appends each to the results."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from msgspec.structs import replace

from appliance.workload import Arrival, draw, draw_evenly, draw_together, mix_named, read_trace
from bench.budget import Budget
from bench.client import Planned, run_rounds
from bench.client_processes import Share, run_shares
from bench.endpoint import Endpoint
from bench.hopeless import MissCount
from bench.machine import Machine
from bench.prompts import Prompts
from bench.rate_search import RateSearch, highest_good
from bench.record import Record
from bench.results import Configuration, Origin, Results, RunLine, SearchLine
from bench.summary import Summary, summarize, tail_tpot_ms
from engine.errors import SemiPDError

TRACE_PREFIX = "trace:"


class CannotJudge(SemiPDError):
    """A run of a search gave nothing that the search could go on with."""


def arrivals_of(configuration: Configuration) -> list[Arrival]:
    """The requests of an open loop. Raises `ValueError` for a mix or trace that cannot be had."""
    if configuration.mix.startswith(TRACE_PREFIX):
        return read_trace(Path(configuration.mix.removeprefix(TRACE_PREFIX)))
    assert configuration.rate is not None
    mix = mix_named(configuration.mix).scaled(configuration.scale)
    whole = configuration.warmup_seconds + configuration.seconds
    drawn = draw_evenly if configuration.even else draw
    return drawn(mix, configuration.rate, whole, configuration.seed)


def trace_seconds(file: Path, warmup_seconds: float) -> float:
    """How long a trace is measured: to just after its last request. Raises `ValueError`."""
    arrivals = read_trace(file)
    if not arrivals or arrivals[-1].at_seconds < warmup_seconds:
        raise ValueError(f"{file} has no request after the warm-up of {warmup_seconds:g} seconds.")
    return math.nextafter(arrivals[-1].at_seconds, math.inf) - warmup_seconds


class Conditions(NamedTuple):
    """What is the same for all runs of a command."""

    endpoint: Endpoint
    clients: int
    grace_seconds: float
    machine: Machine
    is_resumed: bool


class Bench:
    """Measures configurations that the results do not have yet; `say` is told of each run."""

    def __init__(self, conditions: Conditions, results: Results, budget: Budget, say: Callable[[RunLine], None]):
        self._conditions = conditions
        self._results = results
        self._budget = budget
        self._say = say

    def run(self, configuration: Configuration) -> Summary:
        """Measure it, or find it in the results. Raises `OutOfBudget`."""
        line = self._results.run_of(configuration) if self._conditions.is_resumed else None
        if line is None:
            self._budget.require(expected_seconds(configuration), f"{title(configuration)} could be measured")
            summary = self._rounds(configuration) if configuration.streams else self._open_loop(configuration)
            line = RunLine(Origin.now(self._conditions.machine), configuration, summary, self._conditions.clients)
            self._results.append(line)
        self._say(line)
        return line.summary

    def search(self, configuration: Configuration, search: RateSearch, goal: float) -> SearchLine:
        """The highest rate at which `goal` of the requests keep the targets. Raises `OutOfBudget`, `CannotJudge`."""
        whole = replace(configuration, goal=goal)
        found = self._results.search_of(whole) if self._conditions.is_resumed else None
        if found is not None:
            return found
        attainments: dict[float, float] = {}
        while (rate := search.next_rate(_are_good(attainments, goal))) is not None:
            attainments[rate] = _attainment(self.run(replace(whole, rate=rate)), rate)
        highest = highest_good(_are_good(attainments, goal))
        line = SearchLine(Origin.now(self._conditions.machine), whole, highest, attainments)
        self._results.append(line)
        return line

    def _open_loop(self, configuration: Configuration) -> Summary:
        arrivals = arrivals_of(configuration)
        begin, end = configuration.warmup_seconds, configuration.warmup_seconds + configuration.seconds
        goal, targets = configuration.goal, configuration.targets
        is_hopeless = None if goal is None else MissCount.for_goal(targets, begin, arrivals, goal)
        conditions, prompts = self._conditions, Prompts(configuration.vocabulary, configuration.token_ids)
        whole = Share(conditions.endpoint, arrivals, prompts, conditions.grace_seconds, is_hopeless)
        return summarize(run_shares(whole, conditions.clients), begin, end, targets)

    def _rounds(self, configuration: Configuration) -> Summary:
        """The first round warms up."""
        assert configuration.streams and configuration.rounds
        lengths = mix_named(configuration.mix).scaled(configuration.scale)
        count = configuration.streams * (configuration.rounds + 1)
        arrivals = draw_together(lengths, count, configuration.seed)
        endpoint, prompts = self._conditions.endpoint, Prompts(configuration.vocabulary, configuration.token_ids)
        share = Share(endpoint, arrivals, prompts, self._conditions.grace_seconds, None)
        planned = share.plan()
        rounds = [planned[at : at + configuration.streams] for at in range(0, count, configuration.streams)]
        observed = run_rounds(endpoint, rounds, self._conditions.grace_seconds)
        measured = [_records(together) for together in rounds[1:]]
        begin, end = span_of(measured)
        return replace(summarize(observed, begin, end, configuration.targets), tail_tpot_ms=tail_tpot_ms(measured))


def span_of(rounds: list[list[Record]]) -> tuple[float, float]:
    """From the first request's time to just after the last token of all."""
    times = [at for together in rounds for record in together for at in (record.due, *record.events)]
    return min(times), math.nextafter(max(times), math.inf)


def expected_seconds(configuration: Configuration) -> float:
    return configuration.warmup_seconds + configuration.seconds


def title(configuration: Configuration) -> str:
    """What a run is, in a few words."""
    if configuration.streams:
        return f"{configuration.mix} in {configuration.streams} streams"
    if configuration.rate is None:
        return configuration.mix
    return f"{configuration.mix} at {configuration.rate:g} req/s" + (", even" if configuration.even else "")


def _records(together: list[Planned]) -> list[Record]:
    return [planned.record for planned in together]


def _are_good(attainments: dict[float, float], goal: float) -> dict[float, bool]:
    return {rate: attainment >= goal for rate, attainment in attainments.items()}


def _attainment(summary: Summary, rate: float) -> float:
    if not summary.counts:
        raise CannotJudge(
            f"{summary.verdict} The search stops at {rate:g} req/s: free cores for the client, or try more --clients."
        )
    if summary.attainment is None:
        raise CannotJudge(f"No request came at {rate:g} req/s: make the runs longer with --seconds.")
    return summary.attainment
