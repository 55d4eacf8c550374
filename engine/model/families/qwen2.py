"""Qwen2 and Qwen2.5: Llama with a bias on q, k and v."""

from __future__ import annotations

from engine.model.fields import Fields
from engine.model.traits import Traits


def traits(fields: Fields) -> Traits:
    fields.check_only("use_sliding_window", False)
    return Traits(qkv_bias=True)
