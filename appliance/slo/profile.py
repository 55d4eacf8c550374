"""How fast each phase is at each split, measured with the other phase busy. Plain data."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any, NamedTuple, Self

from engine.allocation import Phase, SMAllocation, Splitter
from engine.profile.record import MachineProfile


class Speeds(NamedTuple):
    """Relative to the whole chip: 1.0 is a phase that has it for itself."""

    prefill: float
    decode: float

    def of(self, phase: Phase) -> float:
        return self.prefill if phase is Phase.PREFILL else self.decode


class Profile:
    """Speeds at the splits that were measured; between two shares it goes straight, below the smallest to zero.

    `stretches_steps`: a smaller share makes each step slower, as a part of a GPU's SMs does. Otherwise steps keep their
    length and the worker rests between them, as it does with the splitter `duty`.
    """

    def __init__(self, speeds: Mapping[SMAllocation, Speeds], *, stretches_steps: bool):
        for split, measured in speeds.items():
            if not all(0 < speed <= 1 for speed in measured):
                raise ValueError(f"The speeds at {split} must be above 0 and at most 1, not {tuple(measured)}.")
        self.measured = dict(speeds)
        self.stretches_steps = stretches_steps
        self._curves = {phase: self._curve(phase) for phase in Phase}

    @classmethod
    def duty(cls) -> Self:
        """Speed is proportional to share: what resting after each step does, by its definition."""
        return cls({}, stretches_steps=False)

    @classmethod
    def guessed(cls) -> Self:
        """For a GPU that was not measured: an 8B model's on an H200, as in docs/measured.md ("Both phases at once").

        Prefill computes, and is a little slower than its share; decode reads memory, and is faster than its own.
        """
        splits = [SMAllocation(share, 100 - share) for share in range(5, 100, 5)]
        speeds = {
            split: Speeds(0.95 * split.prefill_percentage / 100, _reading(split.decode_percentage / 100))
            for split in splits
        }
        return cls(speeds, stretches_steps=True)

    @classmethod
    def of_machine(cls, measured: MachineProfile) -> Self:
        """Of the rungs that are offered, relative to each phase alone on the whole device.

        Noise that says otherwise is levelled out: more share is never slower, and no share is faster than all of it.
        """
        rungs = measured.offered
        prefill = _growing([rung.prefill_speed for rung in rungs])
        decode = _growing([rung.decode_speed for rung in reversed(rungs)])
        pairs = zip(rungs, prefill, reversed(decode), strict=True)
        speeds = {rung.split: Speeds(*pair) for rung, *pair in pairs}
        return cls(speeds, stretches_steps=measured.key.splitter is not Splitter.DUTY)

    def speeds(self, split: SMAllocation) -> Speeds:
        return self.measured.get(split) or Speeds(*(self._between(phase, split.share(phase)) for phase in Phase))

    def _curve(self, phase: Phase) -> list[tuple[float, float]]:
        """(share, speed) from nothing to the whole chip. More SMs never make a phase slower: noise that says so is
        levelled out."""
        known = sorted((split.share(phase), speed.of(phase)) for split, speed in self.measured.items())
        levelled = [(0.0, 0.0)]
        for share, speed in [*known, (100, 1.0)]:
            levelled.append((share, max(speed, levelled[-1][1])))
        return levelled

    def _between(self, phase: Phase, share: float) -> float:
        for (left, slower), (right, faster) in pairwise(self._curves[phase]):
            if left <= share <= right and left < right:
                return slower + (faster - slower) * (share - left) / (right - left)
        return 1.0

    # ── as a file ───────────────────────────────────────────────────────────────────────────────────────────────────

    @classmethod
    def load(cls, path: Path) -> Self:
        """`{"stretches_steps": true, "splits": [{"prefill": 70, "decode": 30, "prefill_speed": …, "decode_speed": …}]}`

        Raises `ValueError` with one sentence.
        """
        try:
            return cls.of(json.loads(path.read_text("utf-8")))
        except (KeyError, TypeError) as error:
            raise ValueError(f"{path} is no profile: {error!r} is missing or of the wrong kind.") from error

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> Self:
        """What `as_dict` gave."""
        return cls(dict(_entries(content["splits"])), stretches_steps=bool(content["stretches_steps"]))

    def as_dict(self) -> dict[str, Any]:
        """What `load` reads."""
        return {
            "stretches_steps": self.stretches_steps,
            "splits": [
                {
                    "prefill": split.prefill_percentage,
                    "decode": split.decode_percentage,
                    "prefill_speed": speeds.prefill,
                    "decode_speed": speeds.decode,
                }
                for split, speeds in self.measured.items()
            ],
        }


def _reading(share: float) -> float:
    """Of a phase that waits for memory, which a part of the SMs uses better than in proportion."""
    return share * (1.4 - 0.4 * share)


def _growing(speeds: Sequence[float]) -> list[float]:
    """None below the one before it, none above 1."""
    return list(accumulate((min(1.0, speed) for speed in speeds), max))


def _entries(splits: Iterable[Mapping]) -> Iterable[tuple[SMAllocation, Speeds]]:
    for entry in splits:
        yield SMAllocation(entry["prefill"], entry["decode"]), Speeds(entry["prefill_speed"], entry["decode_speed"])
