"""Model directories without weights, for `--load-format dummy`: a config and a tokenizer that fills the vocabulary."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

BOS, EOS = "<|begin|>", "<|end|>"
CHAT_TEMPLATE = "{{ bos_token }}{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}"

_LLAMA = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_act": "silu",
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": False,
}

SHAPES: dict[str, dict[str, Any]] = {
    "llama-8b": _LLAMA
    | {
        "vocab_size": 128256,
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "max_position_embeddings": 131072,
        "rope_theta": 500000.0,
        "rope_scaling": {
            "rope_type": "llama3",
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192,
        },
        "torch_dtype": "bfloat16",
    },
    "tiny": _LLAMA
    | {
        "vocab_size": 1024,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "max_position_embeddings": 4096,
        "rope_theta": 10000.0,
        "torch_dtype": "float32",
    },
}


def write_shape(directory: Path, shape: dict[str, Any]) -> None:
    """Make a model directory that serves without a checkpoint. The last two tokens are the begin and the end."""
    directory.mkdir(parents=True, exist_ok=True)
    vocab_size = shape["vocab_size"]
    ends = {"bos_token_id": vocab_size - 2, "eos_token_id": vocab_size - 1}
    tokenizer_config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": BOS,
        "eos_token": EOS,
        "model_max_length": shape["max_position_embeddings"],
        "chat_template": CHAT_TEMPLATE,
    }
    _write(directory / "config.json", shape | ends)
    _write(directory / "generation_config.json", ends)
    _write(directory / "tokenizer_config.json", tokenizer_config)
    make_tokenizer(vocab_size).save(str(directory / "tokenizer.json"))


def make_tokenizer(vocab_size: int) -> Tokenizer:
    """Text becomes one token a byte. The other tokens stand for made-up words, so that random ids have a text of
    ordinary length."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = alphabet + [_word(number) for number in range(vocab_size - len(alphabet) - 2)]
    tokenizer = Tokenizer(models.BPE(vocab={token: number for number, token in enumerate(tokens)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(BOS, special=True), AddedToken(EOS, special=True)])
    return tokenizer


def _word(number: int) -> str:
    """A space, as byte-level tokenizers write it, and at least two letters, another word for each number."""
    letters = ""
    number += 26
    while number:
        number, letter = divmod(number, 26)
        letters += chr(ord("a") + letter)
    return "Ġ" + letters


def _write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n")
