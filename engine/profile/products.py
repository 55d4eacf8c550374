"""Which matrix products of a model are tested in each share. Plain numbers, no torch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from engine.allocation import Phase
from engine.config import ServerArgs
from engine.model.config import ModelConfig
from engine.profile.conditions import Conditions

LAYER = "layers.0."
"""The layers' shapes are alike: one stands for all."""
MATRICES = ("qkv", "attention_out", "gate_up", "down")
HEAD_ROWS_IN_PREFILL = (1, 4)
"""Only the last token of a prompt has logits."""


class Product(NamedTuple):
    """x · weightᵀ with x [rows, columns] and weight [outputs, columns]; `weight` and `bias` are names of weights."""

    weight: str
    bias: str | None
    rows: int

    @property
    def is_gated(self) -> bool:
        """True for gate and up in one, of which the model makes silu(gate) · up."""
        return self.name == "gate_up"

    @property
    def name(self) -> str:
        return self.weight.removeprefix(LAYER)


def products_of(phase: Phase, config: ModelConfig, conditions: Conditions, settings: ServerArgs) -> list[Product]:
    """Those a phase computes: decode for 1, 2, 4 … lanes, prefill for a chunk and for the fullest step."""
    assert settings.prefill_token_budget and settings.max_running_requests, "settings are resolved for a device"
    if phase is Phase.DECODE:
        rows = list(powers_of_two(settings.max_running_requests))
        head_rows = rows
    else:
        rows = sorted({conditions.chunk_tokens, settings.prefill_token_budget})
        head_rows = list(HEAD_ROWS_IN_PREFILL)
    biases = {"qkv": config.traits.qkv_bias, "attention_out": config.traits.output_bias}
    layer = [
        Product(LAYER + name, f"{LAYER}{name}_bias" if biases.get(name) else None, count)
        for name in MATRICES
        for count in rows
    ]
    head = "embed" if config.tie_word_embeddings else "lm_head"
    return layer + [Product(head, None, count) for count in head_rows]


def powers_of_two(most: int) -> Iterator[int]:
    """1, 2, 4 … and `most` itself."""
    rows = 1
    while rows < most:
        yield rows
        rows *= 2
    yield most
