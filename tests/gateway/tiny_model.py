"""A model directory without weights: config, byte-level tokenizer with special tokens, chat template."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

BOS, EOS, TURN_END = "<|begin|>", "<|end|>", "<|turn_end|>"
SPECIAL_TOKENS = [BOS, EOS, TURN_END, "<|system|>", "<|user|>", "<|assistant|>"]
MAX_POSITIONS = 512
CHAT_TEMPLATE = """\
{{ bos_token }}
{%- for message in messages %}
    {%- if message.role == 'tool' %}{{ raise_exception('this model has no tools') }}{% endif %}
    {{- '<|' + message.role + '|>' + message.content + '<|turn_end|>' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"""

_CORPUS = ["Hello world, how are you today?", "the quick brown fox", "naïve café — 你好，世界 🙂🙃 नमस्ते"] * 4


def save_tiny_model(path: Path, chat_template: str = CHAT_TEMPLATE, more_special: Sequence[str] = ()) -> Path:
    """Make the directory `path`; its token ids 0 … 5 are `SPECIAL_TOKENS`, `more_special` are the last."""
    path.mkdir()
    tokenizer = make_tokenizer()
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in more_special])
    tokenizer.save(str(path / "tokenizer.json"))
    tokenizer_config = {"bos_token": BOS, "eos_token": {"content": EOS}, "chat_template": chat_template}
    _write(path / "tokenizer_config.json", tokenizer_config)
    _write(path / "generation_config.json", {"eos_token_id": [1, 2], "temperature": 0.6, "top_k": 40})
    _write(
        path / "config.json",
        {
            "architectures": ["LlamaForCausalLM"],
            "vocab_size": tokenizer.get_vocab_size() + 7,  # padded, as real ones are
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": MAX_POSITIONS,
            "rms_norm_eps": 1e-5,
            "rope_theta": 10000.0,
            "bos_token_id": 0,
            "eos_token_id": 1,
            "torch_dtype": "float32",
        },
    )
    return path


def make_tokenizer() -> Tokenizer:
    """Byte-level BPE. It also has two tokens that were added and are not special, one of them with a space inside."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        _CORPUS,
        trainers.BpeTrainer(
            vocab_size=340,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            special_tokens=SPECIAL_TOKENS,
            show_progress=False,
        ),
    )
    tokenizer.add_tokens([AddedToken("<tool call>", special=False), AddedToken("naïveté", special=False)])
    tokenizer.post_processor = processors.TemplateProcessing(f"{BOS} $A", f"{BOS} $A $B", [(BOS, 0)])
    return tokenizer


def byte_tokens(tokenizer: Tokenizer, text: str) -> list[int]:
    """The text with one token for each of its bytes: the same vocabulary, nothing merged."""
    unmerged = Tokenizer(models.BPE(vocab=tokenizer.get_vocab(with_added_tokens=False), merges=[]))
    unmerged.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    ids = unmerged.encode(text).ids
    assert len(ids) == len(text.encode())
    return ids


def _write(path: Path, content: object) -> None:
    path.write_text(json.dumps(content))
