"""The profile of a real GPU: what divides it computes right or is not offered, and speeds grow with shares."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest

from bench.shapes import SHAPES, write_shape
from engine.allocation import Phase
from engine.profile.record import MachineProfile
from tests.system.appliance import ServeProcess, running_appliance, unused_port

pytestmark = [pytest.mark.gpu, pytest.mark.system, pytest.mark.timeout(900)]

MOST_SECONDS = 120.0
"""For nine splits of an 8B shape, with kernels that are built."""
NOISE = 0.9
QUESTION = [{"role": "user", "content": "What does os.path.join do?"}]


def profile(home: Path, *options: str) -> MachineProfile:
    """What `semi-pd profile --json` makes for the user whose home this is; it also says it to this test's reader."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("XDG_STATE")}
    made = subprocess.run(
        [sys.executable, "-m", "appliance", "profile", "--device", "cuda", "--json", *options],
        env=inherited | {"HOME": str(home), "SEMI_PD_LOG_LEVEL": "WARNING"},
        capture_output=True,
        text=True,
    )
    assert made.returncode == 0, made.stderr
    print(made.stdout)
    return msgspec.json.decode(made.stdout, type=MachineProfile)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def green(home: Path) -> MachineProfile:
    return profile(home, "--splitter", "green", "--step", "25")


@pytest.fixture(scope="module")
def mps(home: Path) -> MachineProfile:
    return profile(home, "--splitter", "mps", "--step", "25")


@pytest.fixture(scope="module")
def llama_8b(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("llama-8b")
    write_shape(path, SHAPES["llama-8b"])
    return path


def sm_counts(measured: MachineProfile, prefill: int, decode: int) -> tuple[int, int]:
    tests = measured.test(Phase.PREFILL, prefill), measured.test(Phase.DECODE, decode)
    assert tests[0] is not None and tests[1] is not None
    return tests[0].sm_count, tests[1].sm_count


def test_every_green_share_computes_right_and_two_make_up_the_chip(green: MachineProfile) -> None:
    assert [test.sentence for test in green.tests if not test.passed] == []
    whole, _ = sm_counts(green, 100, 100)
    for rung in green.rungs:
        assert sum(sm_counts(green, rung.prefill_percentage, rung.decode_percentage)) == whole
    assert len(green.offered) == 3


def test_a_share_of_mps_is_in_force_or_not_offered_and_what_is_wrong_is_said(mps: MachineProfile) -> None:
    whole, _ = sm_counts(mps, 100, 100)
    for test in mps.tests:
        assert test.passed == (test.problem == "")
        assert not test.passed or test.share == 100 or 0 < test.sm_count < whole
    offered = {offered.split for offered in mps.offered}
    assert all(not mps.failed(split) for split in offered)
    assert mps.test(Phase.DECODE, 100) in [test for test in mps.tests if test.passed]


def test_a_profile_that_is_kept_is_not_made_again(home: Path, green: MachineProfile) -> None:
    assert profile(home, "--splitter", "green", "--step", "25") == green


def test_only_shares_of_mps_that_passed_are_served(home: Path, mps: MachineProfile) -> None:
    refused = ServeProcess(home, "--port", str(unused_port()), "--splitter", "mps", "--prefill", "80", device="cuda")
    assert refused.end() == 78
    assert "The split 80/100 is not offered. The splitter mps has tested shares only" in refused.output
    if not mps.offered:
        pytest.skip("no share of MPS but the whole passed here")
    split = mps.offered[0].split
    shares = ["--prefill", str(split.prefill_percentage), "--decode", str(split.decode_percentage)]
    with running_appliance(home, "--splitter", "mps", *shares, device="cuda") as appliance:
        answer = appliance.post("/v1/chat/completions", messages=QUESTION, temperature=0, max_tokens=32)
        assert answer["choices"][0]["message"]["content"].strip()
        active = [worker for worker in appliance.status["scheduler"]["workers"] if worker["is_active"]]
        in_force = {worker["phases"][0]: worker["sm_count"] for worker in active}
        measured = sm_counts(mps, split.prefill_percentage, split.decode_percentage)
        assert (in_force["prefill"], in_force["decode"]) == measured, "the workers have the share that was tested"


def grows(speeds: list[float]) -> bool:
    """But for noise; one speed alone does."""
    return all(more > NOISE * less for less, more in pairwise(speeds)) and (len(speeds) < 2 or speeds[-1] > speeds[0])


@pytest.mark.long
@pytest.mark.parametrize("splitter", ["green", "mps"])
def test_nine_splits_of_an_8b_shape_take_less_than_two_minutes(home: Path, llama_8b: Path, splitter: str) -> None:
    options = ["--model", str(llama_8b), "--splitter", splitter]
    profile(home, *options, "--step", "50")  # kernels are built meanwhile, where they are not yet
    measured = profile(home, *options, "--remake")
    assert measured.seconds < MOST_SECONDS
    assert len(measured.rungs) == 9
    if splitter == "green":
        offered = {str(rung.split) for rung in measured.offered}
        assert offered >= {"20/80", "30/70", "40/60", "50/50", "60/40", "70/30", "80/20"}
    assert grows([offered.prefill_speed for offered in measured.offered])
    assert grows([offered.decode_speed for offered in reversed(measured.offered)])
    assert all(max(offered.prefill_speed, offered.decode_speed) < 1.1 for offered in measured.offered)
