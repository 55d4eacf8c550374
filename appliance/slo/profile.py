"""How fast each phase is at each split, measured with the other phase busy. Plain data."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any, NamedTuple, Self

from appliance.slo.crowding import Crowding
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

    `crowded`: decode's speed at the same splits with many lanes; `crowding` says how many those are. Without both,
    decode is as fast with many lanes as with few.
    """

    def __init__(
        self,
        speeds: Mapping[SMAllocation, Speeds],
        *,
        stretches_steps: bool,
        crowding: Crowding | None = None,
        crowded: Mapping[SMAllocation, float] | None = None,
    ):
        self.crowded = dict(crowded or {})
        for split, measured in speeds.items():
            found = (*measured, *([self.crowded[split]] if crowding else []))
            if not all(0 < speed <= 1 for speed in found):
                raise ValueError(f"The speeds at {split} must be above 0 and at most 1, not {found}.")
        self.measured = dict(speeds)
        self.stretches_steps = stretches_steps
        self.crowding = crowding
        self._curves = {phase: _curve(phase, {s: v.of(phase) for s, v in self.measured.items()}) for phase in Phase}
        self._crowded = _curve(Phase.DECODE, self.crowded)

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
        crowding, crowded = None, dict[SMAllocation, float]()
        if measured.growth is not None and all(rung.crowded_speed for rung in rungs):
            crowding = Crowding(measured.conditions.decode_lanes, measured.conditions.many_lanes, measured.growth)
            found = _growing([rung.crowded_speed or 0.0 for rung in reversed(rungs)])
            crowded = {rung.split: speed for rung, speed in zip(rungs, reversed(found), strict=True)}
        stretches_steps = measured.key.splitter is not Splitter.DUTY
        return cls(speeds, stretches_steps=stretches_steps, crowding=crowding, crowded=crowded)

    def speeds(self, split: SMAllocation, lanes: float | None = None) -> Speeds:
        """With so many lanes in the batch; with few, where nobody says how many."""
        speeds = self.measured.get(split) or Speeds(*(_between(self._curves[p], split.share(p)) for p in Phase))
        if self.crowding is None or lanes is None:
            return speeds
        with_many = self.crowded.get(split) or _between(self._crowded, split.decode_percentage)
        return speeds._replace(decode=self.crowding.speed(speeds.decode, with_many, lanes))

    def reading(self, split: SMAllocation) -> float:
        """The speed of prefill's part where it waits for memory: decode's, in a part as large."""
        computing = self.speeds(split).prefill
        if not self.stretches_steps:
            return computing
        return max(computing, _between(self._curves[Phase.DECODE], split.prefill_percentage))

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
        splits, crowding = list(content["splits"]), content.get("crowding")
        return cls(
            dict(_entries(splits)),
            stretches_steps=bool(content["stretches_steps"]),
            crowding=Crowding.of(crowding) if crowding else None,
            crowded={_split(entry): entry["crowded_decode_speed"] for entry in splits} if crowding else None,
        )

    def as_dict(self) -> dict[str, Any]:
        """What `load` reads."""
        return {
            "stretches_steps": self.stretches_steps,
            "crowding": asdict(self.crowding) if self.crowding else None,
            "splits": [self._entry(split, speeds) for split, speeds in self.measured.items()],
        }

    def _entry(self, split: SMAllocation, speeds: Speeds) -> dict[str, Any]:
        entry = {
            "prefill": split.prefill_percentage,
            "decode": split.decode_percentage,
            "prefill_speed": speeds.prefill,
            "decode_speed": speeds.decode,
        }
        return entry | ({"crowded_decode_speed": self.crowded[split]} if self.crowding else {})


def _curve(phase: Phase, speeds: Mapping[SMAllocation, float]) -> list[tuple[float, float]]:
    """(share, speed) from nothing to the whole chip. More SMs never make a phase slower: noise that says so is levelled
    out."""
    levelled = [(0.0, 0.0)]
    for share, speed in [*sorted((split.share(phase), speed) for split, speed in speeds.items()), (100, 1.0)]:
        levelled.append((share, max(speed, levelled[-1][1])))
    return levelled


def _between(curve: Sequence[tuple[float, float]], share: float) -> float:
    for (left, slower), (right, faster) in pairwise(curve):
        if left <= share <= right and left < right:
            return slower + (faster - slower) * (share - left) / (right - left)
    return 1.0


def _reading(share: float) -> float:
    """Of a phase that waits for memory, which a part of the SMs uses better than in proportion."""
    return share * (1.4 - 0.4 * share)


def _growing(speeds: Sequence[float]) -> list[float]:
    """None below the one before it, none above 1."""
    return list(accumulate((min(1.0, speed) for speed in speeds), max))


def _entries(splits: Iterable[Mapping]) -> Iterable[tuple[SMAllocation, Speeds]]:
    for entry in splits:
        yield _split(entry), Speeds(entry["prefill_speed"], entry["decode_speed"])


def _split(entry: Mapping) -> SMAllocation:
    return SMAllocation(entry["prefill"], entry["decode"])
