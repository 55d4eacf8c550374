"""A controller that is killed in the middle of a rotation, as a service: requests go on, and so can the next one."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.control.client import Conversation
from appliance.control.messages import AskRotation
from bench.faults.point import Trap
from engine.fault_point import VARIABLE, FaultPoint
from engine.request import FinishReason
from tests.machine.services import Services, running_services
from tests.machine.test_controller import stream

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("points")


@pytest.fixture(scope="module")
def services(folder: Path) -> Iterator[Services]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, str(folder))
        with running_services() as services:
            yield services


@pytest.mark.parametrize("point", [point for point in FaultPoint if point.startswith("controller")])
def test_a_rotation_that_loses_its_controller_leaves_one_group_and_no_request_ends(
    services: Services, folder: Path, point: FaultPoint
) -> None:
    assert services.rotate(50, 50).done
    trap = Trap(folder)
    with services.client() as client, Conversation(services.instance) as left_without_an_answer:
        tokens = stream(client, max_tokens=600)
        next(tokens)
        trap.arm(point)
        left_without_an_answer.send(AskRotation(60, 40, new_group=True))
        assert trap.caught(point) == services.supervisor.children["controller"].pid
        next(tokens)
        services.end("controller", signal.SIGKILL)
        next(tokens)
        services.start("controller")
        after = services.status()
        *_, finish = tokens
        assert services.rotate(40, 60).done, "and it can be moved on from there"
    assert finish == FinishReason.LENGTH
    moved = point is FaultPoint.CONTROLLER_RETIRES
    assert after["split_in_force"] == ("60/40" if moved else "50/50")
