"""Llama 2 and 3.x, and what is built like them."""

from __future__ import annotations

from engine.model.fields import Fields
from engine.model.traits import Traits


def traits(fields: Fields) -> Traits:
    has_bias = fields.flag("attention_bias")
    return Traits(qkv_bias=has_bias, output_bias=has_bias)
