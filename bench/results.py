"""The results file: one JSON line for everything measured, only ever appended to."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import msgspec

from bench.machine import Machine
from bench.summary import Summary, Targets
from engine.errors import SemiPDError

RESULTS = Path("bench/results/speed.jsonl")


class Origin(msgspec.Struct, frozen=True):
    """When a figure was measured, with which command, on what."""

    at: str
    command: str
    machine: Machine

    @classmethod
    def now(cls, machine: Machine, program: Sequence[str] = ()) -> Origin:
        """`program`: what was called, where that is not `semi-pd bench`."""
        given = sys.argv[1:]
        if program:
            return cls(datetime.now(UTC).isoformat(timespec="seconds"), without_key([*program, *given]), machine)
        words = ["semi-pd", *given] if given[:1] == ["bench"] else ["semi-pd", "bench", *given]
        return cls(datetime.now(UTC).isoformat(timespec="seconds"), without_key(words), machine)


class Configuration(msgspec.Struct, frozen=True, omit_defaults=True):
    """What sets one run apart from another: equal configurations need not be measured twice.

    `rate` None: as the trace says, or, with `streams`, in rounds. `goal`: the run is part of a search and ends early
    where it cannot reach that attainment. `even`: what comes is spread as the mix has it (`draw_evenly`).
    """

    system: str
    mix: str
    seconds: float
    warmup_seconds: float
    seed: int
    scale: float = 1.0
    vocabulary: int = 0
    split: str = ""
    rate: float | None = None
    streams: int | None = None
    rounds: int | None = None
    targets: Targets = Targets()
    goal: float | None = None
    token_ids: bool = False
    even: bool = False


class RunLine(msgspec.Struct, frozen=True, tag="run"):
    """One run."""

    origin: Origin
    configuration: Configuration
    summary: Summary
    clients: int = 1


class SearchLine(msgspec.Struct, frozen=True, tag="search"):
    """The outcome of a search; `highest_rate` None: not even the lowest rate tried was good.

    `attainments`: rate → attainment, of all runs of the search.
    """

    origin: Origin
    configuration: Configuration
    highest_rate: float | None
    attainments: dict[float, float]


class Step(msgspec.Struct, frozen=True):
    """A model step: `kind` decode with `batch` sequences of `context` tokens, or prefill of `context` tokens."""

    kind: str
    batch: int
    context: int


class MicroLine(msgspec.Struct, frozen=True, tag="micro"):
    """A step beside its floors: the time to move its bytes at the bandwidth, and to do its operations at the matrix
    rate, both measured in the same run."""

    origin: Origin
    model: str
    dtype: str
    step: Step
    milliseconds: float
    bytes_floor_ms: float
    operations_floor_ms: float
    bandwidth: float
    matrix_rate: float


Line = RunLine | SearchLine | MicroLine
L = TypeVar("L", RunLine, SearchLine, MicroLine)
T = TypeVar("T")
K = TypeVar("K")
M = TypeVar("M", bound="Measured")


class BadResults(SemiPDError):
    """A line of a results file is none."""


class LinesFile(Generic[T]):
    """A results file: what has been measured, a JSON line each, and where the next one goes.

    `kind`: of its lines; `noun`: what a line is, for whoever gives another file. Raises `BadResults` where one is not.
    """

    kind: Any
    noun: str

    def __init__(self, path: Path):
        self.path = path
        self.lines: list[T] = list(self._read()) if path.exists() else []

    def append(self, line: T) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab") as file:
            file.write(msgspec.json.encode(line) + b"\n")
        self.lines.append(line)

    def _read(self) -> Iterator[T]:
        decoder = msgspec.json.Decoder(self.kind)
        for number, line in enumerate(self.path.read_bytes().splitlines(), start=1):
            try:
                yield decoder.decode(line)
            except msgspec.MsgspecError as error:
                raise BadResults(f"Line {number} of {self.path} is no {self.noun}: {error}.") from error


class Measured(Protocol):
    """A line that says what set its measurement apart from others."""

    @property
    def origin(self) -> Origin: ...

    @property
    def configuration(self) -> Any: ...


def alike(lines: Iterable[M], configuration: msgspec.Struct, machine: Machine) -> list[M]:
    """Those of this configuration, on such a machine."""
    return [line for line in lines if line.configuration == configuration and line.origin.machine == machine]


def together(lines: Iterable[T], key: Callable[[T], K]) -> dict[K, list[T]]:
    """Those that share a key, in the order in which they were first measured."""
    groups = dict[K, list[T]]()
    for line in lines:
        groups.setdefault(key(line), []).append(line)
    return groups


class Results(LinesFile[Line]):
    """Of runs, searches and steps."""

    kind, noun = Line, "result"

    def run_of(self, configuration: Configuration) -> RunLine | None:
        """The latest run of it that counts."""
        runs = (line for line in reversed(self.of_kind(RunLine)) if line.summary.counts)
        return next((line for line in runs if line.configuration == configuration), None)

    def search_of(self, configuration: Configuration) -> SearchLine | None:
        searches = reversed(self.of_kind(SearchLine))
        return next((line for line in searches if line.configuration == configuration), None)

    def of_kind(self, kind: type[L]) -> list[L]:
        return [line for line in self.lines if isinstance(line, kind)]


def without_key(words: list[str]) -> str:
    """A command line that may be shown: the API key is left out."""
    shown = list[str]()
    is_key = False
    for word in words:
        if is_key or word.startswith("--api-key="):
            shown.append("…" if is_key else "--api-key=…")
        else:
            shown.append(shlex.quote(word))
        is_key = word == "--api-key"
    return " ".join(shown)
