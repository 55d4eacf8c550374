"""Stands where the scheduler stands: its ROUTER, its messages and its load table; tokens come from a script."""

from __future__ import annotations

import math
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self, TypeVar

import msgspec
import zmq

from engine.config import PortArgs
from engine.request import Request
from engine.scheduler.load_table import LoadSnapshot, LoadTable
from engine.wire.codec import PROTOCOL_VERSION, Message
from engine.wire.to_gateway import TO_GATEWAY, Accepted, Failed, Refused, Tokens
from engine.wire.to_scheduler import FROM_GATEWAY, Cancel, GatewayHello, Resume, Submit, Token

READY = LoadSnapshot(
    ready=True, free_pages=75, total_pages=100, queue_limit=8, max_model_len=256, pool_tokens=200, running=1
)
_PATIENCE_SECONDS = 30  # for what must come; a test that waits this long has failed

M = TypeVar("M", bound=Message)


Likely = Callable[[int], tuple[float, Sequence[tuple[int, float]]]]
"""Of a token: its log-probability, and the likeliest tokens with theirs."""


@dataclass
class _Live:
    peer: bytes
    request: Request
    script: Sequence[int]
    likely: Likely
    index: int = 0

    def next_token(self) -> Token:
        """From the script; after it the end token, or the script again for a request that ignores the end."""
        stops = self.request.sampling.stop_token_ids
        ended = self.index >= len(self.script) and stops
        token_id = stops[0] if ended else self.script[self.index % len(self.script)]
        sampling = self.request.sampling
        finish = sampling.finish_reason(token_id, self.index)
        token = Token(self.request.request_id, self.index, token_id, finish)
        if sampling.logprobs is not None:
            own, likely = self.likely(token_id)
            token = msgspec.structs.replace(token, logprob=own, top_logprobs=tuple(likely[: sampling.logprobs]))
        self.index += 1
        return token


class FakeScheduler:
    """Runs in a thread of its own. `is_held`: tokens come only with `step`; else one step follows the other.

    `script` gives the tokens of a request; `refusal`, where it gives one, what to answer instead.
    """

    def __init__(self, ports: PortArgs, load: LoadSnapshot = READY, step_seconds: float = 0.0):
        self.script: Callable[[Request], Sequence[int]] = lambda request: [65]
        self.refusal: Callable[[Request], Refused | None] = lambda request: None
        self.likely: Likely = lambda token_id: (-0.5, [(token_id, -0.5), (token_id + 1, -1.5)])
        self.is_held = False
        self.load_table = LoadTable.create(ports.load_table_path)
        self.load_table.publish(load)
        self._step_seconds = step_seconds
        self._live: dict[int, _Live] = {}
        self._received: queue.Queue[Message] = queue.Queue()
        self._context = zmq.Context()
        self._router = self._context.socket(zmq.ROUTER)
        self._router.set(zmq.SNDHWM, 0)
        self._router.bind(ports.gateway_address)
        self._commands = self._context.socket(zmq.PAIR)
        self._commands.bind("inproc://commands")
        self._commander = self._context.socket(zmq.PAIR)
        self._commander.connect("inproc://commands")
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    # ── for the test ────────────────────────────────────────────────────────────────────────────────────────────────

    def expect(self, kind: type[M]) -> M:
        """The next message of a kind; others that came before it are dropped."""
        while True:
            message = self._received.get(timeout=_PATIENCE_SECONDS)
            if isinstance(message, kind):
                return message

    def expect_cancel(self, request_id: int) -> None:
        """Return when this request is cancelled."""
        while self.expect(Cancel).request_id != request_id:
            pass

    def forget_received(self) -> None:
        """Drop what has come so far."""
        while not self._received.empty():
            self._received.get()

    def step(self) -> None:
        """One token for every live request."""
        self._command("step")

    def repeat_last(self) -> None:
        """Send the last token of every live request once more, as after a hand-over."""
        self._command("repeat")

    def skip(self) -> None:
        """Lose one token of every live request."""
        self._command("skip")

    def fail(self) -> None:
        """Give up on every live request."""
        self._command("fail")

    def garble(self) -> None:
        """Send every gateway with a live request a message of another protocol version."""
        self._command("garble")

    def stop(self) -> None:
        """Go away, as a process that ends does: without a word. Once is enough."""
        if self._context.closed:
            return
        self._command("stop")
        self._thread.join(_PATIENCE_SECONDS)
        assert not self._thread.is_alive()
        self._context.destroy(linger=0)
        self.load_table.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def _command(self, name: str) -> None:
        self._commander.send_string(name)
        assert self._commander.poll(_PATIENCE_SECONDS * 1000), f"the fake scheduler has not done {name}"
        self._commander.recv()

    # ── its thread ──────────────────────────────────────────────────────────────────────────────────────────────────

    def _run(self) -> None:
        poller = zmq.Poller()
        poller.register(self._router, zmq.POLLIN)
        poller.register(self._commands, zmq.POLLIN)
        next_step = 0.0
        while True:
            is_stepping = bool(self._live) and not self.is_held
            wait_ms = math.ceil(max(0.0, next_step - time.monotonic()) * 1000) if is_stepping else None
            ready = dict(poller.poll(wait_ms))
            if self._commands in ready:
                command = self._commands.recv_string()
                if command != "stop":
                    getattr(self, f"_{command}")()
                self._commands.send(b"")
                if command == "stop":
                    return
            if self._router in ready:
                peer, data = self._router.recv_multipart()
                self._receive(peer, FROM_GATEWAY.decode(data))
            elif is_stepping and time.monotonic() >= next_step:
                next_step = time.monotonic() + self._step_seconds
                self._step()

    def _receive(self, peer: bytes, message: GatewayHello | Submit | Resume | Cancel) -> None:
        match message:
            case Resume(request):
                have = len(request.emitted_ids)
                self._live[request.request_id] = _Live(peer, request, self.script(request), self.likely, have)
            case Submit(request):
                refusal = self.refusal(request)
                if refusal is None:
                    self._live[request.request_id] = _Live(peer, request, self.script(request), self.likely)
                self._send(peer, refusal or Accepted(request.request_id))
            case Cancel(request_id):
                self._live.pop(request_id, None)
        self._received.put(message)

    def _step(self) -> None:
        by_peer: dict[bytes, list[Token]] = {}
        for live in list(self._live.values()):
            token = live.next_token()
            by_peer.setdefault(live.peer, []).append(token)
            if token.finish is not None:
                del self._live[token.request_id]
        for peer, tokens in by_peer.items():
            self._send(peer, Tokens(tuple(tokens)))

    def _repeat(self) -> None:
        for live in self._live.values():
            live.index -= 1
            self._send(live.peer, Tokens((live.next_token(),)))

    def _skip(self) -> None:
        for live in self._live.values():
            live.index += 1

    def _fail(self) -> None:
        for request_id, live in self._live.items():
            self._send(live.peer, Failed(request_id, "The engine lost this request."))
        self._live.clear()

    def _garble(self) -> None:
        for live in self._live.values():
            self._router.send_multipart((live.peer, bytes([PROTOCOL_VERSION + 1]) + b"?"))

    def _send(self, peer: bytes, message: Message) -> None:
        self._router.send_multipart((peer, TO_GATEWAY.encode(message)))


def refuse(code: str, message: str, retry_after_seconds: int = 0) -> Callable[[Request], Refused]:
    """A `refusal` that says no to everything."""
    return lambda request: Refused(request.request_id, code, message, retry_after_seconds)
