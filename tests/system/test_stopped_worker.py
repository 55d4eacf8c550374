"""A worker that is stopped while it has work is noticed and replaced; when it goes on it is no more."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator

import httpx
import psutil
import pytest

from tests.system.appliance import Appliance, running_appliance
from tests.system.test_leaving import until, worker_pid

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def appliance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Appliance]:
    with running_appliance(tmp_path_factory.mktemp("home")) as appliance:
        yield appliance


@pytest.mark.parametrize("victim", ["decode", "prefill"])
def test_a_stopped_worker_is_ended_and_every_answer_is_the_undisturbed_one(appliance: Appliance, victim: str) -> None:
    prompts = [f"Number {number}: def main():" for number in range(8)]
    asked = {"temperature": 0, "max_tokens": 120, "ignore_eos": True, "return_token_ids": True}
    undisturbed = [tokens(appliance.post("/v1/completions", prompt=prompt, **asked)) for prompt in prompts]
    pid = worker_pid(appliance, victim)

    async def disturb() -> list[list[int]]:
        async with httpx.AsyncClient(
            base_url=appliance.url, headers=appliance.client.headers, timeout=120.0, trust_env=False
        ) as client:
            bodies = [{"model": appliance.model, "prompt": prompt, **asked} for prompt in prompts]
            first = [asyncio.create_task(client.post("/v1/completions", json=body)) for body in bodies[:6]]
            await until(lambda: appliance.health["running"] == 6, "six running")
            os.kill(pid, signal.SIGSTOP)
            later = [asyncio.create_task(client.post("/v1/completions", json=body)) for body in bodies[6:]]
            await until(lambda: not psutil.pid_exists(pid), "ended")
            return [tokens(answer.json()) for answer in await asyncio.gather(*first, *later)]

    assert asyncio.run(disturb()) == undisturbed
    assert "had work and did not move" in appliance.serve.output
    assert appliance.pages_in_use == 0
    with pytest.raises(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)


def tokens(answer: dict) -> list[int]:
    return answer["choices"][0]["token_ids"]
