"""The model's tokens as a grammar sees them: the bytes each stands for, and which of them end the text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from engine.gateway.tokenizer import TextTokenizer
from engine.grammar.library import library
from engine.model.config import ModelConfig

_RAW_BYTES = 0
_NO_SPACE_IN_FRONT = False
_CONTROL = re.compile(rb"[\x00-\x1f]")


class Vocabulary:
    """Tokens without bytes are never allowed, but for the end tokens where the text is complete.

    Neither are tokens with control characters: JSON has them only between values, where the grammars used here have
    a fixed separator, and xgrammar would let them into strings of bounded length.
    """

    def __init__(self, pieces: Sequence[bytes], size: int, end_ids: Sequence[int]):
        """`pieces[id]` are a token's bytes; there may be fewer or more of them than the model's `size`."""
        self.size = size
        self.end_ids = [token_id for token_id in end_ids if token_id < size]
        printable = [b"" if _CONTROL.search(piece) else piece for piece in pieces[:size]]
        self.info: Any = library().tokenizer_info(printable, _RAW_BYTES, size, self.end_ids, _NO_SPACE_IN_FRONT)

    @classmethod
    def load(cls, model_path: Path) -> Self:
        """Raises `CannotStart` where the directory has no tokenizer that is known here."""
        config = ModelConfig.load(model_path)
        return cls(TextTokenizer.load(model_path).pieces, config.vocab_size, config.eos_token_ids)
