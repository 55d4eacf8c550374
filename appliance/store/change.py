"""What the writer is asked to write, and what becomes of it where it cannot be written."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

from sqlalchemy import Connection

Act = Callable[[Connection], Any]


class Kind(Enum):
    """What becomes of a change that cannot be written.

    SETTING: whoever asked is told, and nothing has changed. RECORD: kept, and written later. SAMPLE: dropped, counted.
    A setting and a record are on the disk when they are done (`synchronous = FULL`); of samples, a power cut may take
    the last (`NORMAL`).
    """

    SETTING = auto()
    RECORD = auto()
    SAMPLE = auto()

    @property
    def synchronous(self) -> str:
        return "NORMAL" if self is Kind.SAMPLE else "FULL"


@dataclass(slots=True)
class Change:
    """`act` is called in the writer's thread, within a transaction unless it brings its own."""

    kind: Kind
    act: Act
    in_transaction: bool = True
    result: Future[Any] = field(default_factory=Future)
