"""What the controller can be asked, and how it answers."""

from __future__ import annotations

from engine.wire.codec import Codec, Message


class AskStatus(Message, frozen=True):
    """Everything there is to know now."""


class AskRotation(Message, frozen=True):
    """Move to a split, replacing the processes even if it is in force where `new_group` says so."""

    prefill_percentage: int
    decode_percentage: int
    new_group: bool = False
    reason: str = ""


class AskDecisions(Message, frozen=True):
    """The policy's latest decisions, each with its sentence and what came of it."""

    limit: int = 100


class SetTarget(Message, frozen=True):
    """New SLO targets, in milliseconds; for the 95th percentile of both."""

    ttft_ms: float
    tpot_ms: float


class SetMode(Message, frozen=True):
    """`auto`: the policy moves the split; `hold`: it only says what it would do; `manual`: it keeps quiet."""

    mode: str


class Reply(Message, frozen=True):
    """`sentence` says what was done or why not; `data` is JSON."""

    done: bool
    sentence: str
    data: str = "{}"


Command = AskStatus | AskRotation | AskDecisions | SetTarget | SetMode

TO_CONTROLLER: Codec[Command] = Codec(Command)
FROM_CONTROLLER: Codec[Reply] = Codec(Reply)
