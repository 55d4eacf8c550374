"""The scheduler of a served appliance is killed: no accepted request is lost, and no token of any is another."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from appliance.rotation.restarts import MAX_LOSSES
from tests.system.appliance import Appliance, ServeProcess, running_appliance, unused_port

pytestmark = pytest.mark.system

STREAMS, WHOLE = 8, 4
PROMPTS = [f"Number {number}: class Counter(dict):" for number in range(STREAMS + WHOLE)]


@pytest.fixture(scope="module")
def appliance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Appliance]:
    with running_appliance(tmp_path_factory.mktemp("home")) as appliance:
        yield appliance


def test_a_killed_scheduler_loses_no_accepted_request_and_neither_does_the_next(appliance: Appliance) -> None:
    undisturbed = [appliance.post("/v1/completions", **asked(prompt))["choices"][0]["token_ids"] for prompt in PROMPTS]
    for loss in (1, 2):
        split, epoch = appliance.status["split_in_force"], newest_epoch(appliance)
        assert asyncio.run(answers_around(appliance, kill_scheduler)) == undisturbed
        assert appliance.pages_in_use == 0
        status = appliance.status
        assert len(status["scheduler_losses"]) == loss
        sentence = status["scheduler_losses"][-1]["sentence"]
        assert sentence.startswith("The scheduler process was ended by SIGKILL. Another took over, with a new group")
        assert sentence in appliance.serve.output
        assert (status["split_in_force"], status["health"]["healthy"]) == (split, True)
        assert newest_epoch(appliance) == epoch + 1, "one other group was formed"


def test_with_nothing_to_do_it_serves_again_and_nothing_of_the_old_group_is_left(appliance: Appliance) -> None:
    before = {pid for group in appliance.status["groups"] for pid in group["pids"]}
    losses = len(appliance.status["scheduler_losses"])
    kill_scheduler(appliance)
    asyncio.run(until(lambda: has_taken_over(appliance, losses + 1), "taken over"))
    assert not [pid for pid in before if psutil.pid_exists(pid)]
    assert appliance.post("/v1/completions", prompt="import os", max_tokens=4)["choices"]
    assert appliance.pages_in_use == 0


def test_a_fourth_loss_within_a_minute_ends_the_appliance_with_the_reason(tmp_path: Path) -> None:
    serve = ServeProcess(tmp_path, "--port", str(unused_port()))
    try:
        serve.wait_until_served()
        appliance = Appliance(serve)
        for losses in range(1, MAX_LOSSES + 1):
            kill_scheduler(appliance)
            asyncio.run(until(lambda losses=losses: has_taken_over(appliance, losses), "taken over"))
        children = psutil.Process(serve.process.pid).children(recursive=True)
        kill_scheduler(appliance)
        assert serve.end() != 0
        assert "It is the 4th scheduler that ended within 60 s." in serve.output
        assert not [child for child in children if child.is_running()]
        appliance.client.close()
    finally:
        if serve.process.poll() is None:
            serve.process.kill()


# ── requests ────────────────────────────────────────────────────────────────────────────────────────────────────────


def asked(prompt: str) -> dict[str, Any]:
    return {"prompt": prompt, "temperature": 0, "max_tokens": 120, "ignore_eos": True, "return_token_ids": True}


async def answers_around(appliance: Appliance, disturb: Callable[[Appliance], None]) -> list[list[int]]:
    """The tokens of all prompts, the first eight streamed; `disturb` is called once all of them are computed."""
    async with httpx.AsyncClient(
        base_url=appliance.url, headers=appliance.client.headers, timeout=120.0, trust_env=False
    ) as client:
        streamed = [asyncio.create_task(stream(client, appliance, prompt)) for prompt in PROMPTS[:STREAMS]]
        whole = [asyncio.create_task(answer(client, appliance, prompt)) for prompt in PROMPTS[STREAMS:]]
        await until(lambda: appliance.health["running"] == len(PROMPTS), "all running")
        disturb(appliance)
        return await asyncio.gather(*streamed, *whole)


async def stream(client: httpx.AsyncClient, appliance: Appliance, prompt: str) -> list[int]:
    tokens: list[int] = []
    body = {"model": appliance.model, "stream": True, **asked(prompt)}
    async with client.stream("POST", "/v1/completions", json=body) as response:
        assert response.status_code == 200, await response.aread()
        async for line in response.aiter_lines():
            if line.startswith("data: {"):
                chunk = json.loads(line.removeprefix("data: "))
                assert "error" not in chunk, chunk
                tokens += chunk["choices"][0]["token_ids"] or []
    return tokens


async def answer(client: httpx.AsyncClient, appliance: Appliance, prompt: str) -> list[int]:
    response = await client.post("/v1/completions", json={"model": appliance.model, **asked(prompt)})
    assert response.status_code == 200, response.text
    return response.json()["choices"][0]["token_ids"]


# ── the scheduler ───────────────────────────────────────────────────────────────────────────────────────────────────


def kill_scheduler(appliance: Appliance) -> None:
    (scheduler,) = appliance.processes("engine.scheduler")
    os.kill(scheduler.pid, signal.SIGKILL)


def has_taken_over(appliance: Appliance, losses: int) -> bool:
    status = appliance.status
    return (
        len(status["scheduler_losses"]) == losses
        and status["scheduler_losses"][-1]["pause_seconds"] is not None
        and status["health"]["healthy"]
    )


def newest_epoch(appliance: Appliance) -> int:
    return max(group["epoch"] for group in appliance.status["groups"])


async def until(is_so: Callable[[], bool], what: str) -> None:
    """Ask again, for at most ten seconds and as long as asking takes."""
    for _ in range(200):
        if is_so():
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"never {what}")
