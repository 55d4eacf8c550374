"""Clients come in crowds and leave when they like; workers die. No page stays in use, no answer is lost."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import Callable

import httpx
import pytest

from tests.system.appliance import Appliance, running_appliance

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def appliance(tmp_path_factory: pytest.TempPathFactory):
    with running_appliance(tmp_path_factory.mktemp("home")) as appliance:
        yield appliance


async def stream(client: httpx.AsyncClient, appliance: Appliance, seed: int, stay: Callable[[int], bool]) -> int:
    """Read a stream as long as `stay` says; the number of chunks read."""
    body = {
        "model": appliance.model,
        "messages": [{"role": "user", "content": f"Number {seed}: what does os.path.join do?"}],
        "max_tokens": 40,
        "ignore_eos": True,
        "seed": seed,
        "stream": True,
    }
    chunks = 0
    async with client.stream("POST", "/v1/chat/completions", json=body) as answer:
        assert answer.status_code == 200, await answer.aread()
        async for line in answer.aiter_lines():
            chunks += line.startswith("data: {")
            if not stay(chunks):
                break
    return chunks


async def until(is_so: Callable[[], bool], what: str) -> None:
    """Ask again, for at most ten seconds: the last reports are on their way."""
    for _ in range(200):
        if is_so():
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"never {what}")


@pytest.mark.parametrize("streams", [200, pytest.param(1000, marks=[pytest.mark.long, pytest.mark.timeout(1200)])])
def test_clients_that_leave_at_random_leave_no_page_behind(appliance: Appliance, streams: int) -> None:
    draw = random.Random(5)
    leave_after = [draw.randrange(1, 60) for _ in range(streams)]

    async def crowd() -> None:
        limits = httpx.Limits(max_connections=streams)
        headers = appliance.client.headers
        async with httpx.AsyncClient(
            base_url=appliance.url, headers=headers, limits=limits, timeout=600.0, trust_env=False
        ) as client:
            await asyncio.gather(
                *(
                    stream(client, appliance, seed, lambda chunks, last=last: chunks < last)
                    for seed, last in enumerate(leave_after)
                )
            )
        await until(lambda: appliance.health["running"] == appliance.health["waiting"] == 0, "at rest")

    asyncio.run(crowd())
    assert appliance.pages_in_use == 0
    assert appliance.post("/v1/completions", prompt="import os", max_tokens=4)["choices"]


@pytest.mark.parametrize("victim", ["prefill", "decode"])
def test_a_killed_worker_loses_no_answer(appliance: Appliance, victim: str) -> None:
    """Another group is started and computes again what was in flight; the streams just go on."""
    asked = {"prompt": "class Counter(dict):", "temperature": 0, "max_tokens": 120, "ignore_eos": True}
    undisturbed = appliance.post("/v1/completions", return_token_ids=True, **asked)["choices"][0]["token_ids"]

    async def disturb() -> list[list[int]]:
        async with httpx.AsyncClient(
            base_url=appliance.url, headers=appliance.client.headers, timeout=120.0, trust_env=False
        ) as client:
            body = {"model": appliance.model, "return_token_ids": True, **asked}
            answers = [asyncio.create_task(client.post("/v1/completions", json=body)) for _ in range(8)]
            await until(lambda: appliance.health["running"] == 8, "all running")
            os.kill(worker_pid(appliance, victim), signal.SIGKILL)
            return [answer.json()["choices"][0]["token_ids"] for answer in await asyncio.gather(*answers)]

    assert asyncio.run(disturb()) == [undisturbed] * 8
    assert appliance.pages_in_use == 0


def worker_pid(appliance: Appliance, phase: str) -> int:
    """The process that serves a phase now."""
    (pid,) = [
        worker["pid"]
        for worker in appliance.status["scheduler"]["workers"]
        if worker["is_active"] and phase in worker["phases"]
    ]
    return pid
