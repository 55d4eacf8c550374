"""`python -m bench.shift`: load that shifts from prompts to answers and back, on this user's running appliance."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from typer import Option

from appliance.instance import Instance
from appliance.workload import mix_named
from bench.as_found import left_as_found
from bench.budget import Budget
from bench.endpoint import find_endpoint
from bench.machine import this_machine
from bench.options import BudgetMinutes, Clients, Grace, Resume, Scale, Seed, System, Vocabulary, explained
from bench.results import Origin
from bench.rotation.__main__ import serves, splits_in
from bench.shift.options import TPOT, TTFT, Answers, AnswersRate, PartSeconds, Prompts, PromptsRate, Start
from bench.shift.result import POLICY, RESULTS, Part, ShiftConfiguration, ShiftResults
from bench.shift.run import Shift
from bench.shift.table import as_rich, compared
from bench.system_measured import key_for, running_url
from engine.config import PortArgs

PROGRAM = ("python", "-m", "bench.shift")


def shift(
    prompts: Prompts = "azure-code",
    prompts_rate: PromptsRate = 5.5,
    answers: Answers = "reason",
    answers_rate: AnswersRate = 6.0,
    part_seconds: PartSeconds = 300.0,
    splits: Annotated[
        str, Option(help="Static splits to compare with; none, as '', where only the policy runs.")
    ] = "20/80,40/60,60/40,80/20",
    policy: Annotated[bool, Option(help="Run under the policy, too: without it only the splits are measured.")] = True,
    start: Start = "50/50",
    ttft_ms: TTFT = 1500.0,
    tpot_ms: TPOT = 20.0,
    seed: Seed = 0,
    scale: Scale = 1.0,
    vocabulary: Vocabulary = 8192,
    clients: Clients = 1,
    grace_seconds: Grace = 60.0,
    system: System = "semi-pd",
    results: Annotated[Path, Option(help="JSON lines, appended to.")] = RESULTS,
    budget_minutes: BudgetMinutes = None,
    resume: Resume = False,
) -> None:
    """First under the policy, which knows nothing yet, then at each static split."""
    instance, machine = Instance.of_user(), this_machine()
    with explained(), left_as_found(instance) as status:
        running = instance.running()
        assert running is not None
        settings = PortArgs(Path(running.runtime_dir)).read_settings()
        first, second = mix_named(prompts).name, mix_named(answers).name
        heavy, light = Part(first, prompts_rate, part_seconds), Part(second, answers_rate, part_seconds)
        asked = ShiftConfiguration(
            system=system,
            serves=serves(status),
            parts=(heavy, light, heavy),
            scale=scale,
            seed=seed,
            ttft_ms=ttft_ms,
            tpot_ms=tpot_ms,
            window_seconds=settings.window_size_seconds,
            cooldown_seconds=settings.adjustment_cooldown_seconds,
            start=str(splits_in(start)[0]),
        )
        file, budget = ShiftResults(results), Budget(budget_minutes)
        url = running_url(instance)
        run = Shift(instance, find_endpoint(url, key_for(instance, url)), asked, vocabulary, clients, grace_seconds)
        console = Console()
        for ruler in rulers(policy, splits):
            if resume and file.has(asked, machine, ruler):
                continue
            budget.require(3 * part_seconds + asked.window_seconds, f"the run of {ruler} could be made")
            file.append(run.run(ruler, Origin.now(machine, PROGRAM)))
            console.print(f"{ruler}: {file.lines[-1].attainment:.1%} of {file.lines[-1].requests} within the targets")
        for group in compared(line for line in file.lines if line.configuration == asked):
            console.print(as_rich(group))


def rulers(policy: bool, splits: str) -> list[str]:
    """The policy first, if it runs, then each static split; raises `ValueError` with a sentence where nothing is left.

    Runs of several appliances side by side, each with one ruler, append to files that are compared as one.
    """
    fixed = [str(split) for split in splits_in(splits)] if splits else []
    if not policy and not fixed:
        raise ValueError("Neither the policy nor any split is to be measured: give --splits, or leave out --no-policy.")
    return [POLICY] * policy + fixed


if __name__ == "__main__":
    typer.run(shift)
