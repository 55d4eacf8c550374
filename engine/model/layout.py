"""Which weights a model keeps in memory, from which checkpoint tensors each is made, and where each lies. No torch."""

from __future__ import annotations

import math
from typing import NamedTuple

from engine.model.config import ModelConfig
from engine.resident.manifest import ITEM_BYTES, TensorSpec

ALIGNMENT = 256
"""Bytes. CUDA aligns allocations so; kernels with vector loads may count on it for each weight."""


class Part(NamedTuple):
    """A checkpoint tensor and how many rows of the weight (dimension 0) it fills."""

    name: str
    rows: int


class Weight(NamedTuple):
    """One tensor in memory: its parts stand one behind the other along dimension 0."""

    shape: tuple[int, ...]
    parts: tuple[Part, ...]


Layout = dict[str, Weight]


class Packed(NamedTuple):
    """Where each weight lies, and how many bytes all of them need."""

    specs: dict[str, TensorSpec]
    nbytes: int


def layout_of(config: ModelConfig) -> Layout:
    """The weights of a model, in the order they are used.

    q, k and v become one matrix, as do gate and up: one large matrix product is faster than several small ones.
    """
    hidden = config.hidden_size
    layout = {"embed": _matrix(hidden, Part("model.embed_tokens.weight", config.vocab_size))}
    for index in range(config.num_layers):
        layout |= _layer(config, f"layers.{index}.", f"model.layers.{index}.")
    layout["norm"] = _vector(Part("model.norm.weight", hidden))
    if not config.tie_word_embeddings:
        layout["lm_head"] = _matrix(hidden, Part("lm_head.weight", config.vocab_size))
    return layout


def pack(layout: Layout, dtype: str) -> Packed:
    """Lay the weights one behind the other, each aligned."""
    specs: dict[str, TensorSpec] = {}
    end = 0
    for name, weight in layout.items():
        specs[name] = TensorSpec(offset=end, shape=weight.shape)
        nbytes = math.prod(weight.shape) * ITEM_BYTES[dtype]
        end += math.ceil(nbytes / ALIGNMENT) * ALIGNMENT
    return Packed(specs, end)


def _layer(config: ModelConfig, to: str, of: str) -> Layout:
    return _attention(config, to, of) | _mlp(config, to, of)


def _attention(config: ModelConfig, to: str, of: str) -> Layout:
    hidden = config.hidden_size
    q_rows, kv_rows = config.num_heads * config.head_dim, config.num_kv_heads * config.head_dim
    rows = {f"{of}self_attn.q_proj": q_rows, f"{of}self_attn.k_proj": kv_rows, f"{of}self_attn.v_proj": kv_rows}
    layout = {
        f"{to}input_norm": _vector(Part(f"{of}input_layernorm.weight", hidden)),
        f"{to}qkv": _matrix(hidden, *(Part(f"{name}.weight", count) for name, count in rows.items())),
    }
    if config.traits.qkv_bias:
        layout[f"{to}qkv_bias"] = _vector(*(Part(f"{name}.bias", count) for name, count in rows.items()))
    if config.traits.qk_norm:
        layout[f"{to}q_norm"] = _vector(Part(f"{of}self_attn.q_norm.weight", config.head_dim))
        layout[f"{to}k_norm"] = _vector(Part(f"{of}self_attn.k_norm.weight", config.head_dim))
    layout[f"{to}attention_out"] = _matrix(q_rows, Part(f"{of}self_attn.o_proj.weight", hidden))
    if config.traits.output_bias:
        layout[f"{to}attention_out_bias"] = _vector(Part(f"{of}self_attn.o_proj.bias", hidden))
    return layout


def _mlp(config: ModelConfig, to: str, of: str) -> Layout:
    hidden, inner = config.hidden_size, config.intermediate_size
    return {
        f"{to}mlp_norm": _vector(Part(f"{of}post_attention_layernorm.weight", hidden)),
        f"{to}gate_up": _matrix(
            hidden, Part(f"{of}mlp.gate_proj.weight", inner), Part(f"{of}mlp.up_proj.weight", inner)
        ),
        f"{to}down": _matrix(inner, Part(f"{of}mlp.down_proj.weight", hidden)),
    }


def _matrix(columns: int, *parts: Part) -> Weight:
    return Weight((sum(part.rows for part in parts), columns), parts)


def _vector(*parts: Part) -> Weight:
    return Weight((sum(part.rows for part in parts),), parts)
