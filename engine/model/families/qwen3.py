"""Qwen3, dense: Llama with q and k normalised."""

from __future__ import annotations

from engine.model.fields import Fields
from engine.model.traits import Traits


def traits(fields: Fields) -> Traits:
    fields.check_only("use_sliding_window", False)
    has_bias = fields.flag("attention_bias")
    return Traits(qkv_bias=has_bias, output_bias=has_bias, qk_norm=True)
