"""A gateway worker: the product's own engine client and journal, read by clients that write down what they get."""

from __future__ import annotations

from collections.abc import Callable

from engine.errors import RequestError
from engine.gateway.engine_client import EngineClient
from engine.gateway.generation import Generation
from engine.request import FinishReason, Request
from engine.scheduler.outbox import Channel
from engine.wire.codec import Message
from engine.wire.to_gateway import Accepted, Failed, Refused, Tokens
from engine.wire.to_scheduler import FROM_GATEWAY, GatewayHello, Token
from tests.scheduler.rehearsal import undisturbed
from tests.simulated.clock import Timer
from tests.simulated.invariants import demand
from tests.simulated.process import Process
from tests.simulated.scheduler_process import Client
from tests.simulated.world import World

PATIENCE_SECONDS = 60.0
RETRY_SECONDS = 0.2


class SimulatedEngineClient(EngineClient):
    """On a simulated line. What arrives is compared with what its journal says before it is taken."""

    def __init__(self, send: Callable[[bytes], None], after: Callable[[float, Callable[[], None]], Timer]):
        super().__init__("", PATIENCE_SECONDS)
        self._put_on_line = send
        self._after = after
        self._patience: Timer | None = None

    def connected(self, pid: int) -> None:
        """As `_watch_connection` does."""
        self._put_on_line(FROM_GATEWAY.encode(GatewayHello(pid)))
        self.is_connected = True
        self._resume()

    def disconnected(self) -> None:
        self.is_connected = False
        self._lost()

    def understand(self, data: bytes) -> None:
        self._understand(data)

    def _send(self, message: Message) -> bool:
        if self.is_connected:
            self._put_on_line(FROM_GATEWAY.encode(message))
        return self.is_connected

    def _lost(self) -> None:
        self._fail([one for one in self._live.values() if not one.is_accepted], "gone")
        self._wait_no_more()
        self._patience = self._after(PATIENCE_SECONDS, lambda: self._fail(list(self._live.values()), "gone"))

    def _wait_no_more(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _dispatch(self, message: Accepted | Refused | Tokens | Failed) -> None:
        if not isinstance(message, Tokens):
            super()._dispatch(message)
            return
        for token in message.tokens:
            self._compare(token)
            super()._dispatch(Tokens((token,)))

    def _compare(self, token: Token) -> None:
        if known := self._live.get(token.request_id):
            emitted = known.emitted_ids
            demand(token.index <= len(emitted), f"request {token.request_id}: output {len(emitted)} is missing")
            is_same = token.index == len(emitted) or emitted[token.index] == token.token_id
            demand(is_same, f"request {token.request_id}: output {token.index} was revised")


class Answer:
    """One client's own record of its request, and what it would get undisturbed."""

    def __init__(self, request: Request, generation: Generation):
        self.request = request
        self.generation = generation
        self.token_ids: list[int] = []
        self.finish: FinishReason | None = None
        self.expected = undisturbed(request)

    def read(self) -> None:
        """Raises `RequestError` where the generation has one for it."""
        for token in self.generation.unread_tokens():
            demand(self.finish is None, f"request {self.request.request_id}: a token after the last")
            self.token_ids.append(token.token_id)
            self.finish = token.finish
        is_right = self.token_ids == self.expected[: len(self.token_ids)]
        demand(is_right, f"request {self.request.request_id}: {self.token_ids} instead of {self.expected}")


class SimulatedGateway(Process):
    """Clients whose request is refused come again; one that has been accepted counts until it is answered."""

    def __init__(self, world: World, number: int):
        super().__init__(world, f"gateway-{number}")
        self.answers: dict[int, Answer] = {}
        self._line = Client(f"{self.name}-{self.pid}".encode(), self, self._received, self._scheduler_ended)
        self._engine = SimulatedEngineClient(self._line.send, self.after)
        self._look_for_scheduler()

    def submit(self, request: Request) -> None:
        try:
            generation = self._engine.submit(request)
        except RequestError:
            self._again(request)
            return
        self.answers[request.request_id] = Answer(request, generation)

    def has_ended(self) -> None:
        if self._line.up is not None:
            self._line.up.sender_ended(lambda: None)

    def client_leaves(self, choice: float) -> None:
        """One of those that are connected; it is owed nothing any more."""
        if ids := sorted(self.answers):
            answer = self.answers.pop(ids[int(choice * len(ids))])
            self.world.say(f"the client of request {answer.request.request_id} leaves")
            answer.generation.close()

    def _look_for_scheduler(self) -> None:
        self.world.meet_scheduler(Channel.GATEWAY, self._line, lambda: self._engine.connected(self.pid))

    def _scheduler_ended(self) -> None:
        self._engine.disconnected()
        self._read_all()
        self._look_for_scheduler()

    def _received(self, data: bytes) -> None:
        self._engine.understand(data)
        self._read_all()

    def _read_all(self) -> None:
        for answer in [answer for answer in self.answers.values() if answer.generation.has_news]:
            try:
                answer.read()
            except RequestError as error:
                del self.answers[answer.request.request_id]
                was_accepted = answer.generation.is_accepted
                demand(not was_accepted, f"accepted request {answer.request.request_id} was lost: {error}")
                self._again(answer.request)
                continue
            if answer.finish is not None:
                demand(answer.token_ids == answer.expected, f"request {answer.request.request_id} ended too early")
                del self.answers[answer.request.request_id]
                self.world.answered += 1

    def _again(self, request: Request) -> None:
        self.world.come_again(RETRY_SECONDS, self, request)
