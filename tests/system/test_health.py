"""Health of a served appliance: a scheduler that does not move is told of, though nobody asks for anything."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator

import pytest

from tests.system.appliance import Appliance, running_appliance
from tests.system.test_scheduler_loss import until

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def appliance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Appliance]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEMI_PD_PROBE_SECONDS", "1")
        with running_appliance(tmp_path_factory.mktemp("home")) as appliance:
            yield appliance


def test_a_stopped_scheduler_makes_health_say_so_until_it_goes_on(appliance: Appliance) -> None:
    steps = sum(worker["steps"] for worker in appliance.status["scheduler"]["workers"])
    asyncio.run(until(lambda: asked_twice(appliance, steps), "asked by the gateway itself"))
    assert appliance.client.get("/health").status_code == 200
    (scheduler,) = appliance.processes("engine.scheduler")
    os.kill(scheduler.pid, signal.SIGSTOP)
    try:
        asyncio.run(until(lambda: appliance.client.get("/health").status_code == 503, "unhealthy"))
        assert appliance.health["reason"].startswith("No token has come through for ")
    finally:
        os.kill(scheduler.pid, signal.SIGCONT)
    asyncio.run(until(lambda: appliance.client.get("/health").status_code == 200, "healthy again"))
    assert appliance.post("/v1/completions", prompt="import os", max_tokens=4)["choices"]
    assert appliance.pages_in_use == 0


def asked_twice(appliance: Appliance, steps: int) -> bool:
    """Of two tokens, one is prefill's and one decode's."""
    return sum(worker["steps"] for worker in appliance.status["scheduler"]["workers"]) >= steps + 4
