"""From one release to another while text streams: no request is lost there or back, and what is cut short goes on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.lab.lab import INSTALL, OFFLINE, Lab, make_bundle, running_lab
from tests.lab.releases import break_gateway, change_format, in_force, is_served

pytestmark = [pytest.mark.long, pytest.mark.system, pytest.mark.timeout(1800)]

LOAD = (Path(__file__).parent / "load.py").read_text()
LONG, SHORT = (6, 300), (2, 8)
"""Clients, and tokens of each of their requests: some outlive a step of an upgrade, others come in the midst of it."""
ENGINE_AND_FRONT = ("scheduler", "group@a", "group@b", "controller", "console", "gateway")
CUT_AT = (
    "back the database up",
    "remember 0.1.0",
    "put release 0.2.0 in force",
    "restart slot",
    "rotate to workers",
    "restart the scheduler",
    "restart the console",
    "start a second generation",
    "replace the first",
    "end the second",
)


@pytest.fixture(scope="module")
def machine(bundles: Path) -> Iterator[Lab]:
    """A machine on which 0.1.0 runs; 0.2.0 is good, the gateway of 0.3.0 does not start, 0.4.0 has other messages."""
    make_bundle(bundles, "0.2.0")
    break_gateway(make_bundle(bundles, "0.3.0"))
    change_format(make_bundle(bundles, "0.4.0"))
    with running_lab("upgraded", bundles) as lab:
        lab.install()
        yield lab


class Load:
    """Clients that stream in the machine; `told` is their summary once they have been told to stop."""

    def __init__(self, lab: Lab, clients: int, tokens: int):
        self.told: dict[str, Any] = {}
        self._lab = lab
        self._clients = clients
        self._stop = f"/run/stop-{clients}-{tokens}"
        lab.run("rm", "-f", self._stop)
        key = lab.run("cat", "/var/lib/semi-pd/api-key").strip()
        self._process = lab.start("python3", "-c", LOAD, key, str(clients), str(tokens), self._stop)

    def wait_until_started(self) -> None:
        assert self._process.stdout is not None
        assert json.loads(self._process.stdout.readline()) == {"started": True}

    def stop(self) -> None:
        self._lab.run("touch", self._stop)
        said, _ = self._process.communicate()
        self.told = json.loads(said)
        print(self.told)

    def assert_nothing_was_lost(self) -> None:
        """Who is refused has been told so with 503, and has lost nothing."""
        assert self.told["broken"] == []
        assert self.told["different_answers"] == 1
        assert self.told["whole"] >= self._clients


@contextmanager
def load(lab: Lab) -> Iterator[None]:
    """Nothing of it may be lost."""
    loads = [Load(lab, *LONG), Load(lab, *SHORT)]
    try:
        for one in loads:
            one.wait_until_started()
        yield
    finally:
        for one in loads:
            one.stop()
    for one in loads:
        one.assert_nothing_was_lost()


def releases_of_processes(lab: Lab) -> set[str]:
    """The releases in which the units' processes were started, less the resident's."""
    return {release_of(lab, name) for name in ENGINE_AND_FRONT}


def release_of(lab: Lab, name: str) -> str:
    cwd = lab.run("readlink", f"/proc/{lab.main_pid(f'semi-pd-{name}.service')}/cwd")
    return Path(cwd.strip()).parent.name


def test_there_and_back_no_request_is_lost(machine: Lab) -> None:
    resident = machine.main_pid("semi-pd-resident.service")
    with load(machine):
        machine.install("--upgrade", version="0.2.0")
    assert in_force(machine) == "0.2.0"
    assert releases_of_processes(machine) == {"0.2.0"}
    assert machine.main_pid("semi-pd-resident.service") == resident
    assert not machine.is_active("semi-pd-gateway-next.service")
    assert "reason" in (rotations := machine.run("semi-pd", "rotations", "--json")) and "upgrade" in rotations

    machine.run("systemctl", "start", "semi-pd-gateway-next.service")  # as a run that was killed would leave it
    with load(machine):
        machine.install("--rollback", version="0.2.0")
    assert not machine.is_active("semi-pd-gateway-next.service")
    assert in_force(machine) == "0.1.0"
    assert releases_of_processes(machine) == {"0.1.0"}


def test_a_release_whose_gateway_does_not_start_goes_back_by_itself_and_loses_none(machine: Lab) -> None:
    with load(machine):
        said = machine.install("--upgrade", version="0.3.0", status=1)
    assert "this release is broken" in said
    assert "restore the database of before the upgrade" in said
    assert "Release 0.3.0 did not serve, and 0.1.0 is in force again" in said
    assert in_force(machine) == "0.1.0"
    assert releases_of_processes(machine) == {"0.1.0"}


def test_a_release_with_other_formats_asks_for_a_drain(machine: Lab) -> None:
    resident = machine.main_pid("semi-pd-resident.service")
    said = machine.install("--upgrade", version="0.4.0", status=1)
    assert "Release 0.4.0 changes what running processes share (messages)" in said
    assert "--drain" in said
    assert in_force(machine) == "0.1.0"
    assert machine.main_pid("semi-pd-resident.service") == resident

    machine.install("--upgrade", "--drain", version="0.4.0")
    assert in_force(machine) == "0.4.0"
    assert machine.main_pid("semi-pd-resident.service") != resident
    machine.install("--rollback", "--drain", version="0.4.0")
    assert in_force(machine) == "0.1.0"


def cut_upgrade(lab: Lab, after: list[str]) -> str | None:
    """Take the power away at the first step where that was not done yet, and tell which; None if it came through."""
    with lab.start(INSTALL.format(version="0.2.0"), *OFFLINE, "--upgrade") as upgrading:
        assert upgrading.stdout is not None
        for line in upgrading.stdout:
            step = next((step for step in CUT_AT if step in line and step not in after), None)
            if step is not None:
                lab.cut()
                return step
    assert upgrading.returncode == 0
    return None


def test_the_power_cut_at_any_step_it_comes_up_with_its_data_and_goes_on(machine: Lab) -> None:
    key = machine.run("cat", "/var/lib/semi-pd/api-key")
    machine.run("semi-pd", "slo", "--ttft-ms", "432", "--reason", "kept")
    cut_at: list[str] = []
    while (step := cut_upgrade(machine, after=cut_at)) is not None:
        cut_at.append(step)
        machine.up()
        machine.run("systemctl", "start", "semi-pd-controller.service")
        assert is_served(machine), step
        assert in_force(machine) in ("0.1.0", "0.2.0")
        assert machine.run("cat", "/var/lib/semi-pd/api-key") == key
        assert json.loads(machine.run("semi-pd", "status", "--json"))["slo"]["target"]["ttft_target_ms"] == 432, step
        if in_force(machine) == "0.2.0":  # else what comes later in an upgrade would have been done by the start
            assert "going on with it" in machine.install("--upgrade", version="0.2.0")
            machine.install("--rollback", "--drain", version="0.2.0")
    assert len(cut_at) >= len(CUT_AT) - 2, "some steps are so fast that the next one is begun before the power is off"
    assert in_force(machine) == "0.2.0"
    assert releases_of_processes(machine) == {"0.2.0"}
