"""Which SMs a phase gets: the rounding of shares to what the hardware can divide. Plain numbers, no CUDA."""

from __future__ import annotations

from dataclasses import dataclass

from engine.allocation import Phase, SMAllocation
from engine.errors import CannotStart


@dataclass(frozen=True, slots=True)
class SmGrid:
    """A chip of `total` SMs. Its first part can hold `minimum`, `minimum` + `step`, … of them; so much stays behind it.

    An H200 is `SmGrid(132, 8, 8)`.
    """

    total: int
    minimum: int
    step: int

    def boundary(self, percentage: int) -> int:
        """How many SMs stand before the boundary that is nearest to `percentage` of the chip.

        Of two that are equally near it is the lower one: the part behind it, decode's, is the principal.
        """
        if self.total < 2 * self.minimum:
            raise CannotStart(
                f"The GPU's {self.total} SMs cannot be divided into parts of at least {self.minimum}: "
                "set splitter to 'none'."
            )
        boundaries = range(self.minimum, self.total - self.minimum + 1, self.step)
        return min(boundaries, key=lambda count: abs(100 * count - percentage * self.total))

    def part(self, phase: Phase, allocation: SMAllocation) -> range:
        """The SMs of a phase, counted in the order in which the driver divides them.

        Prefill has those before the boundary at x %, decode those behind the boundary at (100 − y) %. For x + y = 100
        that is one boundary, computed once in each process from the same numbers: whatever the rounding does, the two
        parts cannot overlap and leave nothing over. A share of 100 is the whole chip.
        """
        share = allocation.share(phase)
        if share == 100:
            return range(self.total)
        if phase is Phase.PREFILL:
            return range(self.boundary(share))
        return range(self.boundary(100 - share), self.total)
