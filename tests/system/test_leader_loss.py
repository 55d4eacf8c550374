"""A leader of a served appliance is killed, and its workers with it: no accepted request is lost."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from appliance.rotation.restarts import MAX_LOSSES
from tests.system.appliance import Appliance, ServeProcess, running_appliance, unused_port
from tests.system.test_scheduler_loss import PROMPTS, answers_around, asked, until

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def appliance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Appliance]:
    with running_appliance(tmp_path_factory.mktemp("home")) as appliance:
        yield appliance


def test_the_other_slot_takes_over_from_a_killed_leader_and_from_the_next(appliance: Appliance) -> None:
    undisturbed = [appliance.post("/v1/completions", **asked(prompt))["choices"][0]["token_ids"] for prompt in PROMPTS]
    for _ in range(2):
        slot, workers = serving(appliance)
        assert asyncio.run(answers_around(appliance, kill_serving_leader)) == undisturbed
        assert serving(appliance)[0] != slot
        asyncio.run(until(lambda pids=workers: not any(map(psutil.pid_exists, pids)), "ended with their leader"))
        assert appliance.pages_in_use == 0
        asyncio.run(until(lambda slot=slot: has_spares(appliance, slot), "with spares under another leader"))
    assert "The leader-a process was ended by SIGKILL." in appliance.serve.output


def test_the_end_of_the_leader_that_keeps_the_spares_is_not_noticed_by_requests(appliance: Appliance) -> None:
    slot, workers = serving(appliance)
    other = "b" if slot == "a" else "a"
    asyncio.run(until(lambda: has_spares(appliance, other), "with spares"))
    spares = appliance.status["spares"][other]
    os.kill(appliance.status["processes"][f"leader-{other}"], signal.SIGKILL)
    asyncio.run(until(lambda: has_spares(appliance, other, but=spares), "with other spares"))
    assert serving(appliance) == (slot, workers)


def test_a_spare_that_was_killed_is_replaced(appliance: Appliance) -> None:
    slot, workers = serving(appliance)
    other = "b" if slot == "a" else "a"
    asyncio.run(until(lambda: has_spares(appliance, other), "with spares"))
    killed = appliance.status["spares"][other][0]
    os.kill(killed, signal.SIGKILL)
    asyncio.run(until(lambda: has_spares(appliance, other, but=[killed]), "with another spare"))
    assert serving(appliance) == (slot, workers)


def test_a_fourth_loss_within_a_minute_ends_the_appliance_with_the_reason(tmp_path: Path) -> None:
    serve = ServeProcess(tmp_path, "--port", str(unused_port()))
    try:
        serve.wait_until_served()
        appliance = Appliance(serve)
        for _ in range(MAX_LOSSES):
            leader = appliance.status["processes"]["leader-b"]
            os.kill(leader, signal.SIGKILL)
            asyncio.run(
                until(lambda leader=leader: appliance.status["processes"]["leader-b"] != leader, "started again")
            )
        children = psutil.Process(serve.process.pid).children(recursive=True)
        os.kill(appliance.status["processes"]["leader-b"], signal.SIGKILL)
        assert serve.end() != 0
        assert "It is the 4th leader that ended within 60 s." in serve.output
        _, left = psutil.wait_procs(children, timeout=10)
        assert not [child for child in left if child.status() != psutil.STATUS_ZOMBIE]
        appliance.client.close()
    finally:
        if serve.process.poll() is None:
            serve.process.kill()


def serving(appliance: Appliance) -> tuple[str, list[int]]:
    """The slot of the group that serves, and its workers."""
    (group,) = [group for group in appliance.status["groups"] if group["stage"] == "active"]
    return group["slot"], group["pids"]


def kill_serving_leader(appliance: Appliance) -> None:
    slot, _ = serving(appliance)
    os.kill(appliance.status["processes"][f"leader-{slot}"], signal.SIGKILL)


def has_spares(appliance: Appliance, slot: str, but: list[int] | None = None) -> bool:
    spares = appliance.status["spares"].get(slot, [])
    return len(spares) == 2 and not set(spares) & set(but or ())
