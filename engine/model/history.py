"""Which tokens one request has had, as they come: what penalties and grammars go by. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np
from numpy.typing import NDArray

from engine.grammar.grammars import Grammars
from engine.grammar.matcher import Matcher
from engine.request import SamplingParams


class History:
    """`token_ids` [n]: every token of prompt and output, once. `drawn` [n]: how often each came in the output.

    `matcher`: where the output stands in its grammar, None without one.
    """

    def __init__(self, token_ids: Sequence[int], output_count: int, matcher: Matcher | None = None):
        """The last `output_count` of `token_ids` are output, those before are the prompt."""
        prompt_length = len(token_ids) - output_count
        self.matcher = matcher
        self._places = {token_id: place for place, token_id in enumerate(dict.fromkeys(token_ids))}
        self.token_ids: NDArray[np.int64] = np.fromiter(self._places, np.int64)
        output_places = [self._places[token_id] for token_id in token_ids[prompt_length:]]
        self.drawn: NDArray[np.int64] = np.bincount(output_places, minlength=len(self._places)).astype(np.int64)

    @classmethod
    def wanted_by(
        cls,
        sampling: SamplingParams | None,
        token_ids: Sequence[int],
        output_count: int,
        grammars: Grammars | None = None,
    ) -> Self | None:
        """A history where a draw depends on it, None where nothing is drawn or the draw does not.

        `grammars` may be left out where no request has one.
        """
        if sampling is None or not sampling.needs_history:
            return None
        if sampling.grammar is None:
            return cls(token_ids, output_count)
        assert grammars is not None, "a grammar came to a worker that cannot read it"
        output_ids = token_ids[len(token_ids) - output_count :]
        return cls(token_ids, output_count, grammars.matcher(sampling.grammar, output_ids))

    def append(self, token_id: int) -> None:
        """One more token of output."""
        place = self._places.setdefault(token_id, len(self._places))
        if place == len(self.token_ids):
            self.token_ids = np.append(self.token_ids, token_id)
            self.drawn = np.append(self.drawn, 0)
        self.drawn[place] += 1
        if self.matcher is not None:
            self.matcher.advance(token_id)
