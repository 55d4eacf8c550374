"""Draws one token a row for the whole batch. A draw depends on (seed, index, logits) alone, never on the batch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from engine.kernels.upload import upload
from engine.model.uniform import uniform
from engine.request import SamplingParams

_SCALE = 2.0**40
"""The likeliest token weighs 2⁴⁰ and all weights are whole numbers: their sums are exact, in whatever order a device
adds, and 2¹⁸ of them fit an int64. Tokens 2⁴⁰ times less likely than the likeliest are never drawn."""


class Sampler:
    """Greedy, temperature, top-k and top-p, in that order, as vLLM applies them."""

    def sample(
        self, logits: torch.Tensor, params: Sequence[SamplingParams], output_indices: Sequence[int]
    ) -> torch.Tensor:
        """Token ids, int64 [B], for `logits` float32 [B, vocab]; row i is output number `output_indices[i]`.

        Does not wait for the device.
        """
        logits = _without_early_stops(logits, params, output_indices)
        greedy = logits.argmax(dim=-1)
        if all(row.temperature == 0 for row in params):
            return greedy
        temperature, top_k, top_p, drawn_at = upload(_columns(params, output_indices), logits.device)
        weights = _weights(logits, temperature)
        restricted = [row for row, choice in enumerate(params) if choice.top_k or choice.top_p < 1.0]
        if restricted:
            rows = upload(np.array(restricted), logits.device)
            weights[rows] = _restricted(weights[rows], top_k[rows], top_p[rows])
        return torch.where(temperature == 0, greedy, _inverse_cdf(weights, drawn_at))


def _columns(params: Sequence[SamplingParams], output_indices: Sequence[int]) -> np.ndarray:
    """float64 [4, B]: temperature, top_k, top_p and the uniform number of each row."""
    drawn_at = uniform([row.seed for row in params], output_indices)
    return np.array(
        [[row.temperature for row in params], [row.top_k for row in params], [row.top_p for row in params], drawn_at]
    )


def _without_early_stops(
    logits: torch.Tensor, params: Sequence[SamplingParams], output_indices: Sequence[int]
) -> torch.Tensor:
    """The logits, with −∞ for stop tokens in rows that have not reached `min_tokens`."""
    vocab_size = logits.shape[-1]
    banned = [
        (row, token_id)
        for row, (choice, index) in enumerate(zip(params, output_indices, strict=True))
        if index < choice.min_tokens
        for token_id in choice.stop_token_ids
        if token_id < vocab_size
    ]
    if not banned:
        return logits
    rows, token_ids = upload(np.array(banned).T.copy(), logits.device)
    return logits.index_put((rows, token_ids), logits.new_tensor(-torch.inf))


def _weights(logits: torch.Tensor, temperature: torch.Tensor) -> torch.Tensor:
    """Unnormalised probabilities, int64 [B, vocab]; greedy rows are computed at temperature 1 and not used."""
    divisor = torch.where(temperature == 0, 1.0, temperature)[:, None]
    distance = logits.double() - logits.amax(dim=-1, keepdim=True)
    return (torch.exp(distance / divisor) * _SCALE).long()


def _restricted(weights: torch.Tensor, top_k: torch.Tensor, top_p: torch.Tensor) -> torch.Tensor:
    """The weights with 0 for every token outside top-k, then outside top-p.

    Top-k keeps all that tie with the k-th. Top-p keeps the fewest of the likeliest that together reach p, and at least
    one; where tokens tie there, those with lower ids.
    """
    descending, order = weights.sort(dim=-1, descending=True, stable=True)
    last = torch.where(top_k == 0, weights.shape[-1], top_k).clamp(max=weights.shape[-1]).long() - 1
    descending = descending * (descending >= descending.gather(1, last[:, None]))
    likelier = descending.cumsum(dim=-1) - descending
    kept = likelier < top_p[:, None] * descending.sum(dim=-1, keepdim=True)
    kept[:, 0] = True
    return torch.zeros_like(weights).scatter_(1, order, descending * kept)


def _inverse_cdf(weights: torch.Tensor, drawn_at: torch.Tensor) -> torch.Tensor:
    """The first token at which the running sum of weights exceeds `drawn_at` times their total."""
    cumulative = weights.cumsum(dim=-1)
    total = cumulative[:, -1]
    target = torch.minimum((drawn_at * total).long(), total - 1)
    token_ids = torch.searchsorted(cumulative, target[:, None], right=True).squeeze(1)
    # Logits that are not numbers would lead past the vocabulary, and an index fault on a GPU ends more than this row.
    return token_ids.clamp(max=weights.shape[-1] - 1)
