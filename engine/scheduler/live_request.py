"""A request between admission and its last token, as the scheduler sees it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from engine.request import Request, RequestState
from engine.scheduler.groups import Worker


class Exit(StrEnum):
    """Why a request gives its pages back as soon as no step in flight touches them."""

    FINISHED = "finished"
    CANCELLED = "cancelled"
    PREEMPTED = "preempted"


@dataclass(slots=True, eq=False)
class LiveRequest:
    """`age` counts admissions: the smaller, the older. `output_ids` begins with what the client had at admission;
    `token_ids` is the prompt and the output so far, what a prefill computes, also after a preemption.

    `behind`: how many of the latest output tokens the workers are to draw again, where a request that was interrupted
    goes the same way once more: prompt by prefill, output by decode, so that every bit is the same. Elsewhere always 0.

    `ordered` tokens of `token_ids` have been sent to `prefiller`, in chunks of which `in_flight` are unreported.
    `lane` is the worker that decodes it, or will when it reads its orders; `is_leaving` until that worker lets go.
    """

    request: Request
    gateway: bytes
    age: int
    output_ids: list[int] = field(default_factory=list)
    behind: int = 0
    state: RequestState = RequestState.WAITING
    exit: Exit | None = None
    ordered: int = 0
    in_flight: int = 0
    prefiller: Worker | None = None
    lane: Worker | None = None
    is_leaving: bool = False
    prefill_started_at: float | None = None
    first_token_at: float | None = None
    last_token_at: float | None = None
    token_ids: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self.token_ids = self.request.prompt_ids + self.output_ids

    def append(self, token_id: int) -> None:
        """One more output token."""
        self.output_ids.append(token_id)
        self.token_ids.append(token_id)

    @property
    def id(self) -> int:
        return self.request.request_id

    @property
    def salt(self) -> str:
        """Requests share pages only with those of the same API key."""
        return self.request.key_id

    @property
    def length(self) -> int:
        """Tokens of the prompt and of what the workers have drawn."""
        return len(self.token_ids) - self.behind

    @property
    def output_count(self) -> int:
        """Tokens the workers have drawn: the index of the one that comes next."""
        return len(self.output_ids) - self.behind

    @property
    def known_ids(self) -> list[int]:
        """`token_ids` as far as the workers have come."""
        return self.token_ids[: self.length] if self.behind else self.token_ids

    @property
    def seconds_a_token(self) -> float | None:
        """The mean time between the tokens that went out from here; None before the second."""
        steps = len(self.output_ids) - len(self.request.emitted_ids) - 1
        if steps < 1 or self.first_token_at is None or self.last_token_at is None:
            return None
        return (self.last_token_at - self.first_token_at) / steps

    @property
    def written_length(self) -> int:
        """Tokens whose K and V will be written if it runs to its limit: the last output is never fed back."""
        return len(self.request.prompt_ids) + self.request.sampling.max_tokens - 1

    @property
    def is_running(self) -> bool:
        return self.state in (RequestState.PREFILLING, RequestState.DECODING)

    def restart(self, draws_again: bool) -> None:
        """Back to WAITING with everything the client has seen; prompt and output will be computed again.

        The output is prefilled with the prompt, or with `draws_again` drawn once more.
        """
        self.behind = len(self.output_ids) if draws_again else 0
        self.state = RequestState.WAITING
        self.exit = None
        self.ordered = self.in_flight = 0
        self.prefiller = None
