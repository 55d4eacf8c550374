"""The gateway as a process: gunicorn, its workers, the drain, and what cannot start."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest

from engine.config import PortArgs
from engine.errors import CANNOT_START
from engine.gateway.serve import DRAIN_SECONDS
from engine.wire.to_scheduler import GatewayHello, Submit
from tests.gateway.fake_scheduler import FakeScheduler
from tests.gateway.stand import KEY, MODEL, live_events, make_ports, streamed_text

PATIENCE_SECONDS = 60


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


@contextmanager
def gateway_process(ports: PortArgs) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "engine.gateway", str(ports.runtime_dir)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, process_group=0) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


@pytest.fixture
def ports(model_path: Path) -> Iterator[PortArgs]:
    ports = make_ports(model_path, port=free_port(), gateway_workers=2)
    yield ports
    shutil.rmtree(ports.runtime_dir)


@pytest.mark.system
def test_term_drains_streams_and_refuses_new_connections(ports: PortArgs) -> None:
    port = ports.read_settings().port
    with FakeScheduler(ports) as scheduler, gateway_process(ports) as process:
        workers = {scheduler.expect(GatewayHello).pid for _ in range(2)}
        assert len(workers) == 2 and process.pid not in workers
        scheduler.script = lambda request: [70, 71, 72]
        scheduler.is_held = True
        with httpx.Client(
            headers={"Authorization": f"Bearer {KEY}"}, timeout=PATIENCE_SECONDS, trust_env=False
        ) as client:
            body = {"model": MODEL, "prompt": "Hi", "stream": True}
            with client.stream("POST", f"http://127.0.0.1:{port}/v1/completions", json=body) as response:
                scheduler.expect(Submit)
                scheduler.step()
                chunks = live_events(response)
                first = next(chunks)
                process.terminate()
                wait_until_refused(port)
                for _ in range(3):
                    scheduler.step()
                rest = list(chunks)
        assert rest[-1] == "[DONE]" and rest[-2]["choices"][0]["finish_reason"] == "stop"
        assert len(streamed_text([first, *rest])) == 3
        assert process.wait(DRAIN_SECONDS) == 0


@pytest.mark.system
def test_who_had_connected_before_the_end_is_answered(ports: PortArgs) -> None:
    """The connection is a worker's already, and nothing was asked on it."""
    port = ports.read_settings().port
    with FakeScheduler(ports) as scheduler, gateway_process(ports) as process:
        workers = [psutil.Process(scheduler.expect(GatewayHello).pid) for _ in range(2)]
        with socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS) as connection:
            mine = connection.getsockname()
            deadline = time.monotonic() + PATIENCE_SECONDS
            while not any(mine == one.raddr for worker in workers for one in worker.net_connections("tcp4")):
                assert time.monotonic() < deadline, "nobody has taken it"
            process.terminate()
            wait_until_refused(port)
            connection.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
            assert connection.recv(65536).startswith((b"HTTP/1.1 200", b"HTTP/1.1 503"))
        assert process.wait(DRAIN_SECONDS) == 0


@pytest.mark.system
def test_its_log_is_an_event_a_line_and_names_the_request(ports: PortArgs) -> None:
    with FakeScheduler(ports) as scheduler, gateway_process(ports) as process:
        scheduler.script = lambda request: [70, 71]
        for _ in range(2):
            scheduler.expect(GatewayHello)
        headers = {"Authorization": f"Bearer {KEY}", "x-request-id": "of-the-client"}
        url = f"http://127.0.0.1:{ports.read_settings().port}/v1/completions"
        with httpx.Client(headers=headers, timeout=PATIENCE_SECONDS, trust_env=False) as client:
            answer = client.post(url, json={"model": MODEL, "prompt": "Hi"}).json()
            assert client.post(url, json={"model": "another", "prompt": "Hi"}).is_client_error
        process.terminate()
        assert process.stderr is not None
        events = [json.loads(line) for line in process.stderr]
    assert {event["process"] for event in events} == {"gateway"}
    assert any(event["event"].startswith("Listening at") for event in events)
    [told] = [event for event in events if event["event"] == "answered"]
    assert (told["request_id"], told["status"]) == ("of-the-client", 200)
    assert answer["id"] == f"cmpl-{told['answer_id']}"


@pytest.mark.system
def test_workers_do_not_outlive_a_killed_master(ports: PortArgs) -> None:
    with FakeScheduler(ports) as scheduler, gateway_process(ports) as process:
        pidfds = [os.pidfd_open(scheduler.expect(GatewayHello).pid) for _ in range(2)]
        process.kill()
        for pidfd in pidfds:
            assert select.select([pidfd], [], [], PATIENCE_SECONDS)[0], "a worker is still there"
            os.close(pidfd)
        wait_until_refused(ports.read_settings().port)


@pytest.mark.system
def test_a_port_that_is_taken_is_one_sentence(ports: PortArgs) -> None:
    port = ports.read_settings().port
    with socket.create_server(("127.0.0.1", port)), gateway_process(ports) as process:
        _, said = process.communicate(timeout=PATIENCE_SECONDS)
    assert said == f"The gateway cannot listen on 127.0.0.1 port {port}: address already in use.\n"
    assert process.returncode == CANNOT_START


@pytest.mark.system
def test_a_model_without_tokenizer_is_one_sentence(model_path: Path, tmp_path: Path) -> None:
    shutil.copytree(model_path, tmp_path / "model")
    (tmp_path / "model" / "tokenizer.json").unlink()
    ports = make_ports(tmp_path / "model", port=free_port())
    with gateway_process(ports) as process:
        _, said = process.communicate(timeout=PATIENCE_SECONDS)
    shutil.rmtree(ports.runtime_dir)
    assert said == f"The model directory {tmp_path / 'model'} has no tokenizer.json.\n"
    assert process.returncode == CANNOT_START


@pytest.mark.system
def test_the_gateway_imports_no_torch() -> None:
    code = "import sys, engine.gateway.serve; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def wait_until_refused(port: int) -> None:
    """Connections are accepted until every process has closed its listening socket."""
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_SECONDS).close()
        except ConnectionResetError:
            continue  # it was in the queue of a socket that was closed meanwhile
        except ConnectionRefusedError:
            return
