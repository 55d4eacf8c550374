"""A group that stands by: it takes over what the group that serves leaves, and another stands by in its place."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from tests.system.appliance import Appliance, running_appliance
from tests.system.test_leaving import worker_pid
from tests.system.test_rotation import rotate, under_load

pytestmark = pytest.mark.system

ASKS = 600
"""Each is a process of its own, and takes about half a second."""


@pytest.fixture(scope="module")
def appliance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Appliance]:
    with running_appliance(tmp_path_factory.mktemp("home"), "--standby", "warm") as appliance:
        yield appliance


def standing_by(appliance: Appliance) -> dict[str, Any]:
    """The group that stands by, once it does."""
    for _ in range(ASKS):
        stages = {group["stage"]: group for group in appliance.status["groups"]}
        if "standby" in stages and len(stages) == 2:
            return stages["standby"]
    raise AssertionError(f"nobody ever stood by: {appliance.status['groups']}")


def serving_epoch(appliance: Appliance) -> int:
    (epoch,) = [group["epoch"] for group in appliance.status["groups"] if group["stage"] == "active"]
    return epoch


def test_it_takes_over_what_a_killed_worker_had(appliance: Appliance) -> None:
    def lose(phase: str) -> None:
        standby = standing_by(appliance)
        os.kill(worker_pid(appliance, phase), signal.SIGKILL)
        assert standing_by(appliance)["epoch"] > standby["epoch"]
        assert serving_epoch(appliance) == standby["epoch"]

    under_load(appliance, [partial(lose, "decode"), partial(lose, "prefill")])


def test_a_rotation_is_a_change_of_the_group_that_stands_by(appliance: Appliance) -> None:
    standby = standing_by(appliance)

    def rotated() -> None:
        done = rotate(appliance, 30, 70, "--new-group")
        assert done.returncode == 0, done.stdout + done.stderr

    under_load(appliance, [rotated])
    status = appliance.status
    assert (serving_epoch(appliance), status["split_in_force"]) == (standby["epoch"], "30/70")
    assert standing_by(appliance)["split"] == "30/70"


def test_it_follows_a_split_taken_in_place(appliance: Appliance) -> None:
    standby = standing_by(appliance)
    done = rotate(appliance, 60, 40)
    assert done.returncode == 0 and "in place" in done.stdout, done.stdout + done.stderr
    assert serving_epoch(appliance) < standing_by(appliance)["epoch"] == standby["epoch"]
    workers = [worker for worker in appliance.status["scheduler"]["workers"] if not worker["is_active"]]
    assert {worker["share_percentage"] for worker in workers} == {60, 40}


def test_another_schedulers_group_is_made_of_spares(appliance: Appliance) -> None:
    standby, spares = standing_by(appliance), spares_of_both_slots(appliance)
    os.kill(appliance.status["processes"]["scheduler"], signal.SIGKILL)
    assert standing_by(appliance)["epoch"] > standby["epoch"]
    (serving,) = [group for group in appliance.status["groups"] if group["stage"] == "active"]
    assert set(serving["pids"]) == spares[serving["slot"]], "nobody had to import anything"


def spares_of_both_slots(appliance: Appliance) -> dict[str, set[int]]:
    """By slot, once all are ready."""
    for _ in range(ASKS):
        spares = {slot: set(pids) for slot, pids in appliance.status["spares"].items()}
        if len(spares) == 2 and all(spares.values()):
            return spares
    raise AssertionError(f"there never were spares in both slots: {appliance.status['spares']}")
