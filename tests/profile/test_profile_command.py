"""`semi-pd profile` as a user runs it, and what an appliance makes of the profile that is kept."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from appliance.coordinator import create_semi_pd_coordinator
from appliance.profile.fitting import key_of
from appliance.profile.store import ProfileStore
from appliance.rotation import ProcessRotationManager, SMAllocation
from appliance.slo import Mode
from engine.allocation import Phase
from engine.config import PortArgs, ServerArgs
from engine.errors import CannotStart
from engine.profile.record import MachineProfile
from tests.profile.measured import a_profile
from tests.system.appliance import unused_port

pytestmark = pytest.mark.system

FAILED = {(Phase.DECODE, 25): "down, 64 × 9 by 9 × 4 (library): 7 of 256 numbers were not written"}


def profile(home: Path, *options: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("XDG_STATE")}
    return subprocess.run(
        [sys.executable, "-m", "appliance", "profile", "--device", "cpu", *options],
        env={**environment, "HOME": str(home), "COLUMNS": "120"},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_it_is_made_once_and_shown(tmp_path: Path) -> None:
    first = profile(tmp_path, "--step", "50", "--json")
    assert first.returncode == 0, first.stderr
    made = msgspec.json.decode(first.stdout, type=MachineProfile)
    assert [str(rung.split) for rung in made.rungs] == ["50/50"]
    assert {(test.phase, test.share) for test in made.tests} == {
        (phase, share) for phase in Phase for share in (50, 100)
    }
    assert all(test.passed for test in made.tests) and len(made.offered) == 1
    (path,) = tmp_path.glob(".local/state/semi-pd/profiles/*.json")
    assert str(path) in first.stderr
    shown = profile(tmp_path)
    assert shown.returncode == 0 and "50/50" in shown.stdout and made.measured_at in shown.stdout


@pytest.mark.long
def test_every_split_of_the_ladder_is_made_and_made_again_when_asked(tmp_path: Path) -> None:
    made, again = (json.loads(profile(tmp_path, "--json", *options).stdout) for options in ((), ("--remake",)))
    assert len(made["rungs"]) == len(again["rungs"]) == 9
    assert all(rung["prefill"] and rung["decode"] for rung in again["rungs"])
    assert again["measured_at"] > made["measured_at"]


def test_what_cannot_be_is_one_sentence(tmp_path: Path) -> None:
    refused = profile(tmp_path, "--splitter", "mps")
    assert refused.returncode == 78
    assert refused.stderr.strip() == "The setting splitter cannot be 'mps' on the CPU: it can be duty or none."
    assert not list(tmp_path.iterdir())
    assert "divides nothing" in profile(tmp_path, "--splitter", "none").stderr


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ServerArgs:
    """Of a user whose kept profile says that decode was wrong at 25 %."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    settings = ServerArgs(device="cpu", port=unused_port())
    key = key_of(settings.for_device("cpu"))
    ProfileStore.of_user().keep(replace(a_profile(FAILED), key=key))
    return settings


def test_what_failed_is_refused_and_what_passed_is_chosen_from(settings: ServerArgs) -> None:
    said: list[str] = []
    coordinator = create_semi_pd_coordinator(
        settings, PortArgs.init_new(settings), 50, 50, mode=Mode.MANUAL, endpoint=False, say=said.append
    )
    with coordinator:
        manager, policy = coordinator.rotation_manager, coordinator.slo_manager
        groups = manager.status["groups"]
        assert not manager.request_sm_reallocation(SMAllocation(75, 25))
        record = manager.status["rotations"][-1]
        assert "was not made: Decode at 25 % failed the self-test" in record["sentence"]
        assert (manager.allocation_in_force, manager.status["groups"]) == (SMAllocation(50, 50), groups)
        assert manager.request_sm_reallocation(SMAllocation(25, 75)), "others are made"
        assert [str(split) for split in policy._settings.ladder] == ["25/75", "50/50"]
        assert policy._predictor.profile.speeds(SMAllocation(25, 75)) == pytest.approx((0.25, 0.7))
    assert sum("Decode at 25 %" in line for line in said) == 1, "once, at the start"


def test_an_appliance_does_not_start_at_a_share_that_failed(settings: ServerArgs) -> None:
    ports = PortArgs.init_new(settings)
    with pytest.raises(CannotStart, match="The split 75/25 is not offered. Decode at 25 % failed"):
        ProcessRotationManager(settings, ports, SMAllocation(75, 25), endpoint=False)
    ports.settings_file.unlink()
    ports.runtime_dir.rmdir()
