"""How many tokens one gateway worker carries as server-sent events, in a second of its own CPU time.

`python -m bench.gateway_throughput` starts the real gateway process with one worker; the tokens come from a script
(`tests/gateway/fake_scheduler.py`) in this process, one message a step, and so do the clients. The figure is therefore
given by the worker's CPU time, which the other processes on the machine do not shorten.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import msgspec
import psutil

from engine.wire.to_scheduler import GatewayHello
from tests.gateway.fake_scheduler import READY, FakeScheduler
from tests.gateway.stand import KEY, MODEL, make_ports
from tests.gateway.tiny_model import save_tiny_model

_ROOMY = msgspec.structs.replace(READY, queue_limit=100_000, max_model_len=1_000_000, pool_tokens=1_000_000)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=100, help="streams at once")
    parser.add_argument("--tokens", type=int, default=200, help="tokens of each stream")
    parser.add_argument("--step-ms", type=float, default=20.0, help="time between two steps of the token source")
    return parser.parse_args()


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


async def read_streams(port: int, streams: int, tokens: int) -> int:
    return sum(await asyncio.gather(*(read_stream(port, tokens) for _ in range(streams))))


def measure(scheduler: FakeScheduler, port: int, options: argparse.Namespace) -> None:
    worker = psutil.Process(scheduler.expect(GatewayHello).pid)
    asyncio.run(read_streams(port, 4, 20))  # the first requests are slower
    before, started = worker.cpu_times(), time.monotonic()
    events = asyncio.run(read_streams(port, options.streams, options.tokens))
    wall_seconds, after = time.monotonic() - started, worker.cpu_times()
    cpu_seconds = after.user + after.system - before.user - before.system
    tokens = options.streams * options.tokens
    print(f"{options.streams} streams of {options.tokens} tokens, a step every {options.step_ms:g} ms")
    print(f"wall      {wall_seconds:8.2f} s   {tokens / wall_seconds:10,.0f} tokens/s")
    print(f"worker CPU{cpu_seconds:8.2f} s   {cpu_seconds / wall_seconds:10.0%} of one core")
    print(f"tokens    {tokens:8,}     {tokens / cpu_seconds:10,.0f} per CPU second")
    print(f"events    {events:8,}     {events / cpu_seconds:10,.0f} per CPU second")


def main() -> None:
    options = arguments()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with tempfile.TemporaryDirectory() as directory:
        ports = make_ports(save_tiny_model(Path(directory) / "tiny"), port=port)
        letters = list(range(10, 60))
        with FakeScheduler(ports, _ROOMY, options.step_ms / 1000) as scheduler:
            scheduler.script = lambda request: letters
            command = [sys.executable, "-m", "engine.gateway", str(ports.runtime_dir)]
            with subprocess.Popen(command, stderr=subprocess.DEVNULL) as gateway:
                try:
                    measure(scheduler, port, options)
                finally:
                    gateway.terminate()
        shutil.rmtree(ports.runtime_dir)


if __name__ == "__main__":
    main()
