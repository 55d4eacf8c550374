"""Under a load that does not change, the policy changes nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.system.appliance import Appliance, running_appliance

pytestmark = pytest.mark.system

OPTIONS = ["--prefill", "50", "--decode", "50", "--ttft-target-ms", "2000", "--tpot-target-ms", "200"]
RATE = 1.0
"""Requests a second: 30 in a window, more than the policy asks for, and little work."""


def told(appliance: Appliance, *arguments: str) -> str:
    command = [sys.executable, "-m", "appliance", *arguments]
    return subprocess.run(command, env=appliance.serve.environment, capture_output=True, text=True, check=True).stdout


@pytest.mark.long
@pytest.mark.timeout(2400)
def test_twenty_minutes_of_steady_load_move_nothing(tmp_path: Path) -> None:
    with running_appliance(tmp_path, *OPTIONS) as appliance:
        told(appliance, "policy", "auto")
        load = ["--mix", "fixed:60/30", "--rate", f"{RATE:g}", "--seconds", "1200", "--warmup-seconds", "0"]
        told(appliance, "bench", "rate", *load, "--results", str(tmp_path / "steady.jsonl"))
        assert json.loads(told(appliance, "rotations", "--json")) == []
        decisions = json.loads(told(appliance, "decisions", "--json", "--limit", "100"))
    assert sum(decision["seen"]["samples"] >= 20 for decision in decisions) >= 30, "there was something to decide on"
