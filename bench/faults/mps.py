"""`python -m bench.faults.mps`: what a fault of one MPS client, server or daemon does to others on the same GPU.

As in the appliance: two daemons, a slot each, with clients that map memory of a process outside MPS. Two clients are in
slot a, one is in slot b. Each trial harms slot a in one way and looks at everybody else.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Self

import msgspec
import typer
from rich.console import Console
from rich.table import Table
from typer import Option

from appliance.mps import MpsDaemon, outside_mps
from bench.budget import STOPPED, Budget, OutOfBudget
from bench.machine import this_machine
from bench.results import Origin
from engine.errors import SemiPDError

PROGRAM = ("python", "-m", "bench.faults.mps")
RESULTS = Path("bench/results/mps-faults.jsonl")
TRIAL_SECONDS = 15.0
ANSWER_SECONDS = 5.0
SILENCE = "no answer"
SPREAD_SECONDS = 1.0
"""How long a fault is given to reach others before they are asked."""


class Harm(StrEnum):
    ILLEGAL_ADDRESS = "illegal address"
    CLIENT_KILLED = "client killed"
    SERVER_KILLED = "server killed"
    DAEMON_KILLED = "daemon killed"


class Trial(msgspec.Struct, frozen=True):
    """What became of others. `neighbour`: the other client of slot a; `other_slot`: the client of slot b.

    Each `goes on`, or what it said instead. `next_client`: of the harmed slot, whose daemon is left as it is;
    `after_restart_seconds`: until one works under a daemon that was started anew.
    """

    origin: Origin
    harm: Harm
    harmed: str
    neighbour: str
    other_slot: str
    held_memory: str
    next_client: str
    after_restart_seconds: float


class Client:
    """A process of `mps_client`, asked by lines."""

    def __init__(self, environment: dict[str, str], *arguments: str):
        command = [sys.executable, "-m", "bench.faults.mps_client", *arguments]
        self.process = subprocess.Popen(
            command, env=os.environ | environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.process.kill()
        self.process.communicate()

    def ask(self, line: str) -> str:
        """Its answer, or the error it ended with before."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # what it said last is still there
        return self.said()

    def said(self, seconds: float = ANSWER_SECONDS) -> str:
        """The next line; `SILENCE` where none comes, "ended" where none can come any more."""
        assert self.process.stdout is not None
        killer = _Alarm(seconds, self.process)
        with killer:
            line = self.process.stdout.readline().strip()
        return SILENCE if killer.rang else line or "ended"


class _Alarm:
    """Ends a process that does not answer, so that a read from it returns."""

    def __init__(self, seconds: float, process: subprocess.Popen[str]):
        self.rang = False
        self._process = process
        self._timer = threading.Timer(seconds, self._ring)

    def __enter__(self) -> None:
        self._timer.start()

    def __exit__(self, *error: object) -> None:
        self._timer.cancel()

    def _ring(self) -> None:
        self.rang = True
        self._process.kill()


class Stage:
    """Two slots and a holder."""

    def __init__(self, directory: Path, gpu: str, holder: Client, handle: str):
        self._directory = directory
        self._gpu = gpu
        self._holder = holder
        self._handle = handle

    def trial(self, harm: Harm, origin: Origin) -> Trial:
        with ExitStack() as stack:
            slot_a, slot_b = (stack.enter_context(self._daemon(slot)) for slot in ("a", "b"))
            victim, neighbour, other = (self._worker(stack, slot) for slot in (slot_a, slot_a, slot_b))
            for worker in (victim, neighbour, other):
                require(worker.said(30.0), "ready")
            harmed = self._harm(harm, victim, slot_a)
            time.sleep(SPREAD_SECONDS)
            harmed = harmed or goes_on(victim)
            of_neighbour, of_other = goes_on(neighbour), goes_on(other)
            held = self._holder.ask("check")
            again = self._worker(stack, slot_a)
            next_client = again.said()
            for client in (victim, neighbour, again):
                client.process.kill()
                client.process.wait()
            seconds = self._restarted(slot_a)
            return Trial(origin, harm, harmed, of_neighbour, of_other, held, next_client, seconds)

    def _harm(self, harm: Harm, victim: Client, slot: MpsDaemon) -> str:
        """What is known of the victim already."""
        match harm:
            case Harm.ILLEGAL_ADDRESS:
                return victim.ask("fault")
            case Harm.CLIENT_KILLED:
                victim.process.kill()
                return "ended"
            case Harm.SERVER_KILLED:
                for pid in slot.servers():
                    os.kill(pid, signal.SIGKILL)
            case Harm.DAEMON_KILLED:
                assert slot.pid is not None
                os.kill(slot.pid, signal.SIGKILL)
        return ""

    def _restarted(self, slot: MpsDaemon) -> float:
        """Seconds from the order to stop the daemon until a client works under the next one."""
        began = time.monotonic()
        slot.stop()
        slot.start()
        with ExitStack() as stack:
            require(self._worker(stack, slot).said(30.0), "ready")
        return round(time.monotonic() - began, 2)

    def _worker(self, stack: ExitStack, slot: MpsDaemon) -> Client:
        return stack.enter_context(Client(slot.client_environment, "worker", self._handle))

    @contextmanager
    def _daemon(self, slot: str) -> Iterator[MpsDaemon]:
        daemon = MpsDaemon(slot, self._directory / f"mps-{slot}", self._directory / f"log-{slot}", self._gpu)
        daemon.start()
        try:
            yield daemon
        finally:
            daemon.stop()


@contextmanager
def stage(gpu: str) -> Iterator[Stage]:
    directory = Path(tempfile.mkdtemp(prefix="mps-"))
    try:
        with Client(outside_mps(directory, gpu), "holder") as holder:
            handle = holder.said(30.0)
            yield Stage(directory, gpu, holder, handle)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def goes_on(worker: Client) -> str:
    """Whether its steps are still done, and right."""
    first = worker.ask("count")
    second = worker.ask("count") if first.isdecimal() else first
    return "goes on" if second.isdecimal() and int(second) > int(first) else second


def require(said: str, wanted: str) -> None:
    if said != wanted:
        raise SemiPDError(f"A client was to say {wanted!r} and said {said!r}.")


def main(
    trials: Annotated[int, Option(min=1, help="Of each kind of harm.")] = 10,
    gpu: Annotated[str, Option(help="Index or UUID of the GPU to use.")] = "0",
    results: Annotated[Path, Option(help="JSON lines, appended to.")] = RESULTS,
    budget_minutes: Annotated[float | None, Option(help="End in time.")] = None,
    resume: Annotated[bool, Option("--resume", help="Count what the results file has of this machine.")] = False,
) -> None:
    """Harm one slot, again and again, and look at the other, at the memory that both map, and at who comes next."""
    machine, budget = this_machine(), Budget(budget_minutes)
    known = [trial for trial in read(results) if trial.origin.machine == machine] if resume else []
    done = Counter(trial.harm for trial in known)
    results.parent.mkdir(parents=True, exist_ok=True)
    try:
        with stage(gpu) as rig, results.open("ab") as file:
            while missing := [harm for harm in Harm if done[harm] < trials]:
                harm = min(missing, key=lambda each: done[each])
                budget.require(TRIAL_SECONDS, f"{trials} trials of each are made")
                known.append(rig.trial(harm, Origin.now(machine, PROGRAM)))
                file.write(msgspec.json.encode(known[-1]) + b"\n")
                file.flush()
                done[harm] += 1
    except OutOfBudget as stopped:
        typer.echo(str(stopped), err=True)
        raise typer.Exit(STOPPED) from stopped
    finally:
        Console(width=150).print(as_table(known))


def read(path: Path) -> list[Trial]:
    lines = path.read_bytes().splitlines() if path.exists() else []
    return [msgspec.json.decode(line, type=Trial) for line in lines]


def as_table(trials: list[Trial]) -> Table:
    """A row a kind of harm and outcome."""
    table = Table(
        "harm in slot a", "trials", "the harmed", "neighbour in a", "slot b", "held memory", "next in a", "new s"
    )
    alike = Counter((t.harm, t.harmed, t.neighbour, t.other_slot, t.held_memory, t.next_client) for t in trials)
    for outcome, count in sorted(alike.items()):
        harm, *others = outcome
        seconds = [t.after_restart_seconds for t in trials if (t.harm, t.harmed, t.neighbour) == outcome[:3]]
        table.add_row(harm, str(count), *others, f"{min(seconds):.1f}…{max(seconds):.1f}")
    return table


if __name__ == "__main__":
    typer.run(main)
