"""Clients that do not read: each is cut off after a while, its request cancelled, and nobody else notices."""

from __future__ import annotations

import json
import select
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec
import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from engine.gateway.serve import SEND_BUFFER_BYTES
from engine.wire.to_scheduler import Cancel, Submit
from tests.gateway.fake_scheduler import READY
from tests.gateway.running_gateway import PATIENCE_SECONDS, RunningGateway, completion, read_to_end, running_gateway
from tests.gateway.stand import MODEL, live_events, parse_event

pytestmark = pytest.mark.system

ROOMY = msgspec.structs.replace(READY, queue_limit=1000, max_model_len=1_000_000, pool_tokens=1_000_000)
ENDLESS = {"stream": True, "max_tokens": 900_000, "ignore_eos": True}
SMALL_BUFFER = 4096
DRIP_SECONDS = 0.02
MIB = 1 << 20


@pytest.fixture(scope="module")
def gateway(model_path: Path) -> Iterator[RunningGateway]:
    with running_gateway(model_path, ROOMY, step_seconds=0.001, slow_reader_seconds=0.5) as gateway:
        gateway.scheduler.script = lambda request: range(10, 60)
        yield gateway


@contextmanager
def free_stream(gateway: RunningGateway) -> Iterator[Iterator[dict]]:
    """An endless stream that is read as fast as it comes; its first event has been seen."""
    with gateway.client() as client:
        body = {"model": MODEL, "prompt": "Hi", **ENDLESS}
        with client.stream("POST", "/v1/completions", json=body) as response:
            chunks = live_events(response)
            assert next(chunks)["choices"]
            yield chunks


def endless(gateway: RunningGateway) -> tuple[socket.socket, int]:
    """A client of an endless stream, and its request."""
    connection = gateway.connect(SMALL_BUFFER)
    connection.sendall(completion(**ENDLESS))
    return connection, gateway.scheduler.expect(Submit).request.request_id


def test_a_reader_that_reads_nothing_is_cut_and_another_runs_freely(gateway: RunningGateway) -> None:
    with free_stream(gateway) as chunks:
        gateway.scheduler.forget_received()
        connection, request_id = endless(gateway)
        with connection:
            seen = stepped_until_cancelled(gateway, chunks)
            assert seen == [request_id]
            assert next(chunks)["choices"][0]["finish_reason"] is None
            unread = read_to_end(connection)
        assert unread.startswith(b"HTTP/1.1 200 ") and b"[DONE]" not in unread
        assert len(unread) < 4 * SEND_BUFFER_BYTES
    assert "did not read" in gateway.log_path.read_text()


def stepped_until_cancelled(gateway: RunningGateway, chunks: Iterator[dict]) -> list[int]:
    """Read the free stream until the scheduler was told to cancel something; what that was."""
    cancelled: list[int] = []
    waiter = threading.Thread(target=lambda: cancelled.append(gateway.scheduler.expect(Cancel).request_id))
    waiter.start()
    while waiter.is_alive():
        next(chunks)
    return cancelled


def test_a_reader_that_takes_a_byte_now_and_then_is_cut(gateway: RunningGateway) -> None:
    connection, request_id = endless(gateway)
    is_over = threading.Event()
    taken: list[bytes] = []

    def drip() -> None:
        while not is_over.wait(DRIP_SECONDS):
            taken.append(connection.recv(1))

    dripper = threading.Thread(target=drip)
    with connection:
        dripper.start()
        gateway.scheduler.expect_cancel(request_id)
        is_over.set()
        dripper.join(PATIENCE_SECONDS)
    assert len(taken) > 3 and all(taken)


def test_memory_stays_flat_while_many_do_not_read(gateway: RunningGateway) -> None:
    """Twenty streams, of which each would be endless if somebody kept it for its reader."""
    worker = psutil.Process(gateway.worker_pids[0])
    with free_stream(gateway) as chunks, ExitStack() as connections:
        before = worker.memory_info().rss
        gateway.scheduler.forget_received()
        stalled = set()
        for _ in range(20):
            connection, request_id = endless(gateway)
            connections.enter_context(connection)
            stalled.add(request_id)
        most = before
        while stalled:
            stalled -= set(stepped_until_cancelled(gateway, chunks))
            most = max(most, worker.memory_info().rss)
        assert most - before < 40 * MIB  # twenty times both buffers, and what half a second brings
        assert next(chunks)["choices"]


def test_an_answer_whose_end_nobody_reads_does_not_keep_its_connection(gateway: RunningGateway) -> None:
    """All of it is in the buffers and the request has ended well; the connection must not stay for ever."""
    before = ended_at_their_length(gateway)
    with gateway.connect(SMALL_BUFFER) as connection:
        connection.sendall(completion(stream=True, close=True, max_tokens=1200, ignore_eos=True))
        ended = select.poll()
        ended.register(connection, select.POLLHUP | select.POLLERR)
        assert ended.poll(PATIENCE_SECONDS * 1000)
    assert ended_at_their_length(gateway) == before + 1


def ended_at_their_length(gateway: RunningGateway) -> float:
    with gateway.client() as client:
        for family in text_string_to_metric_families(client.get("/metrics").text):
            for sample in family.samples:
                if sample.labels.get("finished_reason") == "length":
                    return sample.value
    raise AssertionError("finished requests are not counted")


def test_a_reader_that_pauses_and_goes_on_gets_everything(gateway: RunningGateway) -> None:
    """More than both buffers hold, so that the gateway has to wait for the reader."""
    gateway.scheduler.is_held = True
    with gateway.connect(SMALL_BUFFER) as connection:
        connection.sendall(completion(stream=True, close=True, max_tokens=3000, ignore_eos=True))
        gateway.scheduler.expect(Submit)
        for _ in range(1200):
            gateway.scheduler.step()
        gateway.scheduler.is_held = False
        gateway.scheduler.step()
        answer = read_to_end(connection)
    lines = [line for line in answer.decode().splitlines() if line.startswith("data: ")]
    assert parse_event(lines[-1]) == "[DONE]"
    texts = [json.loads(line.removeprefix("data: "))["choices"][0] for line in lines[:-1]]
    assert len("".join(choice["text"] for choice in texts)) >= 3000
    assert texts[-1]["finish_reason"] == "length"
