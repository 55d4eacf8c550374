"""Orders a worker receives from the scheduler. All carry (epoch, sequence); a worker ignores other epochs' orders."""

from __future__ import annotations

from engine.allocation import Phase, SMAllocation
from engine.request import SamplingParams
from engine.wire.codec import Codec, Message


class Assignment(Message, frozen=True):
    """What a spare worker becomes; its leader writes it, as one line of JSON, to the worker's standard input.

    `prepare`: splits it should be able to take in place later, the most likely first.
    """

    epoch: int
    slot: str
    phases: tuple[Phase, ...]
    prefill_percentage: int
    decode_percentage: int
    prepare: tuple[SMAllocation, ...] = ()


class PrefillChunk(Message, frozen=True):
    """A piece of one prompt, complete in itself, so that any prefill worker can compute it.

    `token_ids` stand at positions `start` … `start + len − 1`; `pages` is the request's page table from position 0 to
    at least their end. With `sampling` the chunk is the prompt's last, and output number `output_index` is drawn.
    Where the draw depends on it (`sampling.needs_history`), `history` is everything so far: the prompt's tokens, then
    `output_index` tokens of output, which a request has that is prefilled again. Otherwise it is empty.
    """

    request_id: int
    token_ids: list[int]
    start: int
    pages: list[int]
    sampling: SamplingParams | None = None
    output_index: int = 0
    history: list[int] = []


class PrefillOrder(Message, frozen=True):
    """One packed prefill step; answered by one `PrefillReport` with the same sequence."""

    epoch: int
    sequence: int
    chunks: tuple[PrefillChunk, ...]


class Join(Message, frozen=True):
    """A request starts decoding: `token_id`, not yet in the KV cache, stands at `position`; `output_index` comes next.

    `pages` is its page table from position 0; it covers at least `position`. `history` is as in `PrefillChunk`, and
    ends with `token_id`.
    """

    request_id: int
    token_id: int
    position: int
    output_index: int
    pages: list[int]
    sampling: SamplingParams
    history: list[int] = []


class Grant(Message, frozen=True):
    """Pages appended to a request's page table, ahead of need."""

    request_id: int
    pages: list[int]


class DecodeOrder(Message, frozen=True):
    """Changes to the running batch, applied in this order before the next step: leaves, joins, grants."""

    epoch: int
    sequence: int
    joins: tuple[Join, ...] = ()
    leaves: tuple[int, ...] = ()
    grants: tuple[Grant, ...] = ()


class TakeShare(Message, frozen=True):
    """Compute in another part of the device from the next step on: one that was prepared. Answered by `ShareTaken`.

    The shares of `prepare` are prepared when there is nothing else to do, the most likely first.
    """

    epoch: int
    sequence: int
    percentage: int
    prepare: tuple[int, ...] = ()


class Drain(Message, frozen=True):
    """Finish the step in flight, synchronise, answer `Drained`, exit."""

    epoch: int


TO_WORKER: Codec[PrefillOrder | DecodeOrder | TakeShare | Drain] = Codec(PrefillOrder | DecodeOrder | TakeShare | Drain)
