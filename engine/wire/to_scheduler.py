"""What the scheduler receives: from gateways on one socket, from workers on another, from the controller on a third."""

from __future__ import annotations

from engine.allocation import Phase, SMAllocation
from engine.request import FinishReason, Request
from engine.wire.codec import Codec, Message

# ── from gateway workers ────────────────────────────────────────────────────────────────────────────────────────────


class GatewayHello(Message, frozen=True):
    """First message of a gateway worker. When the process `pid` ends, its requests are cancelled."""

    pid: int


class Submit(Message, frozen=True):
    """A request to admit; answered by `Accepted` or `Refused`."""

    request: Request


class Resume(Message, frozen=True):
    """A request that was accepted already, handed in again after a connection ended; `emitted_ids` are in it.

    It is not refused, whatever waits. One that the scheduler still knows goes on, with what was lost on the way.
    """

    request: Request


class Cancel(Message, frozen=True):
    """The client left or the gateway saw a stop string: no more tokens are wanted. Unknown ids are ignored."""

    request_id: int


# ── from workers ────────────────────────────────────────────────────────────────────────────────────────────────────


class WorkerReady(Message, frozen=True):
    """A worker has mapped the memory, taken its partition and warmed up; it waits for orders.

    `sm_count` is what the worker holds in force, 0 where the machine has no SMs. `splitter` names what enforces it.
    `prepared`: the shares it can take in place, None where it can take any. `used_bytes`: of the device's memory.
    """

    epoch: int
    slot: str
    phases: tuple[Phase, ...]
    pid: int
    splitter: str
    share_percentage: int
    sm_count: int
    prepared: tuple[int, ...] | None = ()
    used_bytes: int = 0


class SharesPrepared(Message, frozen=True):
    """A worker has prepared more: `shares` are all it can take in place now, in percent."""

    epoch: int
    shares: tuple[int, ...]


class ShareTaken(Message, frozen=True):
    """Nothing the worker had launched is in flight any more, and its next step runs in the part it was told to take."""

    epoch: int
    sequence: int
    percentage: int
    sm_count: int


class Token(Message, frozen=True):
    """Output number `index` (from 0) of a request. Idempotent by (request_id, index).

    Of a request's first token the scheduler tells how long it waited and how long its prompt took.

    Where the request asked for them: `logprob` is the token's log-probability, `top_logprobs` the likeliest tokens'
    (id, log-probability), best first, the token itself among them only if it is one of the likeliest.
    """

    request_id: int
    index: int
    token_id: int
    finish: FinishReason | None = None
    logprob: float | None = None
    top_logprobs: tuple[tuple[int, float], ...] = ()
    queue_seconds: float | None = None
    prefill_seconds: float | None = None


class PrefillReport(Message, frozen=True):
    """One prefill order is done: its K and V are written and visible, which commits them.

    `tokens` holds the first token of every request whose last chunk this was. `seconds` is the wall time of the steps
    it took, `token_count` the prompt tokens they computed; for `borrowed_seconds` of it they had the whole device.
    `steps`: how many that were.
    """

    epoch: int
    sequence: int
    tokens: tuple[Token, ...]
    seconds: float
    token_count: int
    borrowed_seconds: float = 0.0
    steps: int = 1


class DecodeReport(Message, frozen=True):
    """One decode step is done.

    `step` counts from 1 in each epoch; `sequence` is the last order applied before the step. `left` names requests
    that finished or were told to leave and that no step in flight touches any more: their pages may be used again.
    Requests without a page for their next token skip the step and are in neither. `borrowed_seconds`: as for prefill.
    """

    epoch: int
    step: int
    sequence: int
    tokens: tuple[Token, ...]
    left: tuple[int, ...]
    seconds: float
    borrowed_seconds: float = 0.0


class Drained(Message, frozen=True):
    """The worker has finished its last step, synchronised, and exits now. Nothing follows in this epoch."""

    epoch: int


# ── from the controller ─────────────────────────────────────────────────────────────────────────────────────────────


class Watch(Message, frozen=True):
    """Send `GroupReady`, `GroupIdle` and `GroupLost` to this peer from now on, first for groups that are ready now."""


class Activate(Message, frozen=True):
    """Let the group of `epoch` receive all orders from now on; its workers must be ready. Answered by `Activated`."""

    epoch: int


class ChangeSplit(Message, frozen=True):
    """Let the group of `epoch` take a split in place, who shrinks first; answered by one `SplitChanged`.

    `sequence` counts these orders, and the answer repeats it. From that split, those of `prepare` are to be prepared
    next.
    """

    epoch: int
    sequence: int
    split: SMAllocation
    prepare: tuple[SMAllocation, ...] = ()


class Retire(Message, frozen=True):
    """Drain the workers of `epoch`; at shutdown (`epoch` 0) of all."""

    epoch: int


class AskStatus(Message, frozen=True):
    """Answered by `Status`."""


class FreeCachedPages(Message, frozen=True):
    """Forget every page that no request holds, so that it is free at once. Answered by `CachedPagesFreed`."""


class Aim(Message, frozen=True):
    """First tokens are to come within so many seconds of their requests, from now on, and the others so many seconds
    apart; 0 for no target."""

    ttft_target_seconds: float
    tpot_target_seconds: float = 0.0


class AskLoad(Message, frozen=True):
    """Answered by `LoadReport`; one peer asks, since what has ended is reported once."""


FROM_GATEWAY: Codec[GatewayHello | Submit | Resume | Cancel] = Codec(GatewayHello | Submit | Resume | Cancel)
FROM_WORKER: Codec[WorkerReady | SharesPrepared | ShareTaken | PrefillReport | DecodeReport | Drained] = Codec(
    WorkerReady | SharesPrepared | ShareTaken | PrefillReport | DecodeReport | Drained
)
FROM_CONTROLLER: Codec[Watch | Activate | ChangeSplit | Retire | Aim | AskStatus | AskLoad | FreeCachedPages] = Codec(
    Watch | Activate | ChangeSplit | Retire | Aim | AskStatus | AskLoad | FreeCachedPages
)
