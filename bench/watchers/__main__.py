"""`python -m bench.watchers`: do people who watch the console slow a token of this user's running appliance?

The same streams again and again, in turn with nobody watching and with so many browsers. Chromium's pages draw on this
machine's own processors, as a person's do on the person's. What a machine notices of browsers that are elsewhere is
shown by `--bare`, which takes the console's streams without drawing them. Nearer to it than pages as they are come
pages with processors of their own (`--processors 1`, where `taskset --cpu-list 0` has started the appliance and this
program), or in time that nobody else wants (`--spare`, `SCHED_IDLE`): caches and memory are shared all the same.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import psutil
import typer
from rich.console import Console
from typer import Option

from appliance.instance import Instance
from appliance.workload import Arrival
from bench.client import Planned, run_rounds
from bench.endpoint import Endpoint, find_endpoint
from bench.machine import this_machine
from bench.options import Vocabulary, explained
from bench.prompts import Prompts
from bench.record import Record
from bench.system_measured import key_for, running_url
from bench.watchers.audience import Audience, NobodyWatches, cpu_seconds, family
from bench.watchers.result import Round, as_table, compared, figures
from bench.watchers.session import Session
from bench.watchers.watching import Task

PASSWORD_VARIABLE = "SEMI_PD_CONSOLE_PASSWORD"
PROMPT_TOKENS = 32
GRACE_SECONDS = 300.0


def watchers(
    browsers: Annotated[int, Option(min=1, max=40, help="That watch.")] = 20,
    bare: Annotated[bool, Option("--bare", help="Take the streams without drawing them, instead of Chromium.")] = False,
    spare: Annotated[bool, Option("--spare", help="Watchers compute only while nobody else wants to.")] = False,
    processors: Annotated[str, Option(help="Those the watchers have, as taskset lists them.")] = "",
    rounds: Annotated[int, Option(min=2, help="With and without, so many each.")] = 8,
    streams: Annotated[int, Option(min=1, help="Answers at once.")] = 4,
    repeats: Annotated[int, Option(min=1, help="Of them, one after the other, in each round.")] = 3,
    tokens: Annotated[int, Option(min=2, help="Of each answer.")] = 128,
    name: Annotated[str, Option(help=f"Of the console's user; the password is in {PASSWORD_VARIABLE}.")] = "admin",
    console_url: Annotated[str, Option(help="Where the console is.")] = "http://127.0.0.1:8080",
    vocabulary: Vocabulary = 512,
    as_json: Annotated[bool, Option("--json", help="As JSON, for programs.")] = False,
) -> None:
    """Compare the time per token with and without watchers."""
    instance = Instance.of_user()
    with explained():
        url = running_url(instance)
        session = Session.begin(console_url, name, os.environ.get(PASSWORD_VARIABLE, ""))
        task = Task(session, browsers, "" if bare else chromium(), spare, listed(processors))
        load = Load(find_endpoint(url, key_for(instance, url)), streams, repeats, tokens, vocabulary)
        done = list(measured(load, task, told_and_telling(instance), rounds))
    if as_json:
        machine = {"name": this_machine().name, "cpus": os.cpu_count()}
        found = {
            "browsers": browsers,
            "bare": bare,
            "spare": spare,
            "processors": processors,
            "rounds": [one._asdict() for one in done],
        }
        typer.echo(json.dumps({"machine": machine, **found, **compared(done)._asdict()}, indent=2))
    else:
        Console().print(as_table(done, named(browsers, bare, spare, processors)))
        typer.echo(compared(done).sentence)


def named(browsers: int, bare: bool, spare: bool, processors: str) -> str:
    where = f", on processors {processors}" if processors else ""
    return f"{browsers} {'streams' if bare else 'pages of Chromium'}{', in spare time' if spare else ''}{where}"


def listed(processors: str) -> tuple[int, ...]:
    """Of "0,2-3": 0, 2 and 3."""
    found: list[int] = []
    for part in filter(None, processors.split(",")):
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return tuple(found)


@dataclass(frozen=True)
class Load:
    """So many answers at once, again and again; each prompt is new."""

    endpoint: Endpoint
    streams: int
    repeats: int
    tokens: int
    vocabulary: int

    def run(self) -> list[Record]:
        """Until the last answer has ended."""
        plan = [[self._planned() for _ in range(self.streams)] for _ in range(self.repeats)]
        return run_rounds(self.endpoint, plan, GRACE_SECONDS).records

    def _planned(self) -> Planned:
        arrival = Arrival(0.0, PROMPT_TOKENS, self.tokens)
        (request,) = Prompts(self.vocabulary).requests(self.endpoint, [arrival])
        return Planned(Record(*arrival), request)


def measured(load: Load, task: Task, console: list[psutil.Process], rounds: int) -> Iterator[Round]:
    """Without and with watchers, after one round that does not count.

    Each pair is the other way round than the last, so that what follows upon a round falls on both kinds.
    """
    load.run()
    for number in range(rounds):
        for is_watched in (False, True) if number % 2 == 0 else (True, False):
            yield one_round(load, task, console, is_watched)


def one_round(load: Load, task: Task, console: list[psutil.Process], is_watched: bool) -> Round:
    """Watchers come in any case, and leave before the load where it is not to be watched.

    For their coming costs the machine something too, and so does its rest while they come.
    """
    with Audience(task) as audience:
        looks = 0 if is_watched else sum(audience.leave())
        began, console_before, watchers_before = time.monotonic(), cpu_seconds(console), audience.cpu_seconds()
        tpots, longest_gap = figures(load.run())
        seconds = time.monotonic() - began
        console_cpu = (cpu_seconds(console) - console_before) / seconds
        watchers_cpu = (audience.cpu_seconds() - watchers_before) / seconds
        looks = sum(audience.leave()) if is_watched else looks
    return Round(is_watched, tpots, longest_gap, console_cpu, watchers_cpu, looks)


def chromium() -> str:
    """Raises `NobodyWatches` where there is none."""
    found = shutil.which("chromium") or shutil.which("google-chrome")
    if found is None:
        raise NobodyWatches("There is no Chromium here: apt-get install chromium, or measure with --bare.")
    return found


def told_and_telling(instance: Instance) -> list[psutil.Process]:
    """The processes that watchers give work to: the console's and the controller, which it asks once a second."""
    running = instance.running()
    controller, *below = family(running.pid) if running else [psutil.Process()]
    return [controller, *(process for process in below if _is_console(process))]


def _is_console(process: psutil.Process) -> bool:
    command = process.cmdline()
    return "-m" in command[:-1] and command[command.index("-m") + 1] == "webui"


if __name__ == "__main__":
    typer.run(watchers)
