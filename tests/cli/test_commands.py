"""`semi-pd …` as its user runs it against a running appliance: what it says, how it ends, what it leaves unchanged."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import psutil
import pytest

from appliance.slo.alone import LEAST_REQUESTS, LEAST_TOKENS
from tests.system.appliance import Appliance, running_appliance

pytestmark = pytest.mark.system

NOT_RUNNING = 3
OPTIONS = ["--prefill", "50", "--decode", "50", "--ttft-target-ms", "60000", "--tpot-target-ms", "9000"]
"""Targets that are kept however busy the machine is."""


@pytest.fixture(scope="module")
def appliance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Appliance]:
    with running_appliance(tmp_path_factory.mktemp("home"), *OPTIONS) as appliance:
        serve_until_its_pace_is_known(appliance)
        yield appliance


def serve_until_its_pace_is_known(appliance: Appliance) -> None:
    """The scheduler is asked once a second how far requests have come; from then on they are learnt from."""
    while appliance.status["slo"]["alone"]["requests"] < LEAST_REQUESTS:
        for _ in range(LEAST_REQUESTS):
            appliance.post("/v1/completions", prompt="import os", max_tokens=LEAST_TOKENS, ignore_eos=True)


def run(appliance: Appliance, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "appliance", *arguments]
    return subprocess.run(command, env=environment(appliance), capture_output=True, text=True, timeout=100)


def environment(appliance: Appliance) -> dict[str, str]:
    return {**appliance.serve.environment, "COLUMNS": "200"}


def ruling(appliance: Appliance) -> tuple[Any, ...]:
    """What bad input must not change."""
    status = appliance.status
    return status["split_in_force"], status["slo"]["target"], status["slo"]["mode"], len(status["rotations"])


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["rotate", "--prefill", "0", "--decode", "50"], 1, "The prefill share must be a whole percentage from 1"),
        (["rotate", "--prefill", "50", "--decode", "101"], 1, "The decode share must be a whole percentage from 1"),
        (["rotate", "--prefill", "half", "--decode", "50"], 2, "Invalid value for '--prefill'"),
        (["slo", "--ttft-ms", "0"], 1, "The TTFT target must be a positive number of milliseconds"),
        (["slo", "--tpot-ms", "nan"], 1, "The TPOT target must be a positive number of milliseconds"),
        (["slo", "--tpot-ms", "soon"], 2, "Invalid value for '--tpot-ms'"),
        (["slo", "--tpot-ms", "0.01"], 1, "one request alone needs"),
        (["slo", "--ttft-ms", "0.01", "--tpot-ms", "40"], 1, "one request alone needs"),
        (["policy", "clever"], 1, "not 'clever'"),
    ],
)
def test_bad_input_gets_a_sentence_and_changes_nothing(
    appliance: Appliance, arguments: list[str], code: int, sentence: str
) -> None:
    before = ruling(appliance)
    refused = run(appliance, *arguments)
    assert refused.returncode == code, refused.stderr
    assert sentence in refused.stdout + refused.stderr
    assert "Traceback" not in refused.stderr
    assert ruling(appliance) == before


def test_one_target_is_set_and_the_other_stays(appliance: Appliance) -> None:
    before = appliance.status["slo"]["target"]
    assert run(appliance, "slo", "--ttft-ms", "77777").returncode == 0
    assert appliance.status["slo"]["target"] == {**before, "ttft_target_ms": 77777.0}
    assert "77777" in run(appliance, "slo").stdout


def test_the_status_shows_what_runs(appliance: Appliance) -> None:
    shown = run(appliance, "status")
    assert shown.returncode == 0, shown.stderr
    for word in ("demo-model", "split 50/50 by duty", "TTFT ms", "prefill", "decode", "KV pages", "scheduler"):
        assert word in shown.stdout


def test_a_watched_status_goes_on_until_ctrl_c(appliance: Appliance) -> None:
    command = [sys.executable, "-m", "appliance", "status", "--watch", "--every", "0.1", "--json"]
    with subprocess.Popen(command, env=environment(appliance), stdout=subprocess.PIPE, text=True) as watching:
        assert watching.stdout is not None
        lines = [watching.stdout.readline() for _ in range(3)]
        watching.send_signal(signal.SIGINT)
        watching.stdout.read()
        assert watching.wait(30) == 0
    assert all(json.loads(line)["split_in_force"] for line in lines)


def test_a_healthy_appliance_has_no_problem(appliance: Appliance) -> None:
    examined = run(appliance, "doctor", "--json")
    report = json.loads(examined.stdout)
    assert examined.returncode == 0, report
    found = {(finding["about"], finding["level"]) for finding in report["findings"]}
    assert {("processes", "ok"), ("communication", "ok"), ("KV pages", "ok"), ("targets", "ok")} <= found


def test_cached_pages_are_freed_by_the_doctor(appliance: Appliance) -> None:
    appliance.post("/v1/completions", prompt="What is a generator? " * 20, max_tokens=2, temperature=0)
    assert appliance.status["scheduler"]["cached_pages"] > 0
    done = run(appliance, "doctor", "--free-cached-pages")
    assert done.returncode == 0, done.stdout
    assert "cached KV pages are free now" in done.stdout
    assert appliance.status["scheduler"]["cached_pages"] == 0


def test_the_doctor_names_a_leader_that_does_not_answer(appliance: Appliance) -> None:
    leader = psutil.Process(appliance.status["processes"]["leader-b"])
    leader.suspend()
    try:
        examined = run(appliance, "doctor")
    finally:
        leader.resume()
    assert examined.returncode == 1
    assert f"kill -CONT {leader.pid}" in examined.stdout
    assert "leader of slot b does not answer" in examined.stdout


@pytest.mark.parametrize("command", [["status"], ["slo"], ["decisions"], ["policy", "auto"], ["doctor"]])
def test_every_command_tells_what_it_does_where_asked(appliance: Appliance, command: list[str]) -> None:
    told = run(appliance, *command, "--log-level", "DEBUG")
    assert "controller.sock" in told.stderr
    assert "controller.sock" not in run(appliance, *command).stderr
    run(appliance, "policy", "manual")


def test_where_nothing_runs_the_doctor_looks_at_the_machine(tmp_path: Any, appliance: Appliance) -> None:
    elsewhere = {**environment(appliance), "HOME": str(tmp_path)}
    commands = {name: [sys.executable, "-m", "appliance", name] for name in ("doctor", "status")}
    examined = subprocess.run(commands["doctor"], env=elsewhere, capture_output=True, text=True, timeout=100)
    assert "No appliance of this user is running" in examined.stdout
    assert "free memory" in examined.stdout
    status = subprocess.run(commands["status"], env=elsewhere, capture_output=True, text=True, timeout=100)
    assert status.returncode == NOT_RUNNING
