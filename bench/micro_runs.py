"""Carries out `bench micro`: what is still to be timed, within the budget, into the results and onto the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from bench.budget import Budget
from bench.machine import this_machine
from bench.micro import measure
from bench.report import micro_row
from bench.results import MicroLine, Results, Step
from engine.config import ServerArgs
from engine.device.detect import detect_device

START_SECONDS = 60.0
"""What loading and warming up are held to take when the budget is asked."""


def micro_runs(
    settings: ServerArgs,
    steps: Sequence[Step],
    repeats: int,
    results: Results,
    budget: Budget,
    is_resumed: bool,
    console: Console,
) -> None:
    """Raises `OutOfBudget` before the step that would not end in time."""
    machine, settings = this_machine(), settings.for_device(detect_device(settings.device))
    done = [
        line.step
        for line in results.of_kind(MicroLine)
        if is_resumed
        and (line.origin.machine, line.model, line.dtype) == (machine, settings.model_name, settings.dtype)
    ]
    left = [step for step in steps if step not in done]
    if not left:
        console.print("Everything asked for is in the results already.")
        return
    budget.require(START_SECONDS, "the first step could be timed")

    def skip(step: Step, problem: str) -> None:
        console.print(f"Left out: {step.kind} {step.batch} × {step.context}, {problem}.")

    table = Table("when", "model", "step", "ms", "floor by bytes", "floor by operations", "× floor", "TB/s", "TFLOP/s")
    for line in measure(settings, left, repeats, machine, skip):
        results.append(line)
        table.add_row(*micro_row(line))
    console.print(table)
