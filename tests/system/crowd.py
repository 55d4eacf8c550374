"""Clients of several appliances that have one key, each with room for few."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, NamedTuple

import httpx

from tests.system.appliance import Appliance

API_KEY = "sk-the-same-on-every-box"
RUNNING, QUEUE = 2, 2
LONG = 1500
"""Tokens of an answer that outlasts whatever a test does meanwhile."""
UNTIL_SECONDS = 60.0


class Answer(NamedTuple):
    """`box`: the address that the router says it asked. `events`: the data of a stream's events."""

    status: int
    box: str | None
    retry_after: str | None
    events: list[dict[str, Any]]

    @property
    def text(self) -> str:
        return "".join(event["choices"][0]["text"] for event in self.events)


async def until(is_so: Callable[[], bool], what: str) -> None:
    """Ask again until it is so: probes and reports come by the second."""
    try:
        async with asyncio.timeout(UNTIL_SECONDS):
            while not is_so():
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(f"never {what}") from None


def new_client() -> httpx.AsyncClient:
    return httpx.AsyncClient(headers={"Authorization": f"Bearer {API_KEY}"}, timeout=300.0, trust_env=False)


async def ask(client: httpx.AsyncClient, url: str, max_tokens: int = 4) -> Answer:
    """A streamed completion from one box or from the router."""
    body = {"model": "demo-model", "prompt": "import os", "max_tokens": max_tokens, "temperature": 0}
    body |= {"ignore_eos": True, "stream": True}
    async with client.stream("POST", f"{url}/v1/completions", json=body) as answer:
        box, wait = answer.headers.get("x-smg-routed-worker-id"), answer.headers.get("retry-after")
        if answer.status_code != 200:
            return Answer(answer.status_code, box, wait, [json.loads(await answer.aread())])
        lines = [line async for line in answer.aiter_lines() if line.startswith("data: ")]
        assert lines[-1] == "data: [DONE]"
        return Answer(200, box, wait, [json.loads(line.removeprefix("data: ")) for line in lines[:-1]])


def has(box: Appliance, running: int, waiting: int = 0) -> bool:
    health = box.health
    return health["running"] == running and health["waiting"] == waiting


def is_empty(box: Appliance) -> bool:
    return has(box, 0) and box.pages_in_use == 0


@asynccontextmanager
async def full(client: httpx.AsyncClient, *boxes: Appliance) -> AsyncIterator[None]:
    """Fill boxes from beside the router, as another router's load would; all leave at the end."""
    crowd: list[asyncio.Task[Answer]] = []
    try:
        for box in boxes:
            for more, waiting in ((RUNNING, 0), (QUEUE, QUEUE)):  # all at once would be more than the queue takes
                crowd += [asyncio.create_task(ask(client, box.url, LONG)) for _ in range(more)]
                await until(partial(has, box, RUNNING, waiting), "full")
        yield
    finally:
        for one in crowd:
            one.cancel()
        await asyncio.gather(*crowd, return_exceptions=True)
        for box in boxes:
            await until(partial(is_empty, box), "empty")


def running_at(url: str) -> int:
    return httpx.get(f"{url}/health", trust_env=False).json()["running"]
