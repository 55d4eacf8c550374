"""One thing that was looked at."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class Level(StrEnum):
    """`advice`: it works, and could be better. `problem`: it does not work, or will not."""

    OK = "ok"
    ADVICE = "advice"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """`seen` and `advice` are sentences; where all is well there is nothing to do."""

    level: Level
    about: str
    seen: str
    advice: str = ""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def fine(about: str, seen: str) -> Finding:
    return Finding(Level.OK, about, seen)


def advise(about: str, seen: str, advice: str) -> Finding:
    return Finding(Level.ADVICE, about, seen, advice)


def trouble(about: str, seen: str, advice: str) -> Finding:
    return Finding(Level.PROBLEM, about, seen, advice)
