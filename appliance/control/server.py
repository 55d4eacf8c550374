"""The controller's socket: commands are handled side by side, so that a rotation does not hold up a question."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import zmq

from appliance.attention import Attention
from appliance.control.messages import FROM_CONTROLLER, TO_CONTROLLER, Command, Reply
from engine.errors import ProtocolMismatch, SemiPDError

HANDLERS = 4


class ControlServer:
    """Listens from `start` to `stop`; `handle` is called in threads of its own."""

    def __init__(self, address: str, handle: Callable[[Command], Reply]):
        self._handle = handle
        self._attention = Attention()
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.ROUTER)
        self._socket.bind(address)
        self._attention.watch(self._socket, self._receive)
        self._handlers = ThreadPoolExecutor(HANDLERS, thread_name_prefix="control")
        self._is_stopping = False
        self._thread = threading.Thread(target=self._run, name="control", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """What is being handled is answered first."""
        self._handlers.shutdown()
        self._attention.call(self._end)
        self._thread.join()

    def _run(self) -> None:
        while not self._is_stopping:
            self._attention.turn()
        self._context.destroy(linger=200)

    def _end(self) -> None:
        self._is_stopping = True

    def _receive(self) -> None:
        peer, data = self._socket.recv_multipart()
        try:
            command = TO_CONTROLLER.decode(data)
        except ProtocolMismatch as error:
            self._answer(peer, Reply(False, str(error)))
            return
        self._handlers.submit(self._handle, command).add_done_callback(lambda done: self._handled(peer, done))

    def _handled(self, peer: bytes, done: Future[Reply]) -> None:
        """In a handler's thread: the socket belongs to the other."""
        error = done.exception()
        if error is None:
            reply = done.result()
        elif isinstance(error, (SemiPDError, ValueError)):
            reply = Reply(False, str(error))
        else:
            reply = Reply(False, f"The controller failed: {error!r}.")
        self._attention.call(lambda: self._answer(peer, reply))

    def _answer(self, peer: bytes, reply: Reply) -> None:
        self._socket.send_multipart((peer, FROM_CONTROLLER.encode(reply)))
