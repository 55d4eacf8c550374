"""The table of rotary embedding: cosines and sines of every position, computed once."""

from __future__ import annotations

import math

import torch

from engine.model.config import Llama3Scaling, ModelConfig


def cos_sin_table(config: ModelConfig, max_positions: int, device: torch.device) -> torch.Tensor:
    """float32 [max_positions, head_dim]: cosines in the first half, sines in the second."""
    frequencies = _frequencies(config).to(device)
    positions = torch.arange(max_positions, dtype=torch.float32, device=device)
    angles = torch.outer(positions, frequencies)
    return torch.cat((angles.cos(), angles.sin()), dim=-1)


def _frequencies(config: ModelConfig) -> torch.Tensor:
    """Radians a position, float32 [head_dim / 2]. In float32 throughout, as the models were trained."""
    exponents = torch.arange(0, config.head_dim, 2, dtype=torch.float32) / config.head_dim
    frequencies = 1.0 / (config.rope_theta**exponents)
    return _stretched(frequencies, config.rope_scaling) if config.rope_scaling else frequencies


def _stretched(frequencies: torch.Tensor, scaling: Llama3Scaling) -> torch.Tensor:
    """Llama 3.1's scaling: fast rotations stay, slow ones are divided by `factor`, those between are blended."""
    turns = scaling.original_max_position_embeddings * frequencies / (2 * math.pi)
    kept = (turns - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor)
    kept = kept.clamp(0.0, 1.0)
    return kept * frequencies + (1.0 - kept) * frequencies / scaling.factor
