"""What a gateway worker receives from the scheduler."""

from __future__ import annotations

from engine.wire.codec import Codec, Message
from engine.wire.to_scheduler import Token


class Accepted(Message, frozen=True):
    """Admission said yes: from here on the request is not lost."""

    request_id: int


class Refused(Message, frozen=True):
    """Admission said no. `code` is one of engine.errors' codes (`overloaded`, `context_length_exceeded`)."""

    request_id: int
    code: str
    message: str
    retry_after_seconds: int = 0


class Tokens(Message, frozen=True):
    """Everything one step produced for one gateway worker: one message a worker and step.

    A token index that the gateway already has is ignored; the last token of a request carries `finish`.
    """

    tokens: tuple[Token, ...]


class Failed(Message, frozen=True):
    """An accepted request cannot go on; `message` is one sentence for the client."""

    request_id: int
    message: str


TO_GATEWAY: Codec[Accepted | Refused | Tokens | Failed] = Codec(Accepted | Refused | Tokens | Failed)
