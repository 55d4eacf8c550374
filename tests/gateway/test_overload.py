"""Ten times as many requests as fit: most are refused at once, those accepted wait no longer than the queue is."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter, deque
from pathlib import Path

import httpx
import msgspec
import pytest

from engine.config import PortArgs
from engine.scheduler.load_table import LoadSnapshot
from engine.wire.to_gateway import Accepted, Refused
from engine.wire.to_scheduler import Cancel, GatewayHello, Resume, Submit
from tests.gateway.fake_scheduler import READY, FakeScheduler, _Live
from tests.gateway.running_gateway import PATIENCE_SECONDS, RunningGateway, running_gateway
from tests.gateway.stand import MODEL

pytestmark = pytest.mark.system

RUNNING, QUEUE, TOKENS = 4, 4, 5
FIT = RUNNING + QUEUE
OFFERED = 10 * FIT


class LimitedScheduler(FakeScheduler):
    """Runs few requests, lets few wait and refuses the others, as the real one does. `submitted` counts hand-ins."""

    def __init__(self, ports: PortArgs, load: LoadSnapshot, step_seconds: float):
        self.queue: deque[_Live] = deque()
        self.submitted = 0
        super().__init__(ports, load, step_seconds)

    def _receive(self, peer: bytes, message: GatewayHello | Submit | Resume | Cancel) -> None:
        match message:
            case Submit(request):
                self.submitted += 1
                if len(self._live) + len(self.queue) >= FIT:
                    self._send(peer, Refused(request.request_id, "overloaded", f"{QUEUE} requests are waiting.", 1))
                else:
                    self.queue.append(_Live(peer, request, self.script(request), self.likely))
                    self._send(peer, Accepted(request.request_id))
            case Cancel(request_id):
                self._live.pop(request_id, None)
            case GatewayHello() | Resume():
                self._received.put(message)
        self._promote()

    def _step(self) -> None:
        super()._step()
        self._promote()

    def _promote(self) -> None:
        while self.queue and len(self._live) < RUNNING:
            live = self.queue.popleft()
            self._live[live.request.request_id] = live
        load = msgspec.structs.replace(READY, queue_limit=QUEUE, running=len(self._live), waiting=len(self.queue))
        self.load_table.publish(load)


class Offered:
    """Many requests at once; what has become of them."""

    def __init__(self, gateway: RunningGateway, count: int):
        self._url = f"{gateway.url}/v1/completions"
        self._headers = dict(gateway.client().headers)
        self._changed = threading.Condition()
        self.outcomes: Counter[int] = Counter()
        self.answers: list[httpx.Response] = []
        self._thread = threading.Thread(target=lambda: asyncio.run(self._ask_all(count)))
        self._thread.start()

    def wait_for(self, status: int, count: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self.outcomes[status] >= count, PATIENCE_SECONDS), self.outcomes

    def join(self) -> None:
        self._thread.join(PATIENCE_SECONDS)
        assert not self._thread.is_alive()

    async def _ask_all(self, count: int) -> None:
        limits = httpx.Limits(max_connections=count)
        async with httpx.AsyncClient(headers=self._headers, trust_env=False, timeout=60, limits=limits) as client:
            await asyncio.gather(*(self._ask(client) for _ in range(count)))

    async def _ask(self, client: httpx.AsyncClient) -> None:
        fields = {"model": MODEL, "prompt": "Hi", "max_tokens": TOKENS, "ignore_eos": True}
        response = await client.post(self._url, json=fields)
        with self._changed:
            self.outcomes[response.status_code] += 1
            self.answers.append(response)
            self._changed.notify_all()


def test_ten_times_the_load(model_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.gateway.running_gateway.FakeScheduler", LimitedScheduler)
    with running_gateway(model_path, gateway_workers=2) as gateway:
        scheduler = gateway.scheduler
        assert isinstance(scheduler, LimitedScheduler)
        scheduler.is_held = True
        first = Offered(gateway, OFFERED)
        first.wait_for(503, OFFERED - FIT)  # though the engine has not computed one token
        asked = scheduler.submitted
        more = Offered(gateway, OFFERED)
        more.wait_for(503, OFFERED)
        more.join()
        assert scheduler.submitted == asked  # a full queue is seen without asking
        steps = 0
        while first.outcomes[200] < FIT:
            assert steps < FIT // RUNNING * TOKENS + 1
            scheduler.step()
            steps += 1
            if steps % TOKENS == 0:
                first.wait_for(200, steps // TOKENS * RUNNING)
        first.join()
        assert first.outcomes == {200: FIT, 503: OFFERED - FIT} and more.outcomes == {503: OFFERED}
        for answer in first.answers + more.answers:
            assert answer.status_code == 200 or int(answer.headers["retry-after"]) >= 1
        scheduler.is_held = False
        with gateway.client() as client:  # and it serves on
            assert client.post("/v1/completions", json={"model": MODEL, "prompt": "Hi"}).status_code == 200
