"""The families of models that are served: for each a file that reads its traits from config.json. No torch."""

from __future__ import annotations

from collections.abc import Callable

from engine.model.families import llama, mistral, qwen2, qwen3
from engine.model.fields import Fields
from engine.model.traits import Traits

FAMILIES: dict[str, Callable[[Fields], Traits]] = {
    "LlamaForCausalLM": llama.traits,
    "MistralForCausalLM": mistral.traits,
    "Qwen2ForCausalLM": qwen2.traits,
    "Qwen3ForCausalLM": qwen3.traits,
}
"""Architecture, as config.json names it, → what reads its traits, or raises `CannotStart` for what is not served."""
