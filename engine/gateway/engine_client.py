"""The gateway's side of the conversation with the scheduler. Knows nothing of HTTP and of text."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets

import zmq
import zmq.asyncio
from zmq.utils.monitor import recv_monitor_message

from engine.errors import EngineFailure, Overloaded, ProtocolMismatch, RequestError
from engine.gateway.generation import Generation
from engine.request import Request
from engine.wire.codec import Message
from engine.wire.to_gateway import TO_GATEWAY, Accepted, Failed, Refused, Tokens
from engine.wire.to_scheduler import FROM_GATEWAY, Cancel, GatewayHello, Resume, Submit

log = logging.getLogger("uvicorn.error")  # the server's own log: one place to look

_RETRY_SECONDS = 2
_LINGER_MS = 200
_GONE = "The engine went away before the answer was complete."


class EngineClient:
    """A DEALER that connects, and connects again, to the scheduler's ROUTER.

    When the connection ends, requests that were not accepted yet end with it. Accepted ones wait for a scheduler, at
    most `patience_seconds`, and are handed in again with all that their clients have: to a client that is a pause.
    """

    def __init__(self, address: str, patience_seconds: float):
        self._address = address
        self._patience_seconds = patience_seconds
        self._giving_up: asyncio.TimerHandle | None = None
        self._live: dict[int, Generation] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self.is_connected = False

    async def start(self) -> None:
        """Connect in the background. Needs the running loop, so it is not done when the object is made."""
        self._context = zmq.asyncio.Context()
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.set(zmq.IDENTITY, f"gateway-{os.getpid()}-{secrets.token_hex(4)}".encode())
        self._socket.set(zmq.IMMEDIATE, 1)  # nothing is kept for a scheduler that is not there
        self._socket.set(zmq.SNDHWM, 0)
        self._socket.set(zmq.RCVHWM, 0)
        self._monitor = self._socket.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED)
        self._socket.connect(self._address)
        self._tasks = [asyncio.create_task(self._watch_connection()), asyncio.create_task(self._receive())]

    async def stop(self) -> None:
        """Disconnect; the last cancels still go out."""
        self.is_connected = False
        self._wait_no_more()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._socket.disable_monitor()
        self._monitor.close(0)
        self._socket.close(_LINGER_MS)
        self._context.term()

    def submit(self, request: Request, news: asyncio.Event | None = None) -> Generation:
        """Hand in a request; `news` is set with whatever is heard of it.

        Raises `Overloaded` where there is no scheduler to take it.
        """
        if not self._send(Submit(request)):
            raise Overloaded("The engine is not ready yet.", retry_after_seconds=_RETRY_SECONDS)
        generation = Generation(request, forget=self._forget, cancel=self._cancel, news=news)
        self._live[request.request_id] = generation
        return generation

    def _cancel(self, request_id: int) -> None:
        self._send(Cancel(request_id))  # where it cannot be sent the scheduler is gone, and the next is not told of it

    def _forget(self, request_id: int) -> None:
        self._live.pop(request_id, None)

    def _send(self, message: Message) -> bool:
        """False where there is nobody to send to."""
        if not self.is_connected:
            return False
        sent = self._socket.send(FROM_GATEWAY.encode(message), zmq.NOBLOCK)
        assert isinstance(sent, asyncio.Future) and sent.done(), "a send that may not block is over at once"
        error = sent.exception()
        if error is not None and not isinstance(error, zmq.Again):
            raise error
        return error is None

    async def _watch_connection(self) -> None:
        while True:
            event = await recv_monitor_message(self._monitor)
            if event["event"] == zmq.EVENT_HANDSHAKE_SUCCEEDED:
                await self._socket.send(FROM_GATEWAY.encode(GatewayHello(os.getpid())))
                self.is_connected = True
                self._resume()
            else:
                self.is_connected = False
                self._lost()

    def _lost(self) -> None:
        self._fail([generation for generation in self._live.values() if not generation.is_accepted], _GONE)
        self._wait_no_more()
        loop = asyncio.get_running_loop()
        self._giving_up = loop.call_later(self._patience_seconds, lambda: self._fail(list(self._live.values()), _GONE))

    def _resume(self) -> None:
        """In the order in which they were handed in at first."""
        self._wait_no_more()
        for generation in self._live.values():
            self._send(Resume(generation.request_from_here))

    def _wait_no_more(self) -> None:
        if self._giving_up is not None:
            self._giving_up.cancel()
            self._giving_up = None

    async def _receive(self) -> None:
        while True:
            self._understand(await self._socket.recv())
            while int(self._socket.get(zmq.EVENTS)) & zmq.POLLIN:  # one that is behind takes several steps together
                self._understand(await self._socket.recv(zmq.NOBLOCK))
            await asyncio.sleep(0)  # a message that is there at once would otherwise keep the loop from its other work

    def _understand(self, data: bytes) -> None:
        try:
            self._dispatch(TO_GATEWAY.decode(data))
        except ProtocolMismatch as error:
            log.error("%s", error)
            self._fail(list(self._live.values()), "The engine speaks another version than the gateway.")

    def _dispatch(self, message: Accepted | Refused | Tokens | Failed) -> None:
        if isinstance(message, Tokens):
            for token in message.tokens:
                generation = self._live.get(token.request_id)
                if generation is not None:
                    generation.take(token)
            return
        generation = self._live.get(message.request_id)
        if generation is None:
            return
        match message:
            case Accepted():
                generation.accept()
            case Refused():
                generation.fail(_refusal(message))
            case Failed():
                generation.fail(EngineFailure(message.message))

    def _fail(self, generations: list[Generation], reason: str) -> None:
        for generation in generations:
            generation.fail(Overloaded(reason, retry_after_seconds=_RETRY_SECONDS))


def _refusal(message: Refused) -> RequestError:
    """The error that the scheduler named by its code."""
    kind = next((kind for kind in RequestError.__subclasses__() if kind.code == message.code), EngineFailure)
    return kind(message.message, retry_after_seconds=message.retry_after_seconds or None)
