"""`semi-pd status` and `semi-pd rotations`: what runs, and how it came to be so."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from typing import Annotated

import typer
from rich.console import Console
from rich.live import Live
from typer import Option

from appliance.commands.remembered import remembered
from appliance.commands.terminal import JSON, NOT_RUNNING, explained, logged
from appliance.control.client import Conversation
from appliance.control.messages import AskRotations, AskStatus
from appliance.instance import Instance
from appliance.status import show_rotations, status_page

INTERRUPTS = {signal.SIGINT}


@logged
def status(
    as_json: JSON = False,
    watch: Annotated[bool, Option("--watch", help="Go on until Ctrl-C.")] = False,
    every: Annotated[float, Option(min=0.1, help="Seconds between two looks.")] = 1.0,
) -> None:
    """Show how the running appliance is."""
    with explained(NOT_RUNNING), Conversation(Instance.of_user()) as controller:
        if watch:
            follow(controller, every, as_json)
        elif as_json:
            typer.echo(controller.ask(AskStatus()).data)
        else:
            Console().print(status_page(json.loads(controller.ask(AskStatus()).data), time.time()))


def follow(controller: Conversation, every: float, as_json: bool) -> None:
    """Look again and again until Ctrl-C: in place on a terminal, else one after another."""
    console, looks = Console(), until_interrupted(controller, every)
    if as_json or not console.is_terminal:
        for data in looks:
            typer.echo(data) if as_json else console.print(status_page(json.loads(data), time.time()))
        return
    with Live(console=console, auto_refresh=False, screen=True) as live:
        for data in looks:
            live.update(status_page(json.loads(data), time.time()), refresh=True)


def until_interrupted(controller: Conversation, every: float) -> Iterator[str]:
    """One status after another. Ctrl-C waits until it is asked for: as an exception it may come where exceptions are
    ignored, and be lost."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, INTERRUPTS)
    try:
        yield controller.ask(AskStatus()).data
        while not signal.sigtimedwait(INTERRUPTS, every):
            yield controller.ask(AskStatus()).data
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@logged
def rotations(as_json: JSON = False, limit: Annotated[int, Option(min=1, help="How many, at most.")] = 100) -> None:
    """Show the latest rotations, and what became of each."""
    records = remembered(AskRotations(limit))
    if as_json:
        typer.echo(json.dumps(records))
    else:
        show_rotations(records, Console())
