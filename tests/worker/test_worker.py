"""The worker's loop over a real socket: where its steps run, what it tells, and what it does with nothing to do."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq

from engine.allocation import Phase, Splitter
from engine.wire.to_scheduler import FROM_WORKER, DecodeReport, Drained, SharesPrepared, ShareTaken
from engine.wire.to_worker import TO_WORKER, DecodeOrder, Drain, Join, TakeShare
from engine.worker import worker as worker_module
from engine.worker.busy_words import BusyWords
from engine.worker.decode_steps import DecodeSteps
from engine.worker.decoder import Decoder
from engine.worker.order_socket import OrderSocket
from engine.worker.other_phase import OtherPhase
from engine.worker.parts import Parts
from engine.worker.preparation import Preparation
from engine.worker.worker import Worker
from tests.worker.fake_device import FakeDevice
from tests.worker.test_steps import PAGE_SIZE, Script, join

EPOCH = 5


class Stand:
    """A decode worker in a thread, and the scheduler's end of its socket."""

    def __init__(self, path: Path, draws: dict[int, list[int]], prepare: list[int], borrows: bool = True):
        self.device = FakeDevice()
        self.script = Script(draws)
        address = f"ipc://{path}/w.sock"
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.ROUTER)
        self._socket.set(zmq.RCVTIMEO, 60_000)
        self._socket.bind(address)
        self._resident, theirs = socket.socketpair()
        words = BusyWords.open(path / "busy-words")
        self.prefill = OtherPhase(words, Phase.PREFILL, "a", EPOCH)
        self._orders = OrderSocket(address, "decode", theirs)
        parts = Parts(self.device, Phase.DECODE, Splitter.GREEN, 40, may_change=True)
        self._worker = Worker(
            EPOCH,
            DecodeSteps(Decoder(EPOCH, PAGE_SIZE), self.script),
            parts,
            self.device,
            self._orders,
            OtherPhase(words, Phase.DECODE, "a", EPOCH) if borrows else None,
            Preparation(parts, prepare, lambda part: iter(())),
        )
        self._thread = threading.Thread(target=self._worker.run)
        self._theirs = theirs

    def begin(self) -> None:
        """A worker speaks first: nothing reaches one whose name is not known."""
        self._orders.send(SharesPrepared(EPOCH, (40,)))
        assert self.receive() == SharesPrepared(EPOCH, (40,))
        self._thread.start()

    def send(self, order: Any) -> None:
        self._socket.send_multipart((b"decode", TO_WORKER.encode(order)))

    def receive(self) -> Any:
        return FROM_WORKER.decode(self._socket.recv_multipart()[1])

    def drain(self) -> list[Any]:
        """What it says until its end."""
        self.send(Drain(EPOCH))
        said = [self.receive()]
        while not isinstance(said[-1], Drained):
            said.append(self.receive())
        self._thread.join()
        return said

    def lose_scheduler(self) -> None:
        """Its end of the line is gone, and what it said stays unsaid; returns when the worker has ended."""
        self._socket.close(linger=0)
        self._thread.join(60)
        assert not self._thread.is_alive()

    def close(self) -> None:
        if self._thread.is_alive():
            self.drain()
        self._orders.close()
        self._context.destroy(linger=0)
        self._resident.close()
        self._theirs.close()

    @property
    def launched_on(self) -> list[str]:
        return [line for line in self.device.log if line.startswith("step on")]


@pytest.fixture
def open_stand(tmp_path: Path) -> Iterator[Any]:
    stands: list[Stand] = []

    def opened(draws: dict[int, list[int]], prepare: list[int], borrows: bool = True) -> Stand:
        stands.append(Stand(tmp_path, draws, prepare, borrows))
        return stands[-1]

    yield opened
    for stand in stands:
        stand.close()


def ready(stand: Stand, prepared: tuple[int, ...]) -> None:
    """Wait until everything is prepared."""
    while (told := stand.receive()) != SharesPrepared(EPOCH, prepared):
        assert isinstance(told, SharesPrepared)


def decoded(stand: Stand, request_id: int, tokens: int, order: Join) -> list[DecodeReport]:
    stand.send(DecodeOrder(EPOCH, 1, joins=(order,)))
    reports: list[DecodeReport] = []
    while sum(len(report.tokens) for report in reports) < tokens:
        reports.append(stand.receive())
    return reports


def test_what_is_to_be_prepared_is_prepared_while_there_is_nothing_to_do(open_stand: Any) -> None:
    stand = open_stand({}, prepare=[100, 50])
    stand.begin()
    assert stand.receive() == SharesPrepared(EPOCH, (40, 100))
    assert stand.receive() == SharesPrepared(EPOCH, (40, 50, 100))


def test_nothing_is_prepared_while_orders_come_now_and_then(open_stand: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_module, "QUIET_SECONDS", 60.0)
    stand = open_stand({1: [11, 12], 2: [21, 22]}, prepare=[100, 50])
    stand.begin()
    for request_id in (1, 2):
        reports = decoded(stand, request_id, 2, join(request_id, max_tokens=3))
        assert all(isinstance(report, DecodeReport) for report in reports)
    assert not any(isinstance(said, SharesPrepared) for said in stand.drain())


def test_it_has_the_whole_device_while_the_other_is_idle(open_stand: Any) -> None:
    stand = open_stand({1: [11, 12]}, prepare=[100])
    stand.begin()
    ready(stand, (40, 100))
    stand.device.log.clear()
    reports = decoded(stand, 1, 2, join(1, max_tokens=3))
    assert set(stand.launched_on) == {"step on 100"}
    assert all(report.borrowed_seconds == report.seconds > 0 for report in reports)


def test_it_has_its_own_part_while_the_other_is_busy(open_stand: Any) -> None:
    stand = open_stand({1: [11, 12]}, prepare=[100])
    stand.prefill.tell(is_busy=True)
    stand.begin()
    ready(stand, (40, 100))
    stand.device.log.clear()
    reports = decoded(stand, 1, 2, join(1, max_tokens=3))
    assert set(stand.launched_on) == {"step on 40"}
    assert all(report.borrowed_seconds == 0.0 for report in reports)


def test_it_never_borrows_if_it_is_not_to(open_stand: Any) -> None:
    stand = open_stand({1: [11, 12]}, prepare=[100], borrows=False)
    stand.begin()
    ready(stand, (40, 100))
    stand.device.log.clear()
    decoded(stand, 1, 2, join(1, max_tokens=3))
    assert set(stand.launched_on) == {"step on 40"}


def test_it_is_busy_from_the_first_launch_until_it_waits(open_stand: Any) -> None:
    stand = open_stand({1: [11, 12, 13]}, prepare=[])
    seen: list[bool] = []
    launch = stand.script.launch
    stand.script.launch = lambda lanes: (seen.append(stand.prefill.is_idle), launch(lanes))[1]
    stand.begin()
    decoded(stand, 1, 3, join(1, max_tokens=4))
    stand.drain()
    assert seen == [False, False, False]
    assert stand.prefill.is_idle


def test_a_share_is_taken_between_two_steps_with_nothing_in_flight(open_stand: Any) -> None:
    stand = open_stand({1: list(range(11, 200))}, prepare=[100, 50])
    stand.prefill.tell(is_busy=True)
    stand.begin()
    ready(stand, (40, 50, 100))
    stand.send(DecodeOrder(EPOCH, 1, joins=(join(1, pages=60, max_tokens=180),)))
    stand.receive()
    stand.send(TakeShare(EPOCH, 2, 50))
    stand.send(TakeShare(EPOCH - 1, 9, 77))
    said = []
    while not isinstance(said[-1:] and said[-1], ShareTaken):
        said.append(stand.receive())
    assert said[-1] == ShareTaken(EPOCH, 2, 50, sm_count=50)
    said += stand.drain()
    drawn = [token.token_id for report in said if isinstance(report, DecodeReport) for token in report.tokens]
    assert drawn == list(range(drawn[0], drawn[0] + len(drawn))), "no token is lost or drawn twice"
    assert "50 behind 40" in stand.device.log
    assert stand.launched_on[-1] == "step on 50"


def test_with_another_share_others_are_prepared_beside_it(open_stand: Any) -> None:
    stand = open_stand({}, prepare=[100, 50, 30])
    stand.begin()
    ready(stand, (30, 40, 50, 100))
    stand.send(TakeShare(EPOCH, 1, 50, prepare=(40, 60)))
    assert stand.receive() == ShareTaken(EPOCH, 1, 50, sm_count=50)
    assert stand.receive() == SharesPrepared(EPOCH, (30, 40, 50, 60, 100))
    stand.send(TakeShare(EPOCH, 2, 60, prepare=(50, 70)))
    assert stand.receive() == ShareTaken(EPOCH, 2, 60, sm_count=60)
    assert stand.receive() == SharesPrepared(EPOCH, (30, 40, 50, 60, 70, 100))


def test_it_drains_when_its_scheduler_is_gone_with_a_step_in_flight(open_stand: Any) -> None:
    stand = open_stand({1: list(range(11, 10_000))}, prepare=[])
    stand.begin()
    decoded(stand, 1, 2, join(1, pages=3000, max_tokens=9000))
    stand.lose_scheduler()
    assert stand.device.log[-1] == "synchronize", stand.device.log[-5:]


def test_it_drains_when_its_scheduler_is_gone_and_it_waits_for_orders(open_stand: Any) -> None:
    stand = open_stand({}, prepare=[])
    stand.begin()
    stand.lose_scheduler()
