"""What a model step must at least move and compute. Pure arithmetic over a model's shape."""

from __future__ import annotations

from typing import NamedTuple

from bench.results import Step
from engine.model.config import ModelConfig


class Work(NamedTuple):
    """Bytes to move and operations to do; a multiplication with its addition is two."""

    nbytes: float
    operations: float


def work_of(step: Step, config: ModelConfig, item_bytes: int) -> Work:
    """Weights are read once, K and V of all tokens seen are read once; activations are held to cost nothing."""
    kv_token_bytes = 2 * config.num_layers * config.num_kv_heads * config.head_dim * item_bytes
    weights_bytes = (layer_parameters(config) + head_parameters(config)) * item_bytes
    nbytes = weights_bytes + step.batch * step.context * kv_token_bytes
    return Work(
        nbytes, _decode_operations(step, config) if step.kind == "decode" else _prefill_operations(step, config)
    )


def _decode_operations(step: Step, config: ModelConfig) -> float:
    matrices = 2 * step.batch * (layer_parameters(config) + head_parameters(config))
    return matrices + 4 * step.batch * step.context * _query_width(config) * config.num_layers


def _prefill_operations(step: Step, config: ModelConfig) -> float:
    """Each token looks at itself and those before it, which is half of all pairs. Only the last has logits, so of the
    others the last layer needs K and V alone."""
    one_layer = layer_parameters(config) / config.num_layers
    keys_and_values = 2 * config.hidden_size * _kv_width(config)
    whole_layers = layer_parameters(config) - one_layer
    before_the_last = step.context * whole_layers + (step.context - 1) * keys_and_values
    matrices = 2 * (before_the_last + one_layer + head_parameters(config))
    pairs = step.context * (step.context + 1) / 2 * (config.num_layers - 1) + step.context
    return matrices + 4 * pairs * _query_width(config)


def layer_parameters(config: ModelConfig) -> int:
    """Elements of the matrices of all layers."""
    attention = config.hidden_size * (2 * _query_width(config) + 2 * _kv_width(config))
    return config.num_layers * (attention + 3 * config.hidden_size * config.intermediate_size)


def head_parameters(config: ModelConfig) -> int:
    return config.vocab_size * config.hidden_size


def _query_width(config: ModelConfig) -> int:
    return config.num_heads * config.head_dim


def _kv_width(config: ModelConfig) -> int:
    return config.num_kv_heads * config.head_dim
