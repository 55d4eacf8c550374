"""Small random checkpoints in the ordinary Hugging Face layout, made by transformers itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from transformers import AutoConfig, AutoModelForCausalLM

END_OF_TEXT = "<|endoftext|>"
END_OF_TEXT_ID = 256
VOCAB_SIZE = 257
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ message['role'] + ': ' + message['content'] + '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
)


def save_random_llama(path: Path, *, seed: int = 0, max_shard_size: str = "5GB", **shape: Any) -> Path:
    """`save_random_model` of the family "llama"."""
    return save_random_model(path, "llama", seed=seed, max_shard_size=max_shard_size, **shape)


def save_random_model(
    path: Path, model_type: str, *, seed: int = 0, max_shard_size: str = "5GB", dtype: str = "float32", **shape: Any
) -> Path:
    """A model with random weights, norms and biases too, a byte-level tokenizer and a chat template; returns `path`.

    `model_type` is the family as transformers calls it, `shape` overrides any field of its config. The weights are wide
    (deviation 0.2), so that logits lie far apart and greedy tokens do not hang on the last bit.
    """
    fields: dict[str, Any] = {
        "vocab_size": VOCAB_SIZE,
        "hidden_size": 48,
        "intermediate_size": 72,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "initializer_range": 0.2,
        "bos_token_id": None,
        "eos_token_id": END_OF_TEXT_ID,
    }
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(model_type, **(fields | shape)))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:  # transformers makes every norm 1 and every bias 0
                parameter.add_(torch.randn_like(parameter), alpha=0.2)
    model.to(getattr(torch, dtype)).save_pretrained(path, max_shard_size=max_shard_size)
    save_byte_tokenizer(path)
    return path


def save_byte_tokenizer(path: Path) -> None:
    """One token a byte, nothing merged, and the end of text as token 256."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(BPE(vocab={symbol: index for index, symbol in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)  # pyright: ignore[reportAttributeAccessIssue]
    tokenizer.decoder = decoders.ByteLevel()  # pyright: ignore[reportAttributeAccessIssue]
    tokenizer.add_special_tokens([END_OF_TEXT])
    tokenizer.save(str(path / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": END_OF_TEXT,
        "bos_token": None,
        "add_bos_token": False,
        "clean_up_tokenization_spaces": False,
        "chat_template": CHAT_TEMPLATE,
    }
    (path / "tokenizer_config.json").write_text(json.dumps(settings, indent=2))
