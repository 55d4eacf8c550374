"""The resident of a served appliance is killed, and weights and pages with it: requests are computed again, or told."""

from __future__ import annotations

import asyncio
import json
import math
import os
import signal
from pathlib import Path

import httpx
import pytest

from engine.config import PortArgs
from engine.device.cpu import CpuDevice
from engine.resident.attachment import attach
from tests.system.appliance import Appliance, running_appliance
from tests.system.crowd import until
from tests.system.test_scheduler_loss import PROMPTS, answers_around, asked

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]

EMBEDDING = "embed"


def test_after_a_cold_start_every_accepted_request_has_the_undisturbed_answer(tmp_path: Path) -> None:
    with running_appliance(tmp_path) as appliance:
        undisturbed = [
            appliance.post("/v1/completions", **asked(prompt))["choices"][0]["token_ids"] for prompt in PROMPTS
        ]
        before = {process.pid for process in processes(appliance)}
        assert asyncio.run(answers_around(appliance, kill_resident)) == undisturbed
        assert not before & {process.pid for process in processes(appliance)}
        assert appliance.pages_in_use == 0
        assert "The resident process was ended by SIGKILL." in appliance.serve.output


def test_weights_that_a_lost_worker_may_have_damaged_are_loaded_anew(tmp_path: Path) -> None:
    """The damage is too small to change a token: it is found because the resident looks, once a worker is lost."""
    with running_appliance(tmp_path) as appliance:
        undisturbed = [
            appliance.post("/v1/completions", **asked(prompt))["choices"][0]["token_ids"] for prompt in PROMPTS
        ]
        before = {process.pid for process in appliance.processes("engine.resident")}
        assert asyncio.run(answers_around(appliance, damage_weights_and_kill_a_worker)) == undisturbed
        assert not before & {process.pid for process in appliance.processes("engine.resident")}
        assert appliance.pages_in_use == 0
        assert "The resident process ended with exit code 1." in appliance.serve.output


def test_who_cannot_wait_for_the_cold_start_is_told_when_to_come_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEMI_PD_ENGINE_PATIENCE_SECONDS", "0.1")
    with running_appliance(tmp_path) as appliance:
        body = {"model": appliance.model, **asked(PROMPTS[0]), "max_tokens": 1500}

        async def disturb() -> tuple[str, httpx.Response]:
            async with httpx.AsyncClient(
                base_url=appliance.url, headers=appliance.client.headers, timeout=120.0, trust_env=False
            ) as client:
                streamed = asyncio.create_task(client.post("/v1/completions", json={**body, "stream": True}))
                whole = asyncio.create_task(client.post("/v1/completions", json=body))
                await until(lambda: appliance.health["running"] == 2, "running")
                kill_resident(appliance)
                return (await streamed).text, await whole

        streamed, whole = asyncio.run(disturb())
        assert (whole.status_code, whole.headers["retry-after"]) == (503, "2")
        last = [line for line in streamed.split("\n\n") if line][-1]
        error = json.loads(last.removeprefix("data: "))["error"]
        assert (error["code"], error["message"]) == (
            "overloaded",
            "The engine went away before the answer was complete.",
        )
        asyncio.run(until(lambda: appliance.client.get("/health").status_code == 200, "served again"))
        assert appliance.post("/v1/completions", prompt="import os", max_tokens=4)["choices"]


def kill_resident(appliance: Appliance) -> None:
    (resident,) = appliance.processes("engine.resident")
    os.kill(resident.pid, signal.SIGKILL)


def damage_weights_and_kill_a_worker(appliance: Appliance) -> None:
    """The lowest bit of the last embedding's last number is turned round."""
    (resident,) = appliance.processes("engine.resident")
    with attach(PortArgs(Path(resident.cmdline()[-1])).resident_path, 10.0) as memory:
        embedding = memory.manifest.weights[EMBEDDING]
        last = embedding.offset + 4 * math.prod(embedding.shape) - 4
        memory.map_weights(CpuDevice())[last] ^= 1  # little-endian: the lowest byte comes first
    workers = [worker for worker in appliance.status["scheduler"]["workers"] if worker["is_active"]]
    (decode,) = (worker for worker in workers if worker["phases"] == ["decode"])
    os.kill(decode["pid"], signal.SIGKILL)


def processes(appliance: Appliance) -> list:
    """Those that had the resident's memory mapped."""
    workers = {pid for group in appliance.status["groups"] for pid in group["pids"]}
    mapped = [*appliance.processes("engine.resident"), *appliance.processes("engine.scheduler")]
    return [*mapped, *(process for process in appliance.processes("engine.worker") if process.pid in workers)]
