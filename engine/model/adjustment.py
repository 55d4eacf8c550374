"""What requests change in the model's logits before a token is chosen: grammars, early stops, biases, penalties.

In the order in which vLLM does it, and only at the tokens in question. No row depends on another.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from engine.grammar.matcher import WORD_BITS
from engine.kernels.upload import upload
from engine.model.history import History
from engine.request import SamplingParams

Index = tuple[torch.Tensor, torch.Tensor]
"""Rows and token ids, int64 [n] each: the logits that are changed."""


def adjusted(
    logits: torch.Tensor,
    params: Sequence[SamplingParams],
    output_indices: Sequence[int],
    histories: Sequence[History | None],
) -> torch.Tensor:
    """`logits`, float32 [B, vocab], as `params` change them; the tensor that was given stays as it is.

    Rows whose params need a history have one in `histories`.
    """
    logits = _within_grammars(logits, histories)
    return _penalised(_biased(_without_early_stops(logits, params, output_indices), params), params, histories)


def _within_grammars(logits: torch.Tensor, histories: Sequence[History | None]) -> torch.Tensor:
    """−∞ for tokens that lead out of a row's grammar."""
    bound = [(row, history.matcher) for row, history in enumerate(histories) if history and history.matcher]
    if not bound:
        return logits
    rows = upload(np.array([row for row, _ in bound]), logits.device)
    words = upload(np.stack([matcher.allowed for _, matcher in bound]), logits.device)
    bits = words[:, :, None] >> torch.arange(WORD_BITS, dtype=torch.int32, device=logits.device) & 1
    forbidden = bits.flatten(start_dim=1)[:, : logits.shape[-1]] == 0
    return logits.index_put((rows,), logits[rows].masked_fill(forbidden, -torch.inf))


def _without_early_stops(
    logits: torch.Tensor, params: Sequence[SamplingParams], output_indices: Sequence[int]
) -> torch.Tensor:
    """−∞ for stop tokens in rows that have not reached `min_tokens`."""
    banned = [
        _entries(row, choice.stop_token_ids)
        for row, (choice, index) in enumerate(zip(params, output_indices, strict=True))
        if index < choice.min_tokens
    ]
    if not banned:
        return logits
    index, _ = _on_device(banned, logits)
    return logits.index_put(index, logits.new_tensor(-torch.inf))


def _biased(logits: torch.Tensor, params: Sequence[SamplingParams]) -> torch.Tensor:
    biased = [
        _entries(row, list(choice.logit_bias), list(choice.logit_bias.values()))
        for row, choice in enumerate(params)
        if choice.logit_bias
    ]
    if not biased:
        return logits
    index, (bias,) = _on_device(biased, logits)
    return logits.index_put(index, logits[index] + bias)


def _penalised(
    logits: torch.Tensor, params: Sequence[SamplingParams], histories: Sequence[History | None]
) -> torch.Tensor:
    """Repetition divides what is positive and multiplies what is not; frequency and presence are taken off after it."""
    penalised = [
        _penalties(row, choice, history)
        for row, (choice, history) in enumerate(zip(params, histories, strict=True))
        if choice.has_penalties
    ]
    if not penalised:
        return logits
    index, (repetition, deduction) = _on_device(penalised, logits)
    found = logits[index]
    return logits.index_put(index, torch.where(found > 0, found / repetition, found * repetition) - deduction)


def _penalties(row: int, choice: SamplingParams, history: History | None) -> NDArray[np.float64]:
    assert history is not None, "penalties need to know which tokens came before"
    deduction = choice.frequency_penalty * history.drawn + choice.presence_penalty * (history.drawn > 0)
    return _entries(row, history.token_ids, choice.repetition_penalty, deduction)


def _entries(row: int, token_ids: ArrayLike, *values: ArrayLike) -> NDArray[np.float64]:
    """[2 + values, n]: a row's number, the n token ids, what is to be done to each. A float64 holds any id exactly."""
    return np.array(np.broadcast_arrays(row, token_ids, *values), dtype=np.float64)


def _on_device(entries: Sequence[NDArray[np.float64]], logits: torch.Tensor) -> tuple[Index, torch.Tensor]:
    """All entries within the vocabulary: where they are, and their values, float32 [values, n]. One copy."""
    together = np.concatenate(entries, axis=1)
    inside = (together[1] >= 0) & (together[1] < logits.shape[-1])
    uploaded = upload(together[:, inside], logits.device)
    rows, token_ids = uploaded[:2].long()
    return (rows, token_ids), uploaded[2:].float()
