"""The log-probabilities that requests ask for, of the model's own logits. Waits for the device."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from engine.kernels.upload import upload
from engine.model.segment import Drawn
from engine.request import SamplingParams


def with_logprobs(token_ids: torch.Tensor, logits: torch.Tensor, params: Sequence[SamplingParams]) -> list[Drawn]:
    """The tokens drawn, int64 [B], from `logits` float32 [B, vocab], for each row with the log-probabilities it wants.

    Rows that want none cost nothing but their token.
    """
    asking = [row for row, choice in enumerate(params) if choice.logprobs is not None]
    if not asking:
        return [Drawn(token_id) for token_id in token_ids.tolist()]
    rows = upload(np.array(asking), logits.device)
    found = dict(zip(asking, _asked_for(token_ids[rows], logits[rows], [params[row] for row in asking]), strict=True))
    return [found.get(row) or Drawn(token_id) for row, token_id in enumerate(token_ids.tolist())]


def _asked_for(token_ids: torch.Tensor, logits: torch.Tensor, params: Sequence[SamplingParams]) -> Iterator[Drawn]:
    logprobs = logits.log_softmax(dim=-1)
    most = min(max(choice.logprobs or 0 for choice in params), logits.shape[-1])
    best = logprobs.topk(most, dim=-1)
    own = logprobs.gather(1, token_ids[:, None]).squeeze(1)
    columns = (token_ids.tolist(), own.tolist(), best.indices.tolist(), best.values.tolist())
    for choice, token_id, logprob, best_ids, best_values in zip(params, *columns, strict=True):
        yield Drawn(token_id, logprob, tuple(zip(best_ids, best_values, strict=True))[: choice.logprobs])
