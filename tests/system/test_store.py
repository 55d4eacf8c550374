"""What a whole appliance remembers, over restarts and on a disk that is full."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.system.appliance import Appliance, ServeProcess, running_appliance, unused_port

pytestmark = pytest.mark.system

REFUSED = 1


class Terminal:
    """`semi-pd` as the user of that home types it."""

    def __init__(self, environment: dict[str, str]):
        self._environment = environment

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        words = [sys.executable, "-m", "appliance", *command]
        return subprocess.run(words, env=self._environment, capture_output=True, text=True, timeout=100)

    def says(self, *command: str) -> str:
        """Standard output of a command that does its work."""
        done = self.run(*command)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip()

    def shows(self, *command: str) -> Any:
        return json.loads(self.says(*command, "--json"))

    def refuses(self, *command: str) -> str:
        """What a command says that does not do its work."""
        done = self.run(*command)
        assert done.returncode == REFUSED, done.stdout + done.stderr
        return (done.stdout + done.stderr).strip()


def answers(appliance: Appliance, key: str) -> int:
    body = {"model": appliance.model, "prompt": "import", "max_tokens": 3}
    headers = {"Authorization": f"Bearer {key}"}
    return httpx.post(f"{appliance.url}/v1/completions", json=body, headers=headers, timeout=60).status_code


def until_counted(terminal: Terminal, requests: int) -> None:
    """What has ended is counted once a second; what ends in the very last one before a stop is not."""
    while terminal.shows("slo", "report", "--since", "1h")["total"]["requests"] < requests:
        pass


def test_what_was_set_and_done_is_there_after_a_restart(tmp_path: Path) -> None:
    backup = tmp_path / "backup.db"
    with running_appliance(tmp_path) as appliance:
        terminal = Terminal(appliance.serve.environment)
        assert "first start" in appliance.serve.output
        terminal.says("slo", "--ttft-ms", "4321", "--reason", "customers wait")
        terminal.says("rotate", "--prefill", "50", "--decode", "50")
        key, other = (terminal.says("keys", "add", name).splitlines()[-1] for name in ("ci", "other"))
        assert answers(appliance, key) == 200
        terminal.says("keys", "revoke", "ci")
        assert answers(appliance, key) == 401, "from the very next request on"
        until_counted(terminal, 1)
        terminal.says("backup", str(backup))
        assert "is running already" in terminal.refuses("restore", str(backup))
    with running_appliance(tmp_path) as appliance:
        assert "TTFT 4321 ms" in appliance.serve.output and "as set by" in appliance.serve.output
        assert appliance.status["slo"]["target"]["ttft_target_ms"] == 4321
        assert [record["asked"] for record in terminal.shows("rotations")] == ["50/50"]
        assert (answers(appliance, key), answers(appliance, other)) == (401, 200)
        until_counted(terminal, 2)
        assert appliance.status["store"]["problem"] == ""
    keys = {row["name"]: row for row in terminal.shows("keys", "list")}
    assert keys.keys() == {"first", "ci", "other"} and keys["ci"]["revoked_by"] and keys["ci"]["last_used_at"]
    report = terminal.shows("slo", "report", "--since", "1h")
    assert report["total"]["requests"] == 2 and {deed["kind"] for deed in report["done"]} == {"target", "rotation"}
    terminal.says("restore", str(backup))
    assert "valid" in terminal.says("keys", "list")


def test_keys_can_be_changed_while_nothing_runs(tmp_path: Path) -> None:
    terminal = Terminal({**os.environ, "HOME": str(tmp_path), "XDG_STATE_HOME": str(tmp_path / "state")})
    assert terminal.says("keys", "add", "early", "--expires", "30").startswith("sk-")
    assert "There is, or was, a key named early" in terminal.refuses("keys", "add", "early")
    terminal.says("keys", "revoke", "early")
    assert [row["name"] for row in terminal.shows("keys", "list")] == ["early"]


@pytest.mark.long
def test_a_full_disk_does_not_stop_inference(tmp_path: Path) -> None:
    """The appliance's state is on a file system of its own, in a mount namespace of its own."""
    if not shutil.which("unshare") or subprocess.run(["unshare", "-Urm", "true"], capture_output=True).returncode:
        pytest.skip("this machine lets nobody make a mount namespace")
    state = tmp_path / ".local" / "state"
    state.mkdir(parents=True)
    mount = 'mount -t tmpfs -o size=8m tmpfs "$0" && exec "$@"'
    serve = ServeProcess(
        tmp_path, "--port", str(unused_port()), wrapper=("unshare", "-Urm", "sh", "-c", mount, str(state))
    )
    serve.wait_until_served()
    with Appliance(serve) as appliance:
        inside = Path(f"/proc/{serve.process.pid}/root{state}")
        serve.environment["XDG_STATE_HOME"] = str(inside)
        terminal = Terminal(serve.environment)
        fill(inside / "filler")
        until(lambda: "the disk is full" in appliance.status["store"]["problem"])
        assert appliance.post("/v1/completions", prompt="import", max_tokens=3)["choices"]
        assert "the disk is full" in terminal.refuses("slo", "--ttft-ms", "9999")
        assert "the disk is full" in terminal.refuses("keys", "add", "late")
        terminal.says("rotate", "--prefill", "50", "--decode", "50")
        assert appliance.post("/v1/completions", prompt="import", max_tokens=3)["choices"]
        (inside / "filler").unlink()
        until(lambda: appliance.status["store"]["problem"] == "")
        terminal.says("slo", "--ttft-ms", "9999")
        assert [record["asked"] for record in terminal.shows("rotations")] == ["50/50"]


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError:
            return


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < end
