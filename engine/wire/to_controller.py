"""What the controller receives: answers and events from the scheduler and from the leaders."""

from __future__ import annotations

from engine.wire.codec import Codec, Message

# ── from the scheduler ──────────────────────────────────────────────────────────────────────────────────────────────


class Activated(Message, frozen=True):
    """The group of `epoch` receives all orders now; `problem` says in a sentence why not, empty if it does."""

    epoch: int
    problem: str = ""


class GroupReady(Message, frozen=True):
    """All workers of a group have reported ready."""

    epoch: int


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
    """One worker as the scheduler sees it."""

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


class Status(Message, frozen=True):
    """A snapshot of the scheduler: counts of requests and pages."""

    ready: bool
    waiting: int
    prefilling: int
    decoding: int
    total_pages: int
    free_pages: int
    preemptions: int
    workers: tuple[WorkerStatus, ...]


class RequestProgress(Message, frozen=True):
    """A request as far as it has come. Times are those of `time.monotonic()`."""

    request_id: int
    arrived_at: float
    prompt_tokens: int
    first_token_at: float | None
    last_token_at: float | None
    output_tokens: int
    is_finished: bool


class LoadReport(Message, frozen=True):
    """All live requests and those that ended since the last report; what workers computed since the scheduler began.

    Seconds are those of steps, rests left out.
    """

    requests: tuple[RequestProgress, ...]
    cancelled: tuple[int, ...]
    prefill_tokens: int
    prefill_seconds: float
    decode_tokens: int
    decode_steps: int
    decode_seconds: float


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


FROM_SCHEDULER: Codec[Activated | GroupReady | GroupIdle | GroupLost | Status | LoadReport] = Codec(
    Activated | GroupReady | GroupIdle | GroupLost | Status | LoadReport
)
FROM_LEADER: Codec[GroupStarted | GroupLost | GroupGone | SparesReady] = Codec(
    GroupStarted | GroupLost | GroupGone | SparesReady
)
