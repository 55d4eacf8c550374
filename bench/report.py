"""Makes bench/README.md from a results file. Every figure in it comes from there; only the explanations are written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from typing import TypeVar

from bench.faults import clients_table, overload_table, soak_table
from bench.faults import table as fault_table
from bench.faults.clients_result import ClientsLine
from bench.faults.fuzz import table as fuzz_table
from bench.faults.fuzz.result import FuzzLine
from bench.faults.overload_result import OverloadLine
from bench.faults.result import FaultLine
from bench.faults.soak_result import SoakLine
from bench.machine import Machine
from bench.results import Line, MicroLine, Origin, RunLine, SearchLine
from bench.rotation import table as rotation_table
from bench.rotation.result import RotationLine
from bench.shift import table as shift_table
from bench.shift.result import ShiftLine
from bench.summary import LAG_LIMIT_MS
from bench.table import HEADINGS, POINTS, digits, row

T = TypeVar("T", RunLine, SearchLine, MicroLine)
M = TypeVar("M", RotationLine, ShiftLine, FaultLine, ClientsLine, OverloadLine, FuzzLine, SoakLine)

_INTRODUCTION = f"""\
<!-- Made by `semi-pd bench report`. Do not edit: change bench/report.py or measure anew. -->
# What was measured

`semi-pd bench` loads any OpenAI-compatible endpoint, so that this appliance and others are measured by one client.

| command | measures |
|---|---|
| `semi-pd bench rate --mix azure-conv --rate 18` | one rate, or several: Poisson arrivals, open loop |
| `semi-pd bench search --mix azure-conv --ttft-ms 500 --tpot-ms 30` | the highest rate at which 90 % keep the targets |
| `semi-pd bench streams --mix fixed:512/256 --streams 32` | so many streams at once, in rounds |
| `semi-pd bench trace FILE` | requests that a file times itself |
| `semi-pd bench micro --model DIR` | a model's steps beside their floors, without a server |
| `semi-pd bench shape DIR` | makes a model directory for `--load-format dummy` |
| `python -m bench.rotation --mix azure-conv --rate 12` | what streams notice while the appliance is rotated |
| `python -m bench.beside --model DIR` | prefill beside decode on parts of a GPU, and where prefill spends its time |
| `python -m bench.suite --model DIR` | what is claimed for one GPU, set-up after set-up, in pieces of minutes |
| `python -m bench.shift` | load that shifts: the policy beside static splits |
| `python -m bench.faults kill` and `stop` | what becomes of requests when processes are killed or stopped |
| `python -m bench.faults soak` | whether anything grows in a day's requests |
| `python -m bench.faults.fuzz requests`, `traces` and `parsers` | what made-up input does |
| `python -m bench.faults clients` | whether clients that leave, stall or say nothing disturb the others |
| `python -m bench.faults overload` | ten times what is served: refusals, those accepted, memory |
| `semi-pd bench plot --out FILE.svg` | latency or attainment over the rate |
| `semi-pd bench report` | makes this page |

Each measuring command appends to one results file. `--budget-minutes` ends it in time, `--resume` goes on later.

**How it is measured.** Prompts are random token ids, fresh each run; answers are greedy and go on past the end
token, so that a request has exactly the length that was drawn. Each request has its own connection, and TTFT begins
before it connects; that of streams when all of a round have connected. TPOT is (last token − first token) / (tokens −
1); the number of tokens is the server's own, from the usage at the end of the stream, and an answer of another length
has failed. The longest gap is that between two events; an event counts as one arrival however many tokens it carries,
and tokens without visible text may arrive silently unless `--token-ids` asks for their ids, which are then counted and
must agree with the usage. The *tail* TPOT of streams is the time between two tokens while all streams of a round
decode. Work that is called *even* has as many requests, and of such lengths, as the mix has on average, at random
moments; other work is as chance has it, which in half a minute is up to a tenth more tokens, or fewer. Requests of the
warm-up are sent and not measured. A run in which the client itself was late by more than
{LAG_LIMIT_MS:g} ms, in sending or in its event loop, at the 99th percentile, does not count and is not shown.
Percentiles are {POINTS}.
"""


_ROTATION = """\
Rotations by `python -m bench.rotation`, with new processes each time or, where it says so, in place, under load that
goes on. Answers that are *compared* were known from an undisturbed run, token by token. A *pause* is one of one
stream: how much longer than a step of that moment its longest silence was, from the new group's being ready to a
second after it was live; the *same without a rotation* is what is found in the same way where nothing is handed over.
The *longest gap* is that of any stream from the order until the old group had gone, beside spans of that length
without a rotation. Several figures are {points}. *Timed* are rotations during which the client itself was not late; of
the others only what was counted counts. On a CPU times show control, not speed.
"""

_SHIFT = """\
Load that shifts from prompts to answers and back by `python -m bench.shift`, once under the policy and once at each
split: the part of all requests that kept both targets. On a CPU this shows control, not speed.
"""


_FAULTS = """\
Processes killed (`kill -9`), or stopped and let go on, by `python -m bench.faults`: one after the other, each drawn by
seed and struck once the last had been replaced, but not always once spares were ready again. Meanwhile users ask for
greedy answers without a pause, some streamed and some not, and the client keeps every token: an answer is as it should
be if it is that of an undisturbed run, token by token. Whoever was cut off counts as accepted. *Waiting* are the
requests that were under way when a process was struck; a *silence* is the longest of a stream that was, among those
that began from then on until a second after requests were served again; where the next fault came that soon it counts
for both. *Spares ready again* is told of those faults after which that was waited for. Several figures are {points}. On
a CPU that others load too, times show that it ends, not how fast it could.
"""

_CLIENTS = """\
Difficult clients by `python -m bench.faults clients`, beside users who stream without a pause and short requests that
come in new: the same load again and again, in turn with and without them. They come in any case, for their coming is
work too, and have left before a load without them; those who leave mid-stream stay to the end of an answer as long as
what the others take. Who is cut off comes again after a second, but for slow readers. TPOT is that of the middle answer
of all rounds, and *longer* what the middle pair of rounds says; what is less than the rounds without them differ by may
be the machine's doing. On a machine with few cores the difficult clients take part of what is measured, at the lowest
priority.
"""

_OVERLOAD = """\
Far more than is served by `python -m bench.faults overload`: Poisson arrivals at a multiple of what the appliance
answers when as many requests as possible are under way, each on a connection of its own. As many may wait as can be in
time (`SEMI_PD_MAX_QUEUED_REQUESTS`: what is served in half the target for the first token). A few requests are a text
that is too long for the model, which is only known when it is tokenised: one that is told to come again was refused
before. Memory is told at the medians of the first third of the looks and of the last. A process' own is
neither shared nor a file's; PSS divides what is shared, the KV pool among it, whose pages count once they are touched.
"""


_FUZZ = """\
Made-up input by `python -m bench.faults.fuzz`. *Requests* are made from the endpoint's OpenAPI document, good and bad
ones, and sent to a whole appliance; *tenants' traces* are valid requests of four API keys at once, each with a word of
its own, that is looked for in all that the others get; *parsers* are fed in processes of their own. A *problem* is a
status of 500 or more but a refusal with `Retry-After`, an answer that takes more than a second each of four times, a
process that ended, a page in use afterwards, another tenant's word, and of a parser whatever is no refusal in its own
words, or takes more than a second of computing.
"""

_SOAK = """\
Requests without a pause by `python -m bench.faults soak`, and rotations to new processes meanwhile. After each block of
requests the appliance is let rest, and what its processes take is noted: memory that no other process shares, files
that are open, threads. Figures are of the first look that counts and of the last (two are for warming up), and what a
thousand requests add by a straight line through all of them.
"""


def report(
    lines: Sequence[Line],
    rotations: Sequence[RotationLine] = (),
    shifts: Sequence[ShiftLine] = (),
    faults: Sequence[FaultLine] = (),
    clients: Sequence[ClientsLine] = (),
    overloads: Sequence[OverloadLine] = (),
    fuzz: Sequence[FuzzLine] = (),
    soaks: Sequence[SoakLine] = (),
) -> str:
    """The whole page, in Markdown."""
    runs = [line for line in lines if isinstance(line, RunLine)]
    shown = [run for run in runs if run.summary.counts and run.configuration.goal is None]
    searches = [line for line in lines if isinstance(line, SearchLine)]
    steps = [line for line in lines if isinstance(line, MicroLine)]
    parts = [_INTRODUCTION]
    parts += _sections("Highest rates", searches, _search_table)
    parts += _sections("Runs", shown, _run_table)
    parts += _sections("Steps beside their floors", steps, _micro_table)
    rotated, struck = _ROTATION.format(points=rotation_table.POINTS), _FAULTS.format(points=fault_table.POINTS)
    parts += _kind(f"## Rotations under load\n\n{rotated}", rotations, _rotation_tables)
    parts += _kind(f"## Load that shifts\n\n{_SHIFT}", shifts, _shift_tables)
    parts += _kind(f"## Faults under load\n\n{struck}", faults, _fault_tables)
    parts += _kind(f"## Difficult clients\n\n{_CLIENTS}", clients, _client_tables)
    parts += _kind(f"## Overload\n\n{_OVERLOAD}", overloads, _overload_tables)
    parts += _kind(f"## Made-up input\n\n{_FUZZ}", fuzz, _fuzz_tables)
    parts += _kind(f"## Soak\n\n{_SOAK}", soaks, _soak_tables)
    if len(parts) == 1:
        parts.append("Nothing has been measured yet.\n")
    late = sum(not run.summary.counts for run in runs)
    if late:
        parts.append(f"{late} further runs do not count, because the client was late.\n")
    return "\n".join(parts)


def _sections(heading: str, lines: Sequence[T], table) -> Iterable[str]:
    """A section, with a table and the commands for each machine."""
    if not lines:
        return
    yield f"## {heading}\n"
    for machine, group in groupby(sorted(lines, key=_machine_key), key=lambda line: line.origin.machine):
        measured = list(group)
        yield f"### {describe(machine)}\n"
        yield table(measured)
        yield _commands([line.origin for line in measured])


def _kind(heading: str, lines: Sequence[M], body: Callable[[list[M]], Iterable[str]]) -> Iterable[str]:
    """A section with an introduction, and for each machine what `body` makes of its lines, and the commands."""
    for number, (machine, measured) in enumerate(_by_machine(lines)):
        yield "" if number else heading
        yield f"### {describe(machine)}\n"
        yield from body(measured)
        yield _commands([line.origin for line in measured])


def _rotation_tables(lines: Sequence[RotationLine]) -> Iterable[str]:
    columns = [rotation_table.row(summed) for summed in rotation_table.summaries(lines)]
    cells = [(heading, *row_of) for heading, *row_of in zip(rotation_table.HEADINGS, *columns, strict=True)]
    yield markdown_table(("", *(["measured"] * len(columns))), cells)


def _shift_tables(lines: Sequence[ShiftLine]) -> Iterable[str]:
    for group in shift_table.compared(lines):
        yield markdown_table(shift_table.headings(group.configuration), map(shift_table.row, group.lines))
        yield f"{shift_table.verdict(group)}\n"


def _fault_tables(lines: Sequence[FaultLine]) -> Iterable[str]:
    for summed in fault_table.summaries(lines):
        yield f"**{summed.heading}.** {summed.sentence}\n"
        yield markdown_table(fault_table.HEADINGS, fault_table.rows(summed))


def _client_tables(lines: Sequence[ClientsLine]) -> Iterable[str]:
    for together in clients_table.by_load(clients_table.summaries(lines)):
        first, *others = clients_table.rows(together)
        yield f"**{together[0].heading}.**\n"
        yield markdown_table(first, others)


def _overload_tables(lines: Sequence[OverloadLine]) -> Iterable[str]:
    for line in lines:
        yield f"**{overload_table.heading(line)}.**\n"
        yield markdown_table(("", "measured"), overload_table.rows(line))


def _fuzz_tables(lines: Sequence[FuzzLine]) -> Iterable[str]:
    yield markdown_table(fuzz_table.HEADINGS, map(fuzz_table.row, fuzz_table.summaries(lines)))


def _soak_tables(lines: Sequence[SoakLine]) -> Iterable[str]:
    for soak in soak_table.soaked(lines):
        yield f"**{soak.heading}.** {soak.sentence}\n"
        yield markdown_table(soak_table.HEADINGS, soak_table.rows(soak))


def _by_machine(lines: Sequence[M]) -> Iterable[tuple[Machine, list[M]]]:
    ordered = sorted(lines, key=lambda line: describe(line.origin.machine))
    for machine, group in groupby(ordered, key=lambda line: line.origin.machine):
        yield machine, list(group)


def _machine_key(line: RunLine | SearchLine | MicroLine) -> str:
    return describe(line.origin.machine)


def describe(machine: Machine) -> str:
    """One line: hardware, driver, versions."""
    driver = [f"driver {machine.driver}"] if machine.driver else []
    versions = [f"{package} {version}" for package, version in machine.versions.items()]
    return ", ".join([machine.name, *driver, *versions, f"Python {machine.python}"])


def _run_table(lines: list[RunLine]) -> str:
    headings = ("when", "system", "split", *HEADINGS, "targets", "seed", "scale")
    return markdown_table(headings, (_run_row(line) for line in lines))


def _run_row(line: RunLine) -> tuple[str, ...]:
    asked = line.configuration
    return (
        line.origin.at[:16],
        asked.system,
        asked.split or "–",
        *row(line),
        str(asked.targets) or "–",
        str(asked.seed),
        f"{asked.scale:g}",
    )


def _search_table(lines: list[SearchLine]) -> str:
    headings = (
        "when",
        "system",
        "split",
        "mix",
        "targets",
        "part that keeps them",
        "highest rate, req/s",
        "all rates tried",
    )
    return markdown_table(headings, (_search_row(line) for line in lines))


def _search_row(line: SearchLine) -> tuple[str, ...]:
    asked = line.configuration
    tried = ", ".join(f"{rate:g}: {part:.0%}" for rate, part in sorted(line.attainments.items()))
    highest = "none" if line.highest_rate is None else f"{line.highest_rate:g}"
    goal = f"{asked.goal:.0%}" if asked.goal is not None else "–"
    mix = asked.mix if asked.scale == 1.0 else f"{asked.mix} × {asked.scale:g}"
    return (line.origin.at[:16], asked.system, asked.split or "–", mix, str(asked.targets), goal, highest, tried)


def _micro_table(lines: list[MicroLine]) -> str:
    headings = ("when", "model", "step", "ms", "floor by bytes", "floor by operations", "× floor", "TB/s", "TFLOP/s")
    return markdown_table(headings, (micro_row(line) for line in lines))


def micro_row(line: MicroLine) -> tuple[str, ...]:
    step, floor = line.step, max(line.bytes_floor_ms, line.operations_floor_ms)
    what = f"decode {step.batch} × {step.context}" if step.kind == "decode" else f"prefill of {step.context}"
    return (
        line.origin.at[:16],
        f"{line.model}, {line.dtype}",
        what,
        digits(line.milliseconds),
        digits(line.bytes_floor_ms),
        digits(line.operations_floor_ms),
        f"{line.milliseconds / floor:.2f}",
        f"{line.bandwidth / 1e12:.3g}",
        f"{line.matrix_rate / 1e12:.3g}",
    )


def _commands(origins: list[Origin]) -> str:
    """Each command once, with the days on which it was given."""
    days = dict[str, set[str]]()
    for origin in origins:
        days.setdefault(origin.command, set()).add(origin.at[:10])
    lines = [f"{command}    # {', '.join(sorted(on))}" for command, on in days.items()]
    return "\n".join(["```", *lines, "```", ""])


def markdown_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [_markdown_row(headings), "|" + "---|" * len(headings)]
    return "\n".join([*lines, *(_markdown_row(cells) for cells in rows), ""])


def _markdown_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
