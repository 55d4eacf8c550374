"""The machine is unkind: its clock is set, its disk reports errors, files run out. Requests are served meanwhile."""

from __future__ import annotations

import itertools
import json
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.system.appliance import Appliance, running_appliance
from tests.unkind_machine import UnkindMachine

pytestmark = [pytest.mark.system, pytest.mark.long]

UNTIL_SECONDS = 60.0
HOUR, DAY = 3600, 86400
WINDOW_SECONDS = "1"
AUTO = ("--policy", "auto", "--ttft-target-ms", "60000", "--tpot-target-ms", "60000")


def told(appliance: Appliance, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "appliance", *arguments]
    return subprocess.run(command, env=appliance.serve.environment, capture_output=True, text=True, timeout=100)


def shown(appliance: Appliance, *arguments: str) -> Any:
    done = told(appliance, *arguments, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def until(is_so: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + UNTIL_SECONDS
    while not is_so():
        assert time.monotonic() < end, f"never {what}"
        time.sleep(0.1)


def answers(appliance: Appliance) -> str:
    return appliance.post("/v1/completions", prompt="import os", max_tokens=8, temperature=0)["choices"][0]["text"]


@contextmanager
def streaming(appliance: Appliance, tokens: int) -> Iterator[list[str]]:
    """A stream that goes on meanwhile, and ends whole; its lines so far."""
    lines = list[str]()
    begun = threading.Event()
    body = {"model": appliance.model, "prompt": "import os", "max_tokens": tokens, "ignore_eos": True, "stream": True}

    def read() -> None:
        with (
            httpx.Client(headers=appliance.client.headers, timeout=120.0, trust_env=False) as client,
            client.stream("POST", f"{appliance.url}/v1/completions", json=body) as answer,
        ):
            for line in answer.iter_lines():
                lines.append(line)
                begun.set()

    reader = threading.Thread(target=read)
    reader.start()
    assert begun.wait(UNTIL_SECONDS)
    yield lines
    reader.join()
    assert lines[-2] == "data: [DONE]" and sum(line.startswith("data: {") for line in lines) >= tokens // 2


def test_a_clock_that_is_set_moves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An hour and a day, on and back, beneath a stream: the policy goes on deciding, and decides nothing else."""
    machine = UnkindMachine(tmp_path)
    for name, value in {**machine.environment, "SEMI_PD_WINDOW_SIZE_SECONDS": WINDOW_SECONDS}.items():
        monkeypatch.setenv(name, value)
    with running_appliance(tmp_path, *AUTO) as appliance:
        text = answers(appliance)
        with streaming(appliance, 1500):
            for wrong_seconds in (HOUR, 0, -HOUR, DAY, -DAY, 0):
                machine.set_clock(wrong_seconds)
                set_at = time.time() + wrong_seconds
                assert answers(appliance) == text and appliance.health["status"] == "ready"
                until(lambda at=set_at: decides_after(appliance, at), f"decided {wrong_seconds} s from now")
        assert shown(appliance, "rotations") == [], "nobody asked for one"
        told(appliance, "policy", "manual")
        machine.set_clock(-HOUR)
        assert told(appliance, "rotate", "--prefill", "50", "--decode", "50").returncode == 0
        (record,) = shown(appliance, "rotations")
        assert record["asked"] == "50/50" and record["live_seconds"] < UNTIL_SECONDS and answers(appliance) == text
        assert appliance.status["store"]["problem"] == ""
        assert appliance.pages_in_use == 0
    assert not failures_in(tmp_path)


def decides_after(appliance: Appliance, at: float) -> bool:
    """Two decisions since, not an hour or a day later than it should: the job is planned by the clock that was set."""
    decided = [decision["decided_at"] for decision in shown(appliance, "decisions", "--limit", "5")]
    return sum(at - 1 <= when < at + UNTIL_SECONDS for when in decided) >= 2


def failures_in(home: Path) -> list[str]:
    """Lines of any log that tell of what was not thought of."""
    logs = (home / ".local" / "state" / "semi-pd").rglob("*.log")
    return [line for log in logs for line in log.read_text(errors="replace").splitlines() if "Traceback" in line]


def test_a_disk_that_reports_errors_does_not_stop_inference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = UnkindMachine(tmp_path)
    for name, value in machine.environment.items():
        monkeypatch.setenv(name, value)
    with running_appliance(tmp_path) as appliance:
        text = answers(appliance)
        with streaming(appliance, 600):
            machine.fail_disk(True)
            until(lambda: "the disk reports errors" in appliance.status["store"]["problem"], "told of it")
            assert answers(appliance) == text
            refused = told(appliance, "slo", "--ttft-ms", "9999")
            assert refused.returncode == 1 and "the disk reports errors" in refused.stdout + refused.stderr
            assert told(appliance, "rotate", "--prefill", "50", "--decode", "50").returncode == 0
            assert answers(appliance) == text
            machine.fail_disk(False)
            until(lambda: appliance.status["store"]["problem"] == "", "written again")
        assert told(appliance, "slo", "--ttft-ms", "9999").returncode == 0
        assert [record["asked"] for record in shown(appliance, "rotations")] == ["50/50"]
        assert appliance.status["slo"]["target"]["ttft_target_ms"] == 9999


def test_files_that_run_out_do_not_stop_inference(tmp_path: Path) -> None:
    """Nobody but the gateway, which keeps some for itself, has any left; and then there are some again."""
    with running_appliance(tmp_path) as appliance:
        until(lambda: len(appliance.status["spares"].get("b", ())) == 2, "had spares")
        text = answers(appliance)
        gateways = {process.pid for process in appliance.processes("engine.gateway")}
        processes = [psutil.Process(appliance.serve.process.pid)]
        processes += (one for one in processes[0].children(recursive=True) if one.pid not in gateways)
        soft, hard = resource.prlimit(processes[0].pid, resource.RLIMIT_NOFILE)
        assert soft == hard, "as many as may be from the start"
        with streaming(appliance, 600):
            for process in processes:
                resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (next_file(process), hard))
            assert answers(appliance) == text
            for process in processes:
                resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (hard, hard))
        assert all(process.is_running() for process in processes)
        assert told(appliance, "slo", "--ttft-ms", "9999").returncode == 0
        assert told(appliance, "rotate", "--prefill", "50", "--decode", "50").returncode == 0
        assert answers(appliance) == text and appliance.status["store"]["problem"] == ""


def next_file(process: psutil.Process) -> int:
    """The number that the next file would get that it opens."""
    taken = {int(link.name) for link in Path(f"/proc/{process.pid}/fd").iterdir()}
    return next(number for number in itertools.count() if number not in taken)
