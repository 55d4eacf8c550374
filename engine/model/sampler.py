"""Draws one token a row for the whole batch. A draw depends on (seed, index, logits) alone, never on the batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from engine.kernels.upload import upload
from engine.model.adjustment import adjusted
from engine.model.history import History
from engine.model.uniform import uniform
from engine.request import SamplingParams

_SCALE = 2.0**40
"""The likeliest token weighs 2⁴⁰ and all weights are whole numbers: their sums are exact, in whatever order a device
adds, and 2¹⁸ of them fit an int64. Tokens 2⁴⁰ times less likely than the likeliest are never drawn."""


class Sampler:
    """Adjustments, then greedy or temperature, min-p, top-k and top-p, in that order, as vLLM applies them."""

    def sample(
        self,
        logits: torch.Tensor,
        params: Sequence[SamplingParams],
        output_indices: Sequence[int],
        histories: Sequence[History | None] | None = None,
    ) -> torch.Tensor:
        """Token ids, int64 [B], for `logits` float32 [B, vocab]; row i is output number `output_indices[i]`.

        `histories` may be left out where no row's params need one. Does not wait for the device.
        """
        logits = adjusted(logits, params, output_indices, histories or [None] * len(params))
        greedy = logits.argmax(dim=-1)
        if all(row.temperature == 0 for row in params):
            return greedy
        temperature, top_k, top_p, min_p, drawn_at = upload(_columns(params, output_indices), logits.device)
        weights = _weights(logits, temperature)
        if any(row.min_p for row in params):
            weights *= weights >= (min_p * _SCALE)[:, None]
        for restricted, candidates in _restrictions(params, logits.shape[-1]):
            rows = upload(np.array(restricted), logits.device)
            weights[rows] = _restricted(weights[rows], top_k[rows], top_p[rows], candidates)
        return torch.where(temperature == 0, greedy, _inverse_cdf(weights, drawn_at))


def _columns(params: Sequence[SamplingParams], output_indices: Sequence[int]) -> np.ndarray:
    """float64 [5, B]: temperature, top_k, top_p, min_p and the uniform number of each row."""
    drawn_at = uniform([row.seed for row in params], output_indices)
    choices = [(row.temperature, row.top_k, row.top_p, row.min_p) for row in params]
    return np.vstack((np.array(choices, dtype=np.float64).reshape(-1, 4).T, drawn_at))


def _weights(logits: torch.Tensor, temperature: torch.Tensor) -> torch.Tensor:
    """Unnormalised probabilities, int64 [B, vocab]; greedy rows are computed at temperature 1 and not used."""
    divisor = torch.where(temperature == 0, 1.0, temperature)[:, None]
    distance = logits.double() - logits.amax(dim=-1, keepdim=True)
    return (torch.exp(distance / divisor) * _SCALE).long()


def _restrictions(params: Sequence[SamplingParams], vocab_size: int) -> Iterator[tuple[list[int], int]]:
    """Rows with top-k or top-p, and how many of their likeliest tokens have to be looked at to find what is left."""
    limited = [row for row, choice in enumerate(params) if choice.top_k]
    if limited:
        yield limited, min(max(params[row].top_k for row in limited), vocab_size)
    unlimited = [row for row, choice in enumerate(params) if not choice.top_k and choice.top_p < 1.0]
    if unlimited:
        yield unlimited, vocab_size


def _restricted(weights: torch.Tensor, top_k: torch.Tensor, top_p: torch.Tensor, candidates: int) -> torch.Tensor:
    """The weights with 0 for every token outside top-k, then outside top-p.

    Top-k keeps all that tie with the k-th. Top-p keeps the fewest of the likeliest that together reach p, and at least
    one; where tokens tie there, those with lower ids. `candidates` is the largest k, the whole vocabulary where a row
    has none.
    """
    best = weights.topk(candidates, dim=-1).values
    last = torch.where(top_k == 0, candidates, top_k).clamp(max=candidates).long() - 1
    weights = weights * (weights >= best.gather(1, last[:, None]))
    best = best * (best >= best.gather(1, last[:, None]))
    enough = (top_p[:, None] * weights.sum(dim=-1, keepdim=True)).clamp(min=1.0)
    kept = (best.cumsum(dim=-1) - best < enough) & (best > 0)
    least = best.gather(1, kept.sum(dim=-1, keepdim=True).clamp(min=1) - 1)
    likelier = (best * (best > least)).sum(dim=-1, keepdim=True)
    ties = weights == least
    earlier_ties = (ties.cumsum(dim=-1) - 1) * least
    return weights * ((weights > least) | (ties & (likelier + earlier_ties < enough)))


def _inverse_cdf(weights: torch.Tensor, drawn_at: torch.Tensor) -> torch.Tensor:
    """The first token at which the running sum of weights exceeds `drawn_at` times their total."""
    cumulative = weights.cumsum(dim=-1)
    total = cumulative[:, -1]
    target = torch.minimum((drawn_at * total).long(), total - 1)
    token_ids = torch.searchsorted(cumulative, target[:, None], right=True).squeeze(1)
    # Logits that are not numbers would lead past the vocabulary, and an index fault on a GPU ends more than this row.
    return token_ids.clamp(max=weights.shape[-1] - 1)
