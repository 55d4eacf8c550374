"""Token ids are those of the library's own way to encode, beside the event loop too, where it finds no offsets."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from engine.config import DEMO_MODEL
from engine.gateway.tokenizer import TextTokenizer

WHOLE = Tokenizer.from_file(str(DEMO_MODEL / "tokenizer.json"))
OURS = TextTokenizer.load(DEMO_MODEL)
TEXTS = st.text(max_size=200) | st.sampled_from(["", " ", "import os\n" * 50, "<|im_start|>user\n", "🙂a\u0301"])


@given(TEXTS, st.booleans())
def test_offsets_that_nobody_asks_for_change_no_token(text: str, add_special_tokens: bool) -> None:
    whole = WHOLE.encode(text, add_special_tokens=add_special_tokens).ids
    assert OURS.encode(text, add_special_tokens=add_special_tokens) == whole
    assert asyncio.run(OURS.encode_beside(text, add_special_tokens=add_special_tokens)) == whole


@pytest.mark.parametrize("text", ["class Counter(dict):", "def walk("])
def test_a_text_that_comes_back(text: str) -> None:
    assert OURS.decode(OURS.encode(text, add_special_tokens=False)) == text
