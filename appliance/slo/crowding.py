"""How much of its speed decode loses in a part of the device when its batch grows. Plain data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class Crowding:
    """A step of few lanes reads weights, of which a part of the SMs gets more than its share; one of many lanes
    computes, and there a part is no more than a part.

    Measured with `few` and with `many` lanes. `growth`: how many times as long a step of `many` takes on the whole
    device. Steps grow in a straight line, between both and beyond.
    """

    few: int
    many: int
    growth: float

    def __post_init__(self) -> None:
        if not (0 < self.few < self.many and self.growth > 0):
            raise ValueError(f"Lanes must grow from few to many, and steps take time: not {self}.")

    def speed(self, with_few: float, with_many: float, lanes: float) -> float:
        """Of a part, with `lanes` lanes: what a step takes on the whole device over what it takes there."""
        beyond = max(0.0, (lanes - self.few) / (self.many - self.few))
        whole = 1.0 + (self.growth - 1.0) * beyond
        part = 1.0 / with_few + (self.growth / with_many - 1.0 / with_few) * beyond
        return min(1.0, whole / part) if min(whole, part) > 0 else min(with_few, with_many)

    @classmethod
    def of(cls, content: dict[str, Any]) -> Self:
        """What `dataclasses.asdict` gave."""
        return cls(int(content["few"]), int(content["many"]), float(content["growth"]))
