"""How many tokens the gateway's workers carry as server-sent events, in a second of their own CPU time.

`python -m bench.gateway_throughput --workers 2` starts the real gateway process; the tokens come from a script
(`tests/gateway/fake_scheduler.py`) in this process, one message a worker and step, and are read by clients in
processes of their own. Source and clients need cores too: where the machine has none to spare for them, the wall time
is theirs, and the figure for the workers is the one given by their CPU time.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import msgspec
import psutil

from engine.wire.to_scheduler import GatewayHello
from tests.gateway.fake_scheduler import READY, FakeScheduler
from tests.gateway.stand import KEY, MODEL, make_ports
from tests.gateway.tiny_model import save_tiny_model

_ROOMY = msgspec.structs.replace(READY, queue_limit=100_000, max_model_len=1_000_000, pool_tokens=1_000_000)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=1, help="gateway workers")
    parser.add_argument("--streams", type=int, default=100, help="streams at once")
    parser.add_argument("--tokens", type=int, default=200, help="tokens of each stream")
    parser.add_argument("--step-ms", type=float, default=20.0, help="time between two steps of the token source")
    parser.add_argument("--clients", type=int, default=1, help="processes that read the streams")
    return parser.parse_args()


class Load(NamedTuple):
    """What one client process reads: streams at once, and tokens of each."""

    port: int
    streams: int
    tokens: int


async def read_stream(port: int, tokens: int) -> int:
    """One request; the number of its events."""
    fields = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}], "stream": True}
    body = json.dumps(fields | {"max_tokens": tokens, "ignore_eos": True}).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {KEY}\r\n"
    writer.write(head.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body)
    answer = await reader.read(-1)
    writer.close()
    assert answer.startswith(b"HTTP/1.1 200 ") and b"[DONE]" in answer, answer[:200]
    return answer.count(b"data: {")


async def _read_streams(load: Load) -> int:
    return sum(await asyncio.gather(*(read_stream(load.port, load.tokens) for _ in range(load.streams))))


def read_streams(load: Load) -> int:
    """In a client's process: the number of all events."""
    return asyncio.run(_read_streams(load))


def cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


def measure(workers: list[psutil.Process], port: int, options: argparse.Namespace) -> None:
    loads = [Load(port, options.streams // options.clients, options.tokens)] * options.clients
    with multiprocessing.get_context("spawn").Pool(options.clients) as clients:
        clients.map(read_streams, [Load(port, 4, 20)] * 4)  # the first requests are slower
        before, started = [cpu_seconds(worker) for worker in workers], time.monotonic()
        events = sum(clients.map(read_streams, loads))
        wall_seconds = time.monotonic() - started
        used = [cpu_seconds(worker) - then for worker, then in zip(workers, before, strict=True)]
    tokens = sum(load.streams * load.tokens for load in loads)
    report(options, tokens, events, wall_seconds, used)


def report(options: argparse.Namespace, tokens: int, events: int, wall_seconds: float, used: list[float]) -> None:
    every = f"a step every {options.step_ms:g} ms" if options.step_ms else "steps without a pause"
    print(f"{len(used)} workers, {options.streams} streams of {options.tokens} tokens, {every}, {os.cpu_count()} cores")
    print(f"wall       {wall_seconds:8.2f} s   {events / wall_seconds:10,.0f} events/s")
    for number, seconds in enumerate(used):
        print(f"worker {number}   {seconds:8.2f} s   {seconds / wall_seconds:10.0%} of one core")
    print(f"tokens     {tokens:8,}     {tokens / sum(used):10,.0f} per CPU second")
    print(f"events     {events:8,}     {events / sum(used):10,.0f} per CPU second")
    print(f"so {len(used)} cores for {len(used)} workers carry {len(used) * events / sum(used):,.0f} events/s")


def main() -> None:
    options = arguments()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with tempfile.TemporaryDirectory() as directory:
        model = save_tiny_model(Path(directory) / "tiny")
        ports = make_ports(model, port=port, gateway_workers=options.workers)
        letters = list(range(10, 60))
        with FakeScheduler(ports, _ROOMY, options.step_ms / 1000) as scheduler:
            scheduler.script = lambda request: letters
            command = [sys.executable, "-m", "engine.gateway", str(ports.runtime_dir)]
            with subprocess.Popen(command, stderr=subprocess.DEVNULL) as gateway:
                try:
                    workers = [psutil.Process(scheduler.expect(GatewayHello).pid) for _ in range(options.workers)]
                    measure(workers, port, options)
                finally:
                    gateway.terminate()
        shutil.rmtree(ports.runtime_dir)


if __name__ == "__main__":
    main()
