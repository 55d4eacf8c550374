"""The resident's pages: they outlive every worker, with all that a worker wrote or left half written."""

from __future__ import annotations

from random import Random

from engine.model.segment import Segment
from tests.scheduler.rehearsal import VOCABULARY, HashModel


class Memory(HashModel):
    """K and V of a token is the token itself. What was spoilt reads as a token that no prompt has."""

    def spoil(self, segment: Segment, chance: Random) -> None:
        """The step was interrupted: of what it writes, some is written, some not, and some is neither."""
        for offset, token_id in enumerate(segment.token_ids):
            slot = self._slot(segment, segment.start + offset)
            self._slots[slot] = chance.choice((self._slots[slot], token_id, VOCABULARY + 1))
