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


class Reply(Message, frozen=True):
    """`sentence` says what was done or why not; `data` is JSON."""

    done: bool
    sentence: str
    data: str = "{}"


Command = AskStatus | AskRotation

TO_CONTROLLER: Codec[Command] = Codec(Command)
FROM_CONTROLLER: Codec[Reply] = Codec(Reply)
