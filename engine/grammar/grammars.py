"""Compiled grammars as requests carry them, and a worker's store of those it has unpacked."""

from __future__ import annotations

import lzma
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from engine.grammar.library import is_installed, library
from engine.grammar.matcher import Matcher
from engine.grammar.vocabulary import Vocabulary

_MOST_KEPT = 64


def packed(serialized: str) -> bytes:
    """Compiled grammars repeat themselves over many kilobytes, so that the window matters more than the effort."""
    return lzma.compress(serialized.encode(), preset=0)


class Grammars:
    """Makes matchers for requests of one model. A grammar that many requests share is unpacked once."""

    def __init__(self, vocabulary: Vocabulary):
        self._vocabulary = vocabulary
        self._unpacked: OrderedDict[bytes, Any] = OrderedDict()

    @classmethod
    def of_model(cls, model_path: Path) -> Self | None:
        """None where no request can ask for a grammar: without xgrammar, or without a tokenizer."""
        if not is_installed() or not (model_path / "tokenizer.json").is_file():
            return None
        return cls(Vocabulary.load(model_path))

    def matcher(self, grammar: bytes, output_ids: Sequence[int]) -> Matcher:
        """Where a request stands that has had `output_ids`. `grammar` is as `packed` gave it for this vocabulary."""
        return Matcher(self._compiled(grammar), self._vocabulary, output_ids)

    def _compiled(self, grammar: bytes) -> Any:
        if grammar not in self._unpacked:
            text = lzma.decompress(grammar).decode()
            self._unpacked[grammar] = library().compiled.deserialize_json(text, self._vocabulary.info)
            if len(self._unpacked) > _MOST_KEPT:
                self._unpacked.popitem(last=False)
        self._unpacked.move_to_end(grammar)
        return self._unpacked[grammar]
