"""A bench for one endpoint, and the split that is in force there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from appliance.instance import Instance
from bench.budget import Budget
from bench.endpoint import find_endpoint
from bench.machine import this_machine
from bench.results import Results, RunLine
from bench.runs import Bench, Conditions, title
from bench.system_measured import key_for, running_url, split_in_force
from bench.table import run_table


@contextmanager
def measuring(
    url: str | None,
    api_key: str | None,
    model: str | None,
    ca_file: Path | None,
    clients: int,
    grace_seconds: float,
    results: Path,
    budget_minutes: float | None,
    resume: bool,
) -> Iterator[Bench]:
    """A bench for one endpoint; its table is shown at the end, whatever the end is."""
    instance = Instance.of_user()
    where = url or running_url(instance)
    endpoint = find_endpoint(where, api_key or key_for(instance, where), model, ca_file)
    conditions = Conditions(endpoint, clients, grace_seconds, this_machine(), resume)
    console, shown = Console(), list[RunLine]()

    def say(line: RunLine) -> None:
        shown.append(line)
        console.print(f"{title(line.configuration)}: {line.summary.finished} of {line.summary.requests} finished")
        if not line.summary.counts:
            console.print(line.summary.verdict, style="yellow")

    try:
        yield Bench(conditions, Results(results), Budget(budget_minutes), say)
    finally:
        if shown:
            console.print(run_table(shown))


def split_for(url: str | None, split: str | None) -> str:
    """As given, or as the running appliance tells."""
    instance = Instance.of_user()
    return split_in_force(instance, url or running_url(instance)) if split is None else split
