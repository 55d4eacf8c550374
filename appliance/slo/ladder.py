"""The splits that the policy may choose."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from engine.allocation import Phase, SMAllocation


class Ladder:
    """Complementary splits, the one with the least for prefill first.

    Raises `ValueError`, with one sentence, for an empty ladder or a rung that is not complementary: where the parts
    overlap, neither phase's speed is its own.
    """

    def __init__(self, rungs: Iterable[SMAllocation]):
        self.rungs = tuple(sorted(set(rungs), key=lambda split: split.prefill_percentage))
        if not self.rungs:
            raise ValueError("A ladder must have at least one split.")
        for split in self.rungs:
            if not split.is_complementary:
                raise ValueError(f"The split {split} cannot be a rung of the ladder: its shares must add up to 100.")

    @classmethod
    def in_steps_of(cls, percent: int) -> Ladder:
        """All complementary splits whose shares are multiples of `percent`."""
        if not 1 <= percent <= 50:
            raise ValueError(f"A ladder's steps must be from 1 to 50 percent, not {percent!r}.")
        return cls(SMAllocation(share, 100 - share) for share in range(percent, 100, percent))

    def __iter__(self) -> Iterator[SMAllocation]:
        return iter(self.rungs)

    def __contains__(self, split: object) -> bool:
        return split in self.rungs

    def __len__(self) -> int:
        return len(self.rungs)

    def toward(self, phase: Phase, split: SMAllocation) -> SMAllocation | None:
        """The next rung that gives `phase` more than `split` does, or None at the ladder's end.

        `split` need not be a rung: an overlapping one can have been asked for by hand.
        """
        better = [rung for rung in self.rungs if rung.share(phase) > split.share(phase)]
        return min(better, key=lambda rung: rung.share(phase)) if better else None

    def nearest(self, split: SMAllocation) -> SMAllocation:
        """The rung whose shares stand to each other most nearly as those of `split` do."""
        wanted = split.prefill_percentage / (split.prefill_percentage + split.decode_percentage)
        return min(self.rungs, key=lambda rung: abs(rung.prefill_percentage / 100 - wanted))
