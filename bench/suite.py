"""`python -m bench.suite --model DIR`: what is claimed for one GPU, each row by the command that measures it alone.

It starts the appliance for each set-up, takes the row's split, and calls `semi-pd bench`, which appends to the results
file. With `--budget-minutes` it begins nothing that would end later; with `--since` it skips what was measured since
then, so that a machine that is lent for minutes at a time gets through the list.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Annotated, NamedTuple

import typer
from typer import Option

from bench.budget import STOPPED, Budget, OutOfBudget
from bench.faults.box import Box
from bench.results import RESULTS, Results, RunLine
from engine.errors import CANNOT_START, SemiPDError

START_SECONDS = 30.0
SETTLE_SECONDS = 5.0
"""Of that after it serves: what a worker prepares when it is left alone, such as the whole device to borrow."""
ROTATE_SECONDS = 8.0
AROUND_SECONDS = 5.0
"""What a row takes beside its requests."""
PROFILE_SECONDS = 60.0
WARMUP_SECONDS = 7.0
ENDING_SECONDS, LONG_ENDING_SECONDS = 10.0, 50.0
"""What the last answers are held to take; three times as long they are waited for."""
CHUNKS = (512, 1024, 2048, 4096)
NO_TPOT_TARGET = 60_000.0
"""Milliseconds, told where chunks are to have their length whatever becomes of the tokens."""


class Row(NamedTuple):
    """One run. `split`: prefill and decode, percent; None as the appliance starts. `targets`: for TTFT and TPOT in
    milliseconds, which the appliance is told too: it computes prompts in an order in which few are late by them."""

    name: str
    arguments: tuple[str, ...]
    seconds: float
    split: tuple[int, int] | None = None
    targets: tuple[float, float] | None = None

    @property
    def all_seconds(self) -> float:
        return self.seconds + AROUND_SECONDS + (ROTATE_SECONDS if self.split else 0)


class Stage(NamedTuple):
    """Rows of one appliance. `system`: what the results call it. `tested`: the splitter whose splits are offered only
    once they were."""

    system: str
    options: tuple[str, ...]
    rows: tuple[Row, ...]
    tested: str = ""

    @property
    def start_seconds(self) -> float:
        return START_SECONDS + (PROFILE_SECONDS if self.tested else 0)


def streams(count: int, mix: str, rounds: int, seconds: float, split: tuple[int, int] | None = None) -> Row:
    arguments = ("streams", "--mix", mix, "--streams", str(count), "--rounds", str(rounds))
    return Row(f"{count} streams", arguments, seconds, split)


def rate(
    mix: str,
    requests_per_second: float,
    targets: Sequence[float],
    split: tuple[int, int] | None = None,
    seconds: float = 25.0,
    ending_seconds: float = ENDING_SECONDS,
) -> Row:
    """`targets`: TTFT, TPOT and, if there is a third, the longest gap, in milliseconds."""
    kinds = zip(("--ttft-ms", "--tpot-ms", "--gap-ms"), targets, strict=False)
    aims = [word for kind, value in kinds for word in (kind, f"{value:g}")]
    timing = ("--seconds", f"{seconds:g}", "--warmup-seconds", f"{WARMUP_SECONDS:g}")
    arguments = ("rate", "--mix", mix, "--rate", f"{requests_per_second:g}", *timing, *aims)
    smooth = " smooth" if len(targets) > 2 else ""
    ending = ("--grace-seconds", f"{3 * ending_seconds:g}", "--clients", "3", "--token-ids")
    length = WARMUP_SECONDS + seconds + ending_seconds
    ttft, tpot, *_ = targets
    return Row(f"{mix} {requests_per_second:g}{smooth}", (*arguments, *ending), length, split, (ttft, tpot))


LOOSE, TIGHT, LONG, CHAT = (500.0, 30.0), (500.0, 15.0, 50.0), (2000.0, 30.0), (200.0, 20.0)

SPLIT = Stage(
    "semi-pd",
    ("--prefill", "60", "--decode", "40"),
    (
        streams(1, "fixed:2048/256", 5, 9.0),
        streams(32, "fixed:512/256", 2, 7.0),
        rate("azure-conv", 18, LOOSE),
        rate("azure-conv", 18, LOOSE, (55, 45)),
        rate("azure-conv", 20, TIGHT, (66, 34)),
        rate("azure-conv", 21, TIGHT, (66, 34)),
        rate("azure-conv", 22, TIGHT, (66, 34)),
        rate("azure-conv", 22, LOOSE, (72, 28)),
        rate("azure-conv", 24.5, LOOSE, (72, 28)),
        rate("azure-conv", 25.5, LOOSE, (72, 28)),
        streams(128, "fixed:512/256", 2, 14.0, (80, 20)),
        rate("azure-code", 14, LOOSE, (84, 16)),
        rate("azure-code", 15, LOOSE, (84, 16)),
        rate("azure-code", 16.5, LOOSE, (84, 16)),
        rate("mooncake", 3.1, LONG, (84, 16), seconds=40.0),
        rate("mooncake", 3.3, LONG, (84, 16), seconds=40.0),
        rate("mooncake", 3.8, LONG, (84, 16), seconds=40.0),
    ),
)
MANY = Stage(
    "semi-pd",
    ("--prefill", "33", "--decode", "67", "--max-running-requests", "512", "--gateway-workers", "4"),
    (
        *(rate("sharegpt", each, CHAT, seconds=20.0) for each in (48, 52, 58, 65)),
        *(rate("reason", each, LOOSE, seconds=40.0, ending_seconds=LONG_ENDING_SECONDS) for each in (16, 18, 20)),
    ),
)
MPS = Stage(
    "semi-pd by mps",
    ("--splitter", "mps", "--prefill", "70", "--decode", "30"),
    (rate("azure-conv", 18, LOOSE), rate("azure-conv", 22, TIGHT)),
    tested="mps",
)
SHARED_ROWS = (
    rate("azure-conv", 21, LOOSE),
    rate("azure-conv", 22.5, LOOSE),
    rate("azure-code", 14, LOOSE),
    rate("mooncake", 3.1, LONG, seconds=40.0),
    rate("reason", 16, LOOSE, seconds=40.0, ending_seconds=LONG_ENDING_SECONDS),
    rate("sharegpt", 48, CHAT, seconds=20.0),
)
SHARED_FURTHER = (
    *(rate("azure-conv", each, LOOSE) for each in (23.5, 24.5)),
    *(rate("sharegpt", each, CHAT, seconds=20.0) for each in (58, 65)),
    *(rate("reason", each, LOOSE, seconds=40.0, ending_seconds=LONG_ENDING_SECONDS) for each in (18, 20)),
    rate("azure-code", 16.5, LOOSE),
    rate("mooncake", 3.8, LONG, seconds=40.0),
)
SHARED = Stage(
    "semi-pd colocated",
    ("--mode", "colocated", "--max-running-requests", "512", "--gateway-workers", "4"),
    SHARED_ROWS + SHARED_FURTHER,
)
"""Its steps are as long as the targets allow."""
CHUNKED = tuple(
    Stage(
        f"semi-pd colocated, chunks of {chunk}",
        (*SHARED.options, "--prefill-token-budget", str(chunk)),
        tuple(row._replace(targets=(row.targets[0], NO_TPOT_TARGET)) for row in SHARED_ROWS if row.targets),
    )
    for chunk in CHUNKS
)
STAGES = (SPLIT, MANY, MPS, SHARED, *CHUNKED)


def wanted(stages: Sequence[Stage], patterns: Sequence[str]) -> Iterator[Stage]:
    """Stages with those of their rows that a pattern names, as `SYSTEM: ROW`; all of them where there is no pattern."""
    for stage in stages:
        names = [(row, f"{stage.system}: {row.name}") for row in stage.rows]
        rows = tuple(row for row, name in names if not patterns or any(fnmatch(name, one) for one in patterns))
        if rows:
            yield stage._replace(rows=rows)


def without_measured(stages: Sequence[Stage], lines: Sequence[RunLine], since: str) -> Iterator[Stage]:
    """Stages with those of their rows that were not measured since `since` (ISO 8601, UTC)."""
    done = {(line.configuration.system, words_of(line)) for line in lines if line.origin.at >= since}
    for stage in stages:
        rows = tuple(row for row in stage.rows if (stage.system, row.arguments) not in done)
        if rows:
            yield stage._replace(rows=rows)


def words_of(line: RunLine) -> tuple[str, ...]:
    """The row's own arguments, which a command of the suite has first."""
    words = shlex.split(line.origin.command)[2:]
    return tuple(words[: words.index("--system")]) if "--system" in words else ()


def measure(
    stage: Stage, model: Sequence[str], load_format: str, results: Path, vocabulary: int, budget: Budget
) -> None:
    """Raises `OutOfBudget` before what would take too long, `SemiPDError` where the appliance does not serve."""
    budget.require(stage.start_seconds + stage.rows[0].all_seconds, f"{stage.system}: {stage.rows[0].name}")
    first = ("profile", "--splitter", stage.tested, *model) if stage.tested else ()
    with Box((*stage.options, *model, "--load-format", load_format), first) as box:
        time.sleep(SETTLE_SECONDS)
        in_force = None
        for row in stage.rows:
            budget.require(row.all_seconds, f"{stage.system}: {row.name}")
            if row.split and row.split != in_force:
                prefill, decode = row.split
                box.call("rotate", "--prefill", str(prefill), "--decode", str(decode))
                in_force = row.split
            if row.targets:
                ttft, tpot = row.targets
                box.call("slo", "--ttft-ms", f"{ttft:g}", "--tpot-ms", f"{tpot:g}", "--reason", row.name)
            kept = () if results == RESULTS else ("--results", str(results))
            box.call("bench", *row.arguments, "--system", stage.system, "--vocabulary", str(vocabulary), *kept)


def suite(
    model: Annotated[Path, Option(help="A model directory; `semi-pd bench shape` makes one.")],
    load_format: Annotated[str, Option(help="dummy for random weights.")] = "dummy",
    rows: Annotated[list[str] | None, Option("--row", help="Only rows like this, such as '*azure-conv*'.")] = None,
    vocabulary: Annotated[int, Option(min=1, help="Prompts are made of token ids below this.")] = 128_000,
    results: Annotated[Path, Option(help="JSON lines, appended to.")] = RESULTS,
    since: Annotated[str | None, Option(help="Skip what was measured since then, such as 2026-12-01T09:00.")] = None,
    budget_minutes: Annotated[
        float | None, Option(min=0.0, help="Begin nothing that would end later than this.")
    ] = None,
    list_only: Annotated[bool, Option("--list", help="Say what would be measured, and how long it takes.")] = False,
) -> None:
    """Measure what is claimed for one GPU, row by row."""
    stages = list(wanted(STAGES, rows or []))
    if since is not None:
        lines = [line for line in Results(results).lines if isinstance(line, RunLine)]
        stages = list(without_measured(stages, lines, since))
    if list_only:
        show(stages)
        return
    computed = ("--model", str(model), "--device", "cuda", "--dtype", "bfloat16")
    budget = Budget(budget_minutes)
    try:
        for stage in stages:
            measure(stage, computed, load_format, results, vocabulary, budget)
    except OutOfBudget as stop:
        print(f"{stop} Here: with --since.", file=sys.stderr)
        sys.exit(STOPPED)
    except (SemiPDError, subprocess.CalledProcessError) as error:
        print(error, file=sys.stderr)
        sys.exit(CANNOT_START)


def show(stages: Sequence[Stage]) -> None:
    for stage in stages:
        print(f"{stage.system} {' '.join(stage.options)}")
        for row in stage.rows:
            split = f" at {row.split[0]}/{row.split[1]}" if row.split else ""
            print(f"  {row.name}{split}: {row.all_seconds:.0f} s")
    seconds = sum(stage.start_seconds + sum(row.all_seconds for row in stage.rows) for stage in stages)
    print(f"In all about {seconds / 60:.0f} minutes.")


if __name__ == "__main__":
    typer.run(suite)
