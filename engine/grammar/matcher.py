"""Where one request's output stands in its grammar, and which tokens may come next. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.grammar.library import library
from engine.grammar.vocabulary import Vocabulary

WORD_BITS = 32
_ALL = np.uint32(0xFFFFFFFF)


class Matcher:
    """Depends on the grammar and the output alone: made anew after any prefix, it is the same."""

    def __init__(self, compiled: Any, vocabulary: Vocabulary, output_ids: Sequence[int] = ()):
        self._matcher = library().matcher(compiled, None, False, -1, None)
        self._words = -(-vocabulary.size // WORD_BITS)
        self._unused_bits = np.uint32(self._words * WORD_BITS - vocabulary.size)
        self._end_ids = vocabulary.end_ids
        self._is_over = False
        for token_id in output_ids:
            self.advance(token_id)

    def advance(self, token_id: int) -> None:
        """One more token of output. One that was not allowed can only come of logits that are no numbers: then the
        output is lost, and all that may follow is its end."""
        if not self._is_over:
            self._is_over = not self._matcher.accept_token(token_id, False) or self._matcher.is_terminated()

    @property
    def allowed(self) -> NDArray[np.int32]:
        """A bit for each token, lowest first, int32 [⌈vocabulary / 32⌉]. At least one is set."""
        words = self._next_tokens()
        if not words.any():
            self._allow_the_end(words)
        return words

    @property
    def is_stuck(self) -> bool:
        """True if nothing leads on from here, neither a token nor the end."""
        return not self._is_over and not self._next_tokens().any()

    def _next_tokens(self) -> NDArray[np.int32]:
        words = np.zeros((1, self._words), dtype=np.int32)
        if not self._is_over:
            self._matcher.fill_next_token_bitmask(words, 0, False)
            words.view(np.uint32)[0, -1] &= _ALL >> self._unused_bits  # the library sets bits beyond the vocabulary
        return words[0]

    def _allow_the_end(self, words: NDArray[np.int32]) -> None:
        bits = words.view(np.uint32)
        for token_id in self._end_ids:
            bits[token_id // WORD_BITS] |= np.uint32(1 << token_id % WORD_BITS)
