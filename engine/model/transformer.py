"""The transformer that all families are, over mapped weights: a function of tokens and the KV cache."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Self

import torch
from torch.nn.functional import embedding, linear

from engine.kernels.kernels import Kernels
from engine.model.config import ModelConfig
from engine.model.rope import cos_sin_table


class Layer(NamedTuple):
    """One layer's weights, None for those that the model's traits do without. Fields have the names of the layout."""

    input_norm: torch.Tensor
    qkv: torch.Tensor
    attention_out: torch.Tensor
    mlp_norm: torch.Tensor
    gate_up: torch.Tensor
    down: torch.Tensor
    qkv_bias: torch.Tensor | None = None
    q_norm: torch.Tensor | None = None
    k_norm: torch.Tensor | None = None
    attention_out_bias: torch.Tensor | None = None


class Transformer:
    """Holds views of the weights and the rotary table; owns nothing else."""

    def __init__(self, config: ModelConfig, weights: Mapping[str, torch.Tensor], kernels: Kernels, max_positions: int):
        self._config = config
        self._kernels = kernels
        self._embed = weights["embed"]
        self._norm = weights["norm"]
        self._lm_head = weights.get("lm_head", self._embed)
        self._layers = [
            Layer(**{name: weights[of] for name in Layer._fields if (of := f"layers.{index}.{name}") in weights})
            for index in range(config.num_layers)
        ]
        self.max_positions = max_positions
        self._cos_sin = cos_sin_table(config, max_positions, self._embed.device)

    def of_part(self, sm_count: int | None) -> Self:
        """The same model to compute on so many SMs, None for the whole device. Only one is to be used at a time."""
        other = copy.copy(self)
        other._kernels = self._kernels.of_part(sm_count)
        return other

    def forward(
        self,
        token_ids: torch.Tensor,
        plan: Any,
        kv_layers: Sequence[torch.Tensor],
        last_rows: torch.Tensor,
    ) -> torch.Tensor:
        """Logits, float32 [B, vocab], of the B rows named in `last_rows`, int64. The rest is as for `hidden`."""
        return linear(self.hidden(token_ids, plan, kv_layers, last_rows), self._lm_head).float()

    def hidden(
        self, token_ids: torch.Tensor, plan: Any, kv_layers: Sequence[torch.Tensor], rows: torch.Tensor | None = None
    ) -> torch.Tensor:
        """What the logits are made from, [T, hidden], or [B, hidden] of the B `rows` (int64) alone.

        `token_ids` are integers [T]; `plan` is what the kernels planned for these tokens, their positions with it.
        Their K and V are written to `kv_layers`.
        """
        eps = self._config.rms_norm_eps
        residual = embedding(token_ids, self._embed)
        x = self._kernels.rms_norm(residual, self._layers[0].input_norm, eps)
        next_norms = [layer.input_norm for layer in self._layers[1:]] + [self._norm]
        for layer, kv, next_norm in zip(self._layers, kv_layers, next_norms, strict=True):
            x = self._attended(layer, x, plan, kv)
            if rows is not None and layer is self._layers[-1]:
                x, residual = x[rows], residual[rows]  # of a prompt's other tokens nothing more is needed than K and V
                if not len(rows):
                    return residual
            x = self._kernels.linear(x, layer.attention_out, layer.attention_out_bias)
            x, residual = self._kernels.add_rms_norm(x, residual, layer.mlp_norm, eps)
            x = self._mlp(layer, x)
            x, residual = self._kernels.add_rms_norm(x, residual, next_norm, eps)
        return x

    def empty_logits(self, rows: int) -> torch.Tensor:
        """Room for `write_logits`: [rows, vocab], in the weights' own element type."""
        return self._lm_head.new_empty((rows, len(self._lm_head)))

    def write_logits(self, hidden: torch.Tensor, out: torch.Tensor) -> None:
        """The logits of every row of `hidden`, not widened to float32."""
        self._kernels.linear(hidden, self._lm_head, None, out)

    def _attended(self, layer: Layer, x: torch.Tensor, plan: Any, kv: torch.Tensor) -> torch.Tensor:
        """[T, heads · head_dim]; K and V of `x` are written to `kv`."""
        heads, kv_heads = self._config.num_heads, self._config.num_kv_heads
        qkv = self._kernels.linear(x, layer.qkv, layer.qkv_bias).unflatten(
            -1, (heads + 2 * kv_heads, self._config.head_dim)
        )
        q, k, v = qkv.split((heads, kv_heads, kv_heads), dim=1)
        if layer.q_norm is not None and layer.k_norm is not None:
            q = self._kernels.rms_norm(q, layer.q_norm, self._config.rms_norm_eps)
            k = self._kernels.rms_norm(k, layer.k_norm, self._config.rms_norm_eps)
        return self._kernels.rotate_and_attend(plan, kv, q, k, v, self._cos_sin).flatten(1)

    def _mlp(self, layer: Layer, x: torch.Tensor) -> torch.Tensor:
        return self._kernels.linear(self._kernels.gated(x, layer.gate_up), layer.down, None)
