"""The model's tokenizer: text to token ids, and the bytes that each token stands for."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self

from tokenizers import Tokenizer

from engine.errors import CannotStart

_BYTE_TOKEN = re.compile(r"<0x([0-9A-F]{2})>")


class TextTokenizer:
    """A `tokenizer.json`. `pieces[id]` are the bytes of a token, none for special tokens."""

    def __init__(self, tokenizer: Tokenizer, pieces: list[bytes]):
        self._tokenizer = tokenizer
        self._beside = ThreadPoolExecutor(1, "tokenise")
        self.pieces = pieces

    @classmethod
    def load(cls, model_path: Path) -> Self:
        """Raises `CannotStart` where the file is missing, broken, or of a kind whose bytes are not known."""
        path = model_path / "tokenizer.json"
        if not path.is_file():
            raise CannotStart(f"The model directory {model_path} has no tokenizer.json.")
        try:
            tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises bare Exception
            raise CannotStart(f"The tokenizer {path} cannot be read: {error}.") from error
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return cls(tokenizer, _pieces(tokenizer, json.loads(path.read_text("utf-8")).get("decoder")))

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        """Token ids of `text`; with `add_special_tokens`, framed as the model expects bare text (BOS first)."""
        return self._tokenizer.encode(text, add_special_tokens=add_special_tokens).ids

    async def encode_beside(self, text: str, *, add_special_tokens: bool) -> list[int]:
        """The same, beside the event loop: one text after the other, so that many at once take no more memory."""

        def encoded() -> list[int]:
            (found,) = self._tokenizer.encode_batch_fast([text], add_special_tokens=add_special_tokens)
            return found.ids  # without offsets, which are several times the ids, and would be made with the lock held

        return await asyncio.get_running_loop().run_in_executor(self._beside, encoded)

    def decode(self, token_ids: Sequence[int]) -> str:
        """The text of `token_ids`, special tokens written out. Unknown ids have none."""
        return self._tokenizer.decode(token_ids, skip_special_tokens=False)

    def pieces_with(self, tokens: Iterable[str]) -> list[bytes]:
        """`pieces`, in which these tokens, where they are special, have text too."""
        pieces = list(self.pieces)
        for token in tokens:
            token_id = self._tokenizer.token_to_id(token)
            if token_id is not None:
                pieces[token_id] = token.encode()
        return pieces

    def written_out(self, token_id: int) -> bytes:
        """The bytes of one token; a special token as it is written in `tokenizer.json`."""
        known = self.pieces[token_id : token_id + 1]
        if known and not known[0]:
            return (self._tokenizer.id_to_token(token_id) or "").encode()
        return known[0] if known else b""


def _pieces(tokenizer: Tokenizer, decoder: dict[str, Any] | None) -> list[bytes]:
    vocabulary = tokenizer.get_vocab(with_added_tokens=True)
    special = {token_id for token_id, token in tokenizer.get_added_tokens_decoder().items() if token.special}
    to_bytes = _byte_level if _uses(decoder, "ByteLevel") else _sentence_piece
    if not _uses(decoder, "ByteLevel", "Metaspace", "ByteFallback"):
        raise CannotStart("The tokenizer's decoder is neither byte-level nor of the SentencePiece kind.")
    pieces = [b""] * (max(vocabulary.values(), default=-1) + 1)
    for token, token_id in vocabulary.items():
        if token_id not in special:
            pieces[token_id] = to_bytes(token)
    return pieces


def _uses(decoder: dict[str, Any] | None, *kinds: str) -> bool:
    steps: Iterable[dict[str, Any]] = decoder.get("decoders", [decoder]) if decoder else []
    return any(step["type"] in kinds for step in steps)


def _byte_level(token: str) -> bytes:
    """A byte-level token writes each byte as one printable character; an added token is plain text."""
    try:
        return bytes(_BYTE_OF[character] for character in token)
    except KeyError:
        return token.encode()


def _sentence_piece(token: str) -> bytes:
    """A SentencePiece token writes a space as ▁, and a byte that has no token of its own as <0xNN>."""
    byte = _BYTE_TOKEN.fullmatch(token)
    return bytes([int(byte[1], 16)]) if byte else token.replace("▁", " ").encode()


def _byte_alphabet() -> dict[str, int]:
    """GPT-2's alphabet: printable Latin-1 bytes stand for themselves, the others follow from U+0100 in order."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = (byte for byte in range(256) if byte not in printable)
    return {chr(byte): byte for byte in printable} | {chr(0x100 + n): byte for n, byte in enumerate(others)}


_BYTE_OF = _byte_alphabet()
