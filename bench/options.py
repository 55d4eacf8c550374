"""What the bench's commands ask for on their command lines, and how they say what keeps them from their work."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from typer import Option

from bench.budget import STOPPED, OutOfBudget
from engine.errors import CANNOT_START, SemiPDError

Url = Annotated[str | None, Option(help="The endpoint; this user's running appliance if absent.")]
ApiKey = Annotated[str | None, Option(envvar="SEMI_PD_API_KEY", help="Its key; the appliance's own if absent.")]
ModelName = Annotated[str | None, Option("--model", help="Name of the model; the first that is served if absent.")]
CaFile = Annotated[Path | None, Option(help="Certificate authority for https.")]
System = Annotated[str, Option(help="What is measured, in words, such as 'vLLM 0.24.0': names it in the results.")]
Split = Annotated[str | None, Option(help="The split in force, in words; asked of the running appliance if absent.")]
MixName = Annotated[str, Option("--mix", help="A mix by its name, or fixed:IN/OUT.")]
Seconds = Annotated[float, Option(min=0.1, help="How long requests are sent that are measured.")]
Warmup = Annotated[float, Option(min=0.0, help="How long requests are sent before that are not.")]
Grace = Annotated[float, Option(min=0.0, help="How long answers are waited for after the last request.")]
Seed = Annotated[int, Option(help="Of times and lengths. Prompts are fresh each run.")]
Scale = Annotated[float, Option(min=0.001, help="Factor for all lengths of the mix, for small models.")]
Vocabulary = Annotated[int, Option(min=1, help="Prompts are made of token ids below this.")]
TokenIds = Annotated[bool, Option("--token-ids", help="Have the ids sent, to count tokens event by event.")]
Even = Annotated[
    bool, Option("--even/--as-it-falls", help="Number and lengths of requests as the mix has them, not as chance does.")
]
Clients = Annotated[int, Option(min=1, max=64, help="Client processes.")]
TTFT = Annotated[float | None, Option("--ttft-ms", min=0.0, help="Target for the first token.")]
TPOT = Annotated[float | None, Option("--tpot-ms", min=0.0, help="Target for the time per token after it.")]
Gap = Annotated[float | None, Option("--gap-ms", min=0.0, help="Target for the longest silence.")]
ResultsFile = Annotated[Path, Option("--results", help="JSON lines, appended to.")]
BudgetMinutes = Annotated[float | None, Option(min=0.0, help="Begin nothing that would end later than this.")]
Resume = Annotated[bool, Option("--resume", help="Skip what the results file has already.")]


@contextmanager
def explained() -> Iterator[None]:
    """What keeps a command from its work becomes one sentence and an exit code that says so."""
    try:
        yield
    except OutOfBudget as stop:
        typer.secho(str(stop), err=True, fg="yellow")
        sys.exit(STOPPED)
    except (SemiPDError, ValueError) as error:
        typer.secho(str(error), err=True, fg="red")
        sys.exit(CANNOT_START)
