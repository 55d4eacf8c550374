"""`python -m bench.faults soak`: requests as fast as the box takes them, rotations among them; does anything grow?"""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import cycle
from pathlib import Path
from typing import Annotated, NamedTuple

import typer
import uvloop
from rich.console import Console
from typer import Option

from appliance.control.client import NotRunning, ask
from appliance.control.messages import AskRotation
from bench.budget import Budget
from bench.faults.block import Known, learn
from bench.faults.box import LOOK_SECONDS, Box, end_when_asked
from bench.faults.footprint import footprints
from bench.faults.soak_result import RESULTS, SoakConfiguration, SoakLine, SoakResults
from bench.faults.soak_table import as_rich, soaked
from bench.faults.users import Users
from bench.faults.verdict import verdict_on
from bench.machine import this_machine
from bench.options import BudgetMinutes, Resume, Seed, Vocabulary, explained
from bench.results import Origin

PROGRAM = ("python", "-m", "bench.faults")
SPLITS = ((60, 40), (40, 60), (50, 50))
"""To which it is rotated in turn, each time with new processes."""
TOKENS = (2, 24)
"""Of an answer, from and to: short ones, so that many requests come in."""
ROTATION_SECONDS = 120.0
REST_SECONDS = 60.0
"""How long the appliance may take after a block to be as it was."""
FIRST_BLOCK_SECONDS = 60.0


def soak(
    requests: Annotated[int, Option(min=1, help="In all; a day at one a second are 86,400.")] = 86_400,
    block: Annotated[int, Option(min=1, help="Requests between two looks at what is taken at rest.")] = 1000,
    rotations: Annotated[int, Option(min=0, help="In each block.")] = 2,
    streams: Annotated[int, Option(min=0, help="Users that read their answers as they are written.")] = 12,
    whole: Annotated[int, Option(min=0, help="Users that wait for whole answers.")] = 4,
    gateway_workers: Annotated[int, Option(min=1, max=16, help="Of the appliance that is started.")] = 2,
    serve: Annotated[str, Option(help="More options of semi-pd serve for the appliance.")] = "--device cpu",
    vocabulary: Vocabulary = 8192,
    seed: Seed = 0,
    results: Annotated[Path, Option("--results", help="JSON lines, appended to.")] = RESULTS,
    budget_minutes: BudgetMinutes = None,
    resume: Resume = False,
) -> None:
    """Ask without a pause and rotate meanwhile; after each block look at memory, files, threads and pages at rest.

    Exit code 1 where something grew. Going on later counts requests on; whether something grows is judged within one
    appliance's life.
    """
    box, machine, console = Box(["--gateway-workers", str(gateway_workers), *serve.split()]), this_machine(), Console()
    file, budget = SoakResults(results), Budget(budget_minutes)
    end_when_asked()
    started = datetime.now(UTC).isoformat(timespec="seconds")
    with explained():
        try:
            with box:
                asked = SoakConfiguration(box.serves, seed, streams, whole, gateway_workers, block, rotations)
                part = Soak(box, asked, learn(box.endpoint, vocabulary, seed, TOKENS), started)
                done, seconds = file.done(asked, Origin.now(machine, PROGRAM)) if resume else 0, FIRST_BLOCK_SECONDS
                while done < requests:
                    budget.require(seconds, f"{requests - done} more requests could be made")
                    line = part.block(Origin.now(machine, PROGRAM), min(block, requests - done))
                    file.append(line)
                    done, seconds = done + line.requests, line.seconds
                    console.print(f"{done:,} of {requests:,}: {line.verdicts}, {line.rotations} rotations")
        finally:
            mine = soaked(line for line in file.lines if line.appliance == started)
            for one in mine:
                console.print(as_rich(one))
    if any(one.problems for one in mine):
        raise typer.Exit(1)


class Soak(NamedTuple):
    """What a block needs to know. `started`: when the appliance was."""

    box: Box
    configuration: SoakConfiguration
    known: Known
    started: str

    def block(self, origin: Origin, size: int) -> SoakLine:
        began = time.monotonic()
        asked = self.configuration
        since_start = lambda: time.monotonic() - began  # noqa: E731
        users = Users(self.box.endpoint, self.known.witnesses, asked.streams, asked.whole, since_start)
        failed = uvloop.run(self._load(users, size))
        verdicts = Counter(verdict_on(one, self.known.answers).kind for one in users.asked)
        self._rest()
        return SoakLine(
            origin,
            asked,
            self.started,
            len(users.asked),
            dict(verdicts),
            asked.rotations - len(failed),
            tuple(failed),
            footprints(self.box.pid),
            self.box.pages_left(),
            round(time.monotonic() - began, 1),
            round(os.getloadavg()[0], 2),
        )

    async def _load(self, users: Users, size: int) -> list[str]:
        """Until so many have been asked and the rotations are over. Returns why some were not made."""

        async def rotate() -> list[str]:
            failed = list[str]()
            splits = cycle(SPLITS)
            for number in range(self.configuration.rotations):
                turn = size * (number + 0.5) / self.configuration.rotations
                await _until(lambda turn=turn: len(users.asked) > turn)
                if problem := await asyncio.to_thread(self._rotate, next(splits)):
                    failed.append(problem)
            return failed

        async def end() -> list[str]:
            failed = await rotate()
            await _until(lambda: len(users.asked) >= size)
            users.stop()
            return failed

        failed, _ = await asyncio.gather(end(), users.run())
        return failed

    def _rotate(self, split: tuple[int, int]) -> str:
        """Why it was not done, empty where it was."""
        try:
            reply = ask(self.box.instance, AskRotation(*split, new_group=True, reason="bench"), ROTATION_SECONDS)
        except NotRunning as error:
            return str(error)
        return "" if reply.done else reply.sentence

    def _rest(self) -> None:
        """Until the old group has gone and spares wait: then there is as much of everything as always."""
        deadline = time.monotonic() + REST_SECONDS
        while not self.box.is_redundant and time.monotonic() < deadline:
            time.sleep(LOOK_SECONDS)


async def _until(is_so: Callable[[], bool]) -> None:
    while not is_so():
        await asyncio.sleep(LOOK_SECONDS)
