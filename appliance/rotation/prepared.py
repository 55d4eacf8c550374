"""Which splits a group prepares to take in place later, beside its own and the whole device. Pure."""

from __future__ import annotations

from appliance.slo.ladder import Ladder
from engine.allocation import Phase, SMAllocation


def prepared_beside(split: SMAllocation, ladder: Ladder | None) -> tuple[SMAllocation, ...]:
    """The rungs next to `split`; where it is none itself, the rung nearest to it and those next to that.

    Each costs decode a set of graphs. Empty where there is no ladder, or no two workers.
    """
    if ladder is None or split.is_together:
        return ()
    middle = split if split in ladder else ladder.nearest(split)
    around = (middle, ladder.toward(Phase.DECODE, middle), ladder.toward(Phase.PREFILL, middle))
    return tuple(rung for rung in around if rung is not None and rung != split)
