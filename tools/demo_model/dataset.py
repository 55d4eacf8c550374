"""Tokens on disk: running text in one long row, conversations in short rows with a mask of what is learnt."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from .chat import Conversation
from .tokenizer import END_OF_TEXT_ID, TURN_END_ID, TURN_START_ID

CHAT_ROW = 512  # tokens predicted in a row of conversations; most conversations have 60 to 250


@dataclass(frozen=True)
class Split:
    """text: uint16 [tokens]. chat: uint16 [rows, CHAT_ROW + 1]. learnt: bool like chat, true where learnt."""

    text: np.ndarray
    chat: np.ndarray
    learnt: np.ndarray


@dataclass(frozen=True)
class Dataset:
    train: Split
    held_out: Split
    bytes_per_token: float  # of the held-out text

    def save(self, path: Path) -> None:
        arrays = {
            f"{name}_{part}": array
            for name, split in (("train", self.train), ("held_out", self.held_out))
            for part, array in (
                ("text", split.text),
                ("chat", split.chat),
                ("learnt", np.packbits(split.learnt)),
            )
        }
        np.savez_compressed(path, allow_pickle=False, bytes_per_token=self.bytes_per_token, **arrays)


def load(path: Path) -> Dataset:
    with np.load(path) as file:

        def split(name: str) -> Split:
            chat = file[f"{name}_chat"]
            learnt = np.unpackbits(file[f"{name}_learnt"], count=chat.size).reshape(chat.shape).astype(bool)
            return Split(file[f"{name}_text"], chat, learnt)

        return Dataset(split("train"), split("held_out"), float(file["bytes_per_token"]))


def build(
    tokenizer: Tokenizer,
    train: tuple[list[str], list[Conversation]],
    held_out: tuple[list[str], list[Conversation]],
) -> Dataset:
    """Each split is (texts, conversations)."""
    held = Split(pack_text(tokenizer, held_out[0]), *pack_chat(tokenizer, held_out[1]))
    size = sum(len(text.encode()) for text in held_out[0])
    return Dataset(
        Split(pack_text(tokenizer, train[0]), *pack_chat(tokenizer, train[1])),
        held,
        size / (len(held.text) - len(held_out[0])),
    )


def pack_text(tokenizer: Tokenizer, texts: list[str]) -> np.ndarray:
    encoded = tokenizer.encode_batch(texts, add_special_tokens=False)
    return np.concatenate([np.array([*one.ids, END_OF_TEXT_ID], dtype=np.uint16) for one in encoded])


def pack_chat(tokenizer: Tokenizer, conversations: Iterable[Conversation]) -> tuple[np.ndarray, np.ndarray]:
    """Rows that begin with a conversation and hold as many whole ones as fit; the rest is padding."""
    rows: list[tuple[list[int], list[bool]]] = []
    ids: list[int] = []
    learnt: list[bool] = []
    for conversation in conversations:
        more, mask = encode(tokenizer, conversation)
        if ids and len(ids) + len(more) > CHAT_ROW + 1:
            rows.append((ids, learnt))
            ids, learnt = [], []
        ids, learnt = ids + more, learnt + mask
    rows.append((ids, learnt))
    chat = np.full((len(rows), CHAT_ROW + 1), END_OF_TEXT_ID, dtype=np.uint16)
    marks = np.zeros(chat.shape, dtype=bool)
    for row, (ids, learnt) in enumerate(rows):
        length = min(len(ids), CHAT_ROW + 1)
        chat[row, :length], marks[row, :length] = ids[:length], learnt[:length]
    return chat, marks


def encode(tokenizer: Tokenizer, conversation: Conversation) -> tuple[list[int], list[bool]]:
    """Token ids as the chat template gives them, and which of them the assistant says."""
    ids: list[int] = []
    learnt: list[bool] = []
    for role, content in conversation:
        opening = [TURN_START_ID, *tokenizer.encode(f"{role}\n").ids]
        said = [*tokenizer.encode(content).ids, TURN_END_ID]
        closing = tokenizer.encode("\n").ids
        ids += opening + said + closing
        learnt += [False] * len(opening) + [role == "assistant"] * len(said) + [False] * len(closing)
    return [*ids, END_OF_TEXT_ID], [*learnt, False]
