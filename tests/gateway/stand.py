"""A test stand: the real application on a real server and port, a scheduler that follows a script, an HTTP client."""

from __future__ import annotations

import hashlib
import json
import shutil
import socket
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import httpx
import uvicorn
from tokenizers import Tokenizer

from engine.config import PortArgs, ServerArgs
from engine.gateway.app import create_app
from engine.scheduler.load_table import LoadSnapshot
from engine.wire.to_scheduler import GatewayHello
from tests.gateway.fake_scheduler import READY, FakeScheduler
from tests.gateway.tiny_model import byte_tokens

KEY = "sk-test-key"
KEY_ID = hashlib.sha256(KEY.encode()).hexdigest()[:12]
MODEL = "tiny"
MAX_BODY_BYTES = 20_000
_TIMEOUT = 30.0


def make_ports(model_path: Path, **settings: Any) -> PortArgs:
    """A runtime directory with settings and one key; its owner removes it. Unless told to, the gateway asks nothing."""
    settings = {"probe_seconds": 3600.0, "max_body_bytes": MAX_BODY_BYTES, **settings}
    ports = PortArgs(Path(tempfile.mkdtemp(prefix="semi-pd-test-")))
    args = ServerArgs(model_path=model_path, served_model_name=MODEL, device="cpu", **settings)
    ports.settings_file.write_text(args.model_dump_json())
    ports.keys_path.write_text(hashlib.sha256(KEY.encode()).hexdigest() + "\n")
    return ports


class Server(uvicorn.Server):
    """The application in a thread, with the protocol implementation that serves in production."""

    def __init__(self, ports: PortArgs):
        config = uvicorn.Config(
            create_app(ports), http="httptools", ws="none", lifespan="on", log_config=None, access_log=False
        )
        super().__init__(config)
        self._is_up = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self.run, kwargs={"sockets": [self._listener]})

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._is_up.set()

    def start(self) -> None:
        self._thread.start()
        assert self._is_up.wait(_TIMEOUT)

    def stop(self) -> None:
        self.should_exit = True
        self._thread.join(_TIMEOUT)
        assert not self._thread.is_alive()


class Stand:
    """One gateway, its fake scheduler, and a client with a valid key."""

    def __init__(self, model_path: Path, load: LoadSnapshot = READY, **settings: Any):
        self.ports = make_ports(model_path, **settings)
        self.tokenizer = Tokenizer.from_file(str(model_path / "tokenizer.json"))
        self.scheduler = FakeScheduler(self.ports, load)
        self._server = Server(self.ports)
        self.port = self._server.port
        self.url = f"http://127.0.0.1:{self.port}"
        self.client = httpx.Client(
            base_url=self.url, headers={"Authorization": f"Bearer {KEY}"}, timeout=_TIMEOUT, trust_env=False
        )

    def __enter__(self) -> Self:
        self._server.start()
        self.scheduler.expect(GatewayHello)
        return self

    def __exit__(self, *error: object) -> None:
        self.client.close()
        self._server.stop()
        self.scheduler.stop()
        shutil.rmtree(self.ports.runtime_dir)

    def reset(self) -> None:
        """As it was at first."""
        self.scheduler.is_held = False
        self.scheduler.forget_received()
        self.scheduler.refusal = lambda request: None
        self.scheduler.load_table.publish(READY)
        self.says("Hello world")

    def says(self, text: str) -> None:
        """The engine will answer with this text, tokenised as the tokenizer likes."""
        ids = self.tokenizer.encode(text, add_special_tokens=False).ids
        self.scheduler.script = lambda request: ids

    def says_bytes(self, text: str) -> None:
        """The engine will answer with this text, one token a byte."""
        ids = byte_tokens(self.tokenizer, text)
        self.scheduler.script = lambda request: ids

    def complete(self, **fields: Any) -> httpx.Response:
        return self.client.post("/v1/completions", json={"model": MODEL, "prompt": "Hello", **fields})

    def chat(self, **fields: Any) -> httpx.Response:
        messages = [{"role": "user", "content": "Hello"}]
        return self.client.post("/v1/chat/completions", json={"model": MODEL, "messages": messages, **fields})


def events(response: httpx.Response) -> list[Any]:
    """The events of a whole stream; the last is the string [DONE] if it ended well."""
    lines = response.text.split("\n\n")
    assert lines.pop() == ""
    return [parse_event(line) for line in lines]


def parse_event(line: str) -> Any:
    assert line.startswith("data: ") and "\n" not in line
    data = line.removeprefix("data: ")
    return data if data == "[DONE]" else json.loads(data)


def live_events(response: httpx.Response) -> Iterator[Any]:
    """The events of a stream as they come."""
    return (parse_event(line) for line in response.iter_lines() if line)


def streamed_text(chunks: list[Any]) -> str:
    """The text of all chunks of a chat or text stream."""
    choices = [choice for chunk in chunks if chunk != "[DONE]" for choice in chunk["choices"]]
    return "".join(choice["text"] if "text" in choice else choice["delta"].get("content", "") for choice in choices)
