"""Which algorithm computes which matrix product on how many SMs, as `product_search` has found it. No CUDA."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple, Self

import msgspec

from engine.kernel_cache import PRODUCTS

LEAST_ROWS_OF_BUCKET = 0.5
"""An algorithm is taken for fewer rows than it was found for, but not for less than so many times as many."""


class Choice(msgspec.Struct, frozen=True):
    """The fastest algorithm for x · weightᵀ, x [rows, columns], weight [outputs, columns], on `sm_count` SMs.

    `library_microseconds`: what the library's own choice takes there.
    """

    sm_count: int
    rows: int
    outputs: int
    columns: int
    configuration: bytes
    microseconds: float
    library_microseconds: float

    @property
    def place(self) -> tuple[int, int, int, int]:
        return (self.sm_count, self.outputs, self.columns, self.rows)


class On(msgspec.Struct, frozen=True):
    """What the choices hold for: another GPU has other SMs, and another library other algorithms."""

    gpu: str
    library: int
    dtype: str


class Kept(msgspec.Struct, frozen=True):
    """The file."""

    on: On
    choices: tuple[Choice, ...]


class PartChoices:
    """Those of one part of the chip."""

    def __init__(self, choices: Iterable[Choice] = ()):
        self._choices: dict[tuple[int, int], list[Choice]] = {}
        for choice in sorted(choices, key=lambda choice: choice.rows):
            self._choices.setdefault((choice.outputs, choice.columns), []).append(choice)

    def find(self, rows: int, outputs: int, columns: int) -> Choice | None:
        """The one for so many rows, or for the next larger number that was tried; None where there is none near."""
        of_shape = self._choices.get((outputs, columns), ())
        choice = next((choice for choice in of_shape if choice.rows >= rows), None)
        return choice if choice and choice.rows * LEAST_ROWS_OF_BUCKET <= rows else None


class ProductChoices(NamedTuple):
    """All that are kept in one place."""

    choices: tuple[Choice, ...] = ()

    @classmethod
    def load(cls, folder: Path, on: On) -> Self:
        """Those in `folder` that hold on this machine: none where the file is of another, or cannot be read."""
        try:
            kept = msgspec.json.decode((folder / PRODUCTS).read_bytes(), type=Kept)
        except (OSError, msgspec.MsgspecError):
            return cls()
        return cls(kept.choices) if kept.on == on else cls()

    def keep(self, folder: Path, on: On) -> None:
        """In the place of what was kept of the same products, all of it or nothing; what another machine kept goes."""
        known = {choice.place: choice for choice in ProductChoices.load(folder, on).choices}
        known |= {choice.place: choice for choice in self.choices}
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = folder / f"{PRODUCTS}.{os.getpid()}"
        draft.write_bytes(msgspec.json.encode(Kept(on, tuple(known.values()))))
        draft.rename(folder / PRODUCTS)

    def of_part(self, sm_count: int) -> PartChoices:
        """Those found on so many SMs, or on the next number of SMs that was tried."""
        tried = sorted({choice.sm_count for choice in self.choices}, key=lambda count: abs(count - sm_count))
        return PartChoices(choice for choice in self.choices if tried and choice.sm_count == tried[0])
