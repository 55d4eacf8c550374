"""The random checkpoints other tests use are complete model directories."""

from __future__ import annotations

from pathlib import Path

from tokenizers import Tokenizer
from transformers import AutoTokenizer

from tests.checkpoints import END_OF_TEXT, END_OF_TEXT_ID, VOCAB_SIZE


def test_the_tokenizer_has_a_token_for_every_byte(small_llama: Path) -> None:
    tokenizer = Tokenizer.from_file(str(small_llama / "tokenizer.json"))
    text = "Grüße,\n\t 世界 🙂"
    ids = tokenizer.encode(text).ids
    assert len(ids) == len(text.encode())
    assert tokenizer.decode(ids) == text
    assert tokenizer.get_vocab_size() == VOCAB_SIZE
    assert tokenizer.encode(END_OF_TEXT).ids == [END_OF_TEXT_ID]


def test_transformers_reads_the_chat_template(small_llama: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(small_llama)
    messages = [{"role": "user", "content": "Hello"}]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert text == "user: Hello\nassistant: "
    assert tokenizer.eos_token_id == END_OF_TEXT_ID
