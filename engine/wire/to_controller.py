"""What the controller receives: answers and events from the scheduler and from the leaders."""

from __future__ import annotations

import msgspec

from engine.wire.codec import Codec, Message

# ── from the scheduler ──────────────────────────────────────────────────────────────────────────────────────────────


class Activated(Message, frozen=True):
    """The group of `epoch` receives all orders now; `problem` says in a sentence why not, empty if it does."""

    epoch: int
    problem: str = ""


class SplitChanged(Message, frozen=True):
    """The group of `epoch` computes at the split it was told to take, unless `problem` says why not.

    `sequence` is that of the order. A problem that arose on the way may leave one phase changed.
    """

    epoch: int
    sequence: int
    problem: str = ""


class GroupReady(Message, frozen=True):
    """All workers of a group have reported ready. `used_bytes`: of the device's memory, by all of them."""

    epoch: int
    used_bytes: int = 0


class GroupIdle(Message, frozen=True):
    """The group served and serves no more; everything it computed has moved on. It can be retired."""

    epoch: int


class GroupLost(Message, frozen=True):
    """A worker of the group ended without having drained; `problem` says which. Its requests wait for another group.

    Leaders say it too, also of workers that the scheduler has never heard of.
    """

    epoch: int
    problem: str


class WorkerStatus(Message, frozen=True):
    """One worker as the scheduler sees it.

    For `borrowed_seconds` of `busy_seconds` it had the whole device. `prepared`: the shares it can take in place, None
    where it can take any.
    """

    epoch: int
    slot: str
    phases: tuple[str, ...]
    pid: int
    splitter: str
    share_percentage: int
    sm_count: int
    is_active: bool
    steps: int
    busy_seconds: float
    borrowed_seconds: float = 0.0
    prepared: tuple[int, ...] | None = ()
    used_bytes: int = 0


class Status(Message, frozen=True):
    """A snapshot of the scheduler: counts of requests and pages.

    `cached_pages` are those of `free_pages` that the prefix tree still knows.
    """

    ready: bool
    waiting: int
    prefilling: int
    decoding: int
    total_pages: int
    free_pages: int
    preemptions: int
    workers: tuple[WorkerStatus, ...]
    cached_pages: int = 0


class CachedPagesFreed(Message, frozen=True):
    """How many pages no request held and the prefix tree knew; they are free now."""

    pages: int


class RequestProgress(Message, frozen=True):
    """A request as far as it has come. Times are those of `time.monotonic()`."""

    request_id: int
    arrived_at: float
    prompt_tokens: int
    first_token_at: float | None
    last_token_at: float | None
    output_tokens: int
    is_finished: bool


class HandOver(msgspec.Struct, frozen=True, array_like=True):
    """Decode has gone over to the group of `epoch`, or by change number `change` this group to another split in place.

    How many `streams` saw it, and the pauses they saw, as `engine.scheduler.hand_over` defines them; None where no
    stream was under way. Never sent by itself: a controller of the release before knows no such message.
    """

    epoch: int
    change: int = 0
    streams: int = 0
    median_ms: float | None = None
    longest_ms: float | None = None


class LoadReport(Message, frozen=True):
    """All live requests and those that ended since the last report; what workers computed since the scheduler began.

    Seconds are those of steps, rests left out; borrowed ones, in which the phase had the whole device, are among them.
    `hand_overs` are those that all streams have got over since the last report.
    """

    requests: tuple[RequestProgress, ...]
    cancelled: tuple[int, ...]
    prefill_tokens: int
    prefill_seconds: float
    decode_tokens: int
    decode_steps: int
    decode_seconds: float
    prefill_borrowed_seconds: float = 0.0
    decode_borrowed_seconds: float = 0.0
    prefill_steps: int = 0
    hand_overs: tuple[HandOver, ...] = ()


# ── from leaders ────────────────────────────────────────────────────────────────────────────────────────────────────


class GroupStarted(Message, frozen=True):
    """The processes of a group have been handed their assignment."""

    slot: str
    epoch: int
    pids: tuple[int, ...]


class GroupGone(Message, frozen=True):
    """All processes of a group have ended; `problem` is empty if every one drained and exited cleanly."""

    slot: str
    epoch: int
    problem: str = ""


class SparesReady(Message, frozen=True):
    """`pids` are imported and waiting."""

    slot: str
    pids: tuple[int, ...]


class FormedGroup(Message, frozen=True):
    """A group with processes; the shares are those it was formed with."""

    epoch: int
    prefill_percentage: int
    decode_percentage: int
    pids: tuple[int, ...]


class Groups(Message, frozen=True):
    """Everything the leader `leader_pid` of a slot has, for a controller that has just come."""

    slot: str
    leader_pid: int
    latest_epoch: int
    groups: tuple[FormedGroup, ...]


FromScheduler = Activated | SplitChanged | GroupReady | GroupIdle | GroupLost | Status | LoadReport | CachedPagesFreed
FROM_SCHEDULER: Codec[FromScheduler] = Codec(FromScheduler)
FROM_LEADER: Codec[GroupStarted | GroupLost | GroupGone | SparesReady | Groups] = Codec(
    GroupStarted | GroupLost | GroupGone | SparesReady | Groups
)
