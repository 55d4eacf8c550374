"""One request in the decode phase, as the model sees it. No torch."""

from __future__ import annotations

from dataclasses import dataclass

from engine.model.history import History
from engine.model.segment import Segment
from engine.request import SamplingParams


@dataclass(slots=True, eq=False)
class Lane:
    """`token_id` at `position` is fed next, and output number `output_index` drawn from it.

    While a step is in flight that draws for this lane, `token_id` is not yet what is fed next: the device knows it.
    `is_finished`: its last token was seen.
    """

    request_id: int
    token_id: int
    position: int
    output_index: int
    pages: list[int]
    sampling: SamplingParams
    history: History | None
    is_finished: bool = False

    def has_page(self, page_size: int) -> bool:
        return self.position < len(self.pages) * page_size

    @property
    def is_plain(self) -> bool:
        """True if the next token is the likeliest and nothing changes what is likely."""
        wanted = self.sampling
        may_not_stop = self.output_index < wanted.min_tokens and bool(wanted.stop_token_ids)
        return wanted.temperature == 0 and not (wanted.needs_history or wanted.logit_bias or may_not_stop)

    @property
    def needs_the_last_token(self) -> bool:
        """True if a draw has to be seen on the host before the next step may be launched."""
        return self.sampling.needs_history or self.sampling.logprobs is not None

    @property
    def segment(self) -> Segment:
        return Segment([self.token_id], self.position, self.pages, self.sampling, self.output_index, self.history)
