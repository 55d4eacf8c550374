"""The controller's socket. Rotations wait in a line of their own, so that questions are answered at once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import zmq

from appliance.attention import Attention
from appliance.control.messages import FROM_CONTROLLER, TO_CONTROLLER, AskRotation, Command, Reply
from engine.errors import ProtocolMismatch, SemiPDError

HANDLERS = 4
ROTATIONS = 16
"""How many rotations may be under way or wait at once; each is a thread that sleeps."""


class ControlServer:
    """Listens from `start` to `stop`; `handle` is called in threads of its own."""

    def __init__(self, address: str, handle: Callable[[Command], Reply]):
        self._handle = handle
        self._attention = Attention()
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.ROUTER)
        self._socket.bind(address)
        self._attention.watch(self._socket, self._receive)
        self._questions = ThreadPoolExecutor(HANDLERS, thread_name_prefix="control")
        self._rotations = ThreadPoolExecutor(ROTATIONS, thread_name_prefix="control-rotation")
        self._rotations_open = 0
        self._is_stopping = False
        self._thread = threading.Thread(target=self._run, name="control", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """What is being handled is answered first."""
        self._rotations.shutdown()
        self._questions.shutdown()
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
            if isinstance(command, AskRotation):
                self._rotate(peer, command)
            else:
                self._submit(self._questions, peer, command)
        except ProtocolMismatch as error:
            self._answer(peer, Reply(False, str(error)))
        except RuntimeError:  # the executors take no more: `stop` was called
            self._answer(peer, Reply(False, "The appliance stops."))

    def _rotate(self, peer: bytes, command: AskRotation) -> None:
        """They are made one after another, in the order in which they came."""
        if self._rotations_open >= ROTATIONS:
            sentence = f"{ROTATIONS} rotations are under way or wait already: ask again when they are done."
            self._answer(peer, Reply(False, sentence))
            return
        self._submit(self._rotations, peer, command)
        self._rotations_open += 1

    def _submit(self, handlers: ThreadPoolExecutor, peer: bytes, command: Command) -> None:
        handlers.submit(self._handle, command).add_done_callback(lambda done: self._handled(peer, command, done))

    def _handled(self, peer: bytes, command: Command, done: Future[Reply]) -> None:
        """In a handler's thread: the socket belongs to the other."""
        error = done.exception()
        if error is None:
            reply = done.result()
        elif isinstance(error, (SemiPDError, ValueError)):
            reply = Reply(False, str(error))
        else:
            reply = Reply(False, f"The controller failed: {error!r}.")
        self._attention.call(lambda: self._conclude(peer, command, reply))

    def _conclude(self, peer: bytes, command: Command, reply: Reply) -> None:
        self._rotations_open -= isinstance(command, AskRotation)
        self._answer(peer, reply)

    def _answer(self, peer: bytes, reply: Reply) -> None:
        self._socket.send_multipart((peer, FROM_CONTROLLER.encode(reply)))
