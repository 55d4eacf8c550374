"""A seed is a failure that can be had again: in another process, with another order of hashes, event for event."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.simulated.replay import replay
from tests.simulated.scenario import Fault, scenario_of

SEED = 12


def test_a_seed_does_the_same_again() -> None:
    first, second = list[str](), list[str]()
    assert replay(SEED, first.append) == replay(SEED, second.append)
    assert len(first) > 100
    assert first == second


def test_the_command_does_the_same_with_another_hash_seed() -> None:
    outputs = [
        subprocess.run(
            [sys.executable, "-m", "tests.simulated", "--seed", str(SEED)],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("1", "2")
    ]
    assert outputs[0] == outputs[1]
    assert "Accepted" in outputs[0], "all that passes between processes is shown"


def test_three_hundred_seeds_have_every_fault_in_them_many_times() -> None:
    faults = [event.fault for seed in range(300) for event in scenario_of(seed).events]
    assert all(faults.count(fault) >= 50 for fault in Fault)
