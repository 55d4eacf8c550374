"""Text at every byte boundary, against the tokenizers library's own decoding of the whole."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from engine.errors import CannotStart
from engine.gateway.detokenizer import Detokenizer
from engine.gateway.tokenizer import TextTokenizer
from tests.gateway.tiny_model import byte_tokens, make_tokenizer

TEXTS = [
    "plain",
    "  two leading spaces",
    "é ß ñ",
    "e\u0301 combining, नमस्ते",
    "你好，世界",
    "🙂 👨‍👩‍👧‍👦 🇩🇪",
    "mixed é你🙂a",
    "\x00\x7f\u0080\u07ff\u0800\uffff\U00010000\U0010ffff",
]
BYTE_LEVEL = make_tokenizer()


@pytest.fixture(scope="module")
def pieces(model_path: Path) -> list[bytes]:
    return TextTokenizer.load(model_path).pieces


def decoded(pieces: list[bytes], ids: list[int]) -> str:
    detokenizer = Detokenizer(pieces)
    return "".join(map(detokenizer.feed, ids)) + detokenizer.flush()


@pytest.mark.parametrize("text", TEXTS)
def test_characters_come_with_their_last_byte(pieces: list[bytes], text: str) -> None:
    detokenizer = Detokenizer(pieces)
    ids = byte_tokens(BYTE_LEVEL, text)
    raw = text.encode()
    shown = ""
    for count, token_id in enumerate(ids, start=1):
        shown += detokenizer.feed(token_id)
        assert shown == raw[:count].decode(errors="ignore")
    assert detokenizer.flush() == ""


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_that_ends_inside_a_character(pieces: list[bytes], text: str) -> None:
    raw = text.encode()
    for count, _ in enumerate(raw, start=1):
        shown = decoded(pieces, byte_tokens(BYTE_LEVEL, text)[:count])
        assert shown == raw[:count].decode(errors="replace")


@given(ids=st.lists(st.integers(0, BYTE_LEVEL.get_vocab_size() - 1), max_size=40))
def test_any_tokens_say_what_the_library_says(pieces: list[bytes], ids: list[int]) -> None:
    assert decoded(pieces, ids) == BYTE_LEVEL.decode(ids, skip_special_tokens=True)


def _saved(tokenizer: Tokenizer, path: Path) -> Path:
    tokenizer.save(str(path / "tokenizer.json"))
    return path


def test_a_sentence_piece_tokenizer(tmp_path: Path) -> None:
    vocabulary = {"<unk>": 0, "<s>": 1} | {f"<0x{byte:02X}>": byte + 2 for byte in range(256)}
    vocabulary |= {"▁": 258, "▁Hello": 259, "lo": 260, "▁▁▁": 261, "é": 262}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], byte_fallback=True, unk_token="<unk>"))
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.add_special_tokens([AddedToken("<s>", special=True)])
    table = TextTokenizer.load(_saved(tokenizer, tmp_path)).pieces
    ids = [259, 260, 261, 262, *(byte + 2 for byte in "🙂".encode()), 1, 259]
    assert decoded(table, ids) == " Hellolo   é🙂 Hello"
    # The library drops the space in front of a whole text; ours goes on after a prompt, where it belongs.
    assert decoded(table, ids) == " " + tokenizer.decode(ids, skip_special_tokens=True)


def test_a_tokenizer_that_is_missing_broken_or_of_another_kind_cannot_start(tmp_path: Path) -> None:
    with pytest.raises(CannotStart, match=r"has no tokenizer\.json"):
        TextTokenizer.load(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(CannotStart, match="cannot be read"):
        TextTokenizer.load(tmp_path)
    words = Tokenizer(models.WordLevel({"a": 0, "[UNK]": 1}, unk_token="[UNK]"))
    words.decoder = decoders.WordPiece()
    with pytest.raises(CannotStart, match="neither byte-level nor"):
        TextTokenizer.load(_saved(words, tmp_path))


def test_encoding_is_never_cut_or_padded(tmp_path: Path) -> None:
    tokenizer = make_tokenizer()
    tokenizer.enable_truncation(4)
    tokenizer.enable_padding(length=64)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    text = "the quick brown fox"
    ids = TextTokenizer.load(_saved(tokenizer, tmp_path)).encode(text, add_special_tokens=True)
    assert BYTE_LEVEL.decode(ids) == text and ids[0] == 0
