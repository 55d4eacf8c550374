"""What the scheduler has decided to send. Tokens of one round go out as one message a gateway worker."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from engine.wire.codec import Message
from engine.wire.to_gateway import Tokens
from engine.wire.to_scheduler import Token


class Channel(StrEnum):
    """The three kinds of peers."""

    GATEWAY = "gateway"
    WORKER = "worker"
    CONTROLLER = "controller"


class Letter(NamedTuple):
    channel: Channel
    peer: bytes
    message: Message


class Outbox:
    """Collects letters; `take` empties it, tokens last."""

    def __init__(self) -> None:
        self._letters: list[Letter] = []
        self._tokens: dict[bytes, list[Token]] = {}

    def put(self, channel: Channel, peer: bytes, message: Message) -> None:
        self._letters.append(Letter(channel, peer, message))

    def put_token(self, gateway: bytes, token: Token) -> None:
        self._tokens.setdefault(gateway, []).append(token)

    def take(self) -> list[Letter]:
        letters = self._letters
        letters += [Letter(Channel.GATEWAY, peer, Tokens(tuple(tokens))) for peer, tokens in self._tokens.items()]
        self._letters, self._tokens = [], {}
        return letters
