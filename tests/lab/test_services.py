"""The appliance's services on a machine whose systemd is real: what is done to them while text streams."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path

import pytest

from tests.lab.lab import Lab

pytestmark = [pytest.mark.long, pytest.mark.system, pytest.mark.timeout(900)]

BODY = {"model": "demo-model", "prompt": "import os", "max_tokens": 400, "ignore_eos": True, "stream": True}
COMPLETION = f"""
curl --silent --no-buffer http://127.0.0.1:8000/v1/completions --header 'Content-Type: application/json' \
    --header "Authorization: Bearer $(cat /var/lib/semi-pd/api-key)" --data '{json.dumps(BODY)}'
"""
STAND_IN_FOR_THE_DAEMON = """
cat > /usr/bin/nvidia-cuda-mps-control <<'END'
#!/usr/bin/python3
import os, signal, sys
if sys.argv[1:] == ["-f"]:
    os.setresgid(*os.getresgid())
    os.setresuid(*os.getresuid())
    print("became itself", flush=True)
    signal.pause()
END
chmod 755 /usr/bin/nvidia-cuda-mps-control
touch /dev/nvidiactl
printf 'CUDA_MPS_%s_DIRECTORY=/run/semi-pd/mps-a\\n' PIPE LOG > /run/semi-pd/mps-a.env
"""
WITHOUT_THE_DAEMON = """
systemctl stop semi-pd-mps@a
rm /usr/bin/nvidia-cuda-mps-control /dev/nvidiactl /run/semi-pd/mps-a.env
"""
PATIENCE_SECONDS = 60.0
SERVICES = ("resident", "scheduler", "group@a", "group@b", "controller", "gateway", "console")


class Stream:
    """A completion that streams in the machine."""

    def __init__(self, process: subprocess.Popen[str]):
        self._process = process
        self.last = self._next()

    def end(self) -> str:
        """The last event of the stream: its finish reason, or the error that ended it."""
        while (event := self._next()) != "[DONE]" and event:
            self.last = event
        self._process.wait()
        choices = json.loads(self.last).get("choices")
        return choices[0]["finish_reason"] if choices else self.last

    def _next(self) -> str:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("data: "):
                return line.removeprefix("data: ").strip()
        return ""


@contextmanager
def streaming(lab: Lab) -> Iterator[Stream]:
    with lab.start("bash", "-c", COMPLETION) as process:
        stream = Stream(process)
        assert stream.last, "no token came"
        yield stream


def status(lab: Lab) -> dict:
    return json.loads(lab.run("semi-pd", "status", "--json"))


def wait_until_served(lab: Lab) -> None:
    """Until the unit's own start is over: it is when a group serves."""
    lab.run("systemctl", "start", "semi-pd-controller.service")


def wait_until_known(lab: Lab, split: str) -> None:
    """Until the controller has noted the split that it would come again at, which it does before it says so."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while split not in lab.run("systemctl", "show", "--property", "StatusText", "semi-pd-controller"):
        assert time.monotonic() < deadline, split


def test_every_service_runs_as_the_one_user_and_is_watched(installed: Lab) -> None:
    for name in SERVICES:
        unit = f"semi-pd-{name}.service"
        assert installed.is_active(unit), unit
        user = installed.run("ps", "--no-headers", "-o", "user", "--pid", str(installed.main_pid(unit)))
        assert user.strip() == "semi-pd"
    assert installed.run("systemctl", "--failed", "--no-legend") == ""
    assert re.search(r"Status: .Split in force: \d+/\d+", installed.run("systemctl", "status", "semi-pd-controller"))


def may_write(lab: Lab, unit: str, path: str) -> bool:
    """As the unit's own process sees the machine's files."""
    inside = ("nsenter", "--mount", "--target", str(lab.main_pid(unit)))
    with lab.start(*inside, "runuser", "-u", "semi-pd", "--", "test", "-w", path) as asked:
        return asked.wait() == 0


def test_a_group_keeps_its_kernels_and_nothing_else_of_the_data(installed: Lab) -> None:
    places = ("/var/lib/semi-pd/kernels", "/var/cache/semi-pd", "/var/lib/semi-pd", "/etc/semi-pd", "/tmp")
    allowed = {place: may_write(installed, "semi-pd-group@a.service", place) for place in places}
    assert [place for place in places if allowed[place]] == ["/var/lib/semi-pd/kernels", "/var/cache/semi-pd", "/tmp"]


def test_an_mps_daemon_may_become_the_user_that_it_is(installed: Lab) -> None:
    """NVIDIA's does so before it starts a server, and starts none where that is forbidden (seen on an H200)."""
    installed.run("bash", "-c", STAND_IN_FOR_THE_DAEMON)
    try:
        installed.run("systemctl", "start", "semi-pd-mps@a")
        installed.run("bash", "-c", "journalctl -u semi-pd-mps@a -o cat -f -n all | grep -m 1 -E 'itself|Error|Failed'")
        said = installed.run("journalctl", "--unit", "semi-pd-mps@a", "--output", "cat")
    finally:
        installed.run("bash", "-c", WITHOUT_THE_DAEMON)
    assert "became itself" in said


def test_text_streams_on_while_the_controller_is_restarted(installed: Lab) -> None:
    installed.run("semi-pd", "rotate", "--prefill", "40", "--decode", "60")
    before = status(installed)
    with streaming(installed) as stream:
        installed.run("systemctl", "restart", "semi-pd-controller")
        assert stream.end() == "length"
    after = status(installed)
    assert after["split_in_force"] == before["split_in_force"] == "40/60"
    assert [group["pids"] for group in after["groups"]] == [group["pids"] for group in before["groups"]]


def test_text_streams_on_while_a_controller_that_was_killed_comes_back(installed: Lab) -> None:
    with streaming(installed) as stream:
        with installed.until_said("semi-pd-controller", "Started semi-pd-controller"):
            installed.run("kill", "-KILL", str(installed.main_pid("semi-pd-controller.service")))
        assert stream.end() == "length"
    assert status(installed)["split_in_force"] == "40/60"
    restarts = installed.run("systemctl", "show", "--value", "--property", "NRestarts", "semi-pd-controller")
    assert int(restarts) == 1


@pytest.mark.parametrize("how", ["restart", "kill"])
def test_text_streams_on_in_the_other_slot_while_a_group_is_restarted(installed: Lab, how: str) -> None:
    active = next(group for group in status(installed)["groups"] if group["stage"] == "active")
    unit = f"semi-pd-group@{active['slot']}.service"
    with streaming(installed) as stream:
        if how == "restart":
            installed.run("systemctl", "restart", unit)
        else:
            installed.run("kill", "-KILL", str(installed.main_pid(unit)))
        assert stream.end() == "length"
    now = next(group for group in status(installed)["groups"] if group["stage"] == "active")
    assert (now["slot"], now["split"]) == ("b" if active["slot"] == "a" else "a", active["split"])


def test_the_port_stays_open_while_the_gateway_is_restarted_and_streams_end_first(installed: Lab) -> None:
    with streaming(installed) as stream:
        with installed.until_said("semi-pd-gateway", "Waiting for connections to close"):
            restart = installed.start("systemctl", "restart", "semi-pd-gateway")
        health = installed.run("curl", "--silent", "http://127.0.0.1:8000/health")
        assert json.loads(health)["status"]
        assert stream.end() == "length"
        restart.communicate()
        assert restart.returncode == 0


KNOCK = """
import http.client, json, os
answers = (200, 302, 503)
outcomes = set()
print("knocking", flush=True)
while outcomes.issubset(answers) and not os.path.exists("/root/enough"):
    for port, path in ((8000, "/health"), (8080, "/")):
        door = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
        try:
            door.request("GET", path)
            outcomes.add(door.getresponse().status)
        except (OSError, http.client.HTTPException) as error:
            outcomes.add(f"{port}: {error!r}")
        door.close()
print(json.dumps(sorted(outcomes, key=str)))
"""


def test_both_ports_stay_open_while_everything_is_started_over(installed: Lab) -> None:
    units = ("semi-pd-gateway.socket", "semi-pd-console.socket")
    since = installed.run("systemctl", "show", "--property", "ActiveEnterTimestampMonotonic", *units)
    before = {name: installed.main_pid(f"semi-pd-{name}.service") for name in SERVICES}
    with installed.start("python3", "-c", KNOCK) as knocking:
        assert knocking.stdout is not None
        knocking.stdout.readline()
        installed.run("systemctl", "restart", "semi-pd.target")
        wait_until_served(installed)
        installed.run("touch", "/root/enough")
        outcomes = json.loads(knocking.stdout.read())
    installed.run("rm", "/root/enough")
    assert set(outcomes) <= {200, 302, 503}
    assert installed.run("systemctl", "show", "--property", "ActiveEnterTimestampMonotonic", *units) == since
    assert all(installed.main_pid(f"semi-pd-{name}.service") not in (0, pid) for name, pid in before.items())


@pytest.mark.parametrize("name", ["scheduler", "resident"])
def test_those_who_need_it_are_restarted_with_it_and_it_serves_again_at_the_last_split(
    installed: Lab, name: str
) -> None:
    installed.run("semi-pd", "rotate", "--prefill", "40", "--decode", "60")
    wait_until_known(installed, "40/60")
    groups = {unit: installed.main_pid(f"semi-pd-{unit}.service") for unit in ("group@a", "group@b")}
    with installed.until_said("semi-pd-controller", "Started semi-pd-controller"):
        installed.run("kill", "-KILL", str(installed.main_pid(f"semi-pd-{name}.service")))
    assert all(installed.main_pid(f"semi-pd-{unit}.service") not in (0, pid) for unit, pid in groups.items())
    assert status(installed)["split_in_force"] == "40/60"
    with streaming(installed) as stream:
        assert stream.end() == "length"


def test_a_scheduler_that_was_started_too_often_has_everything_started_over(installed: Lab) -> None:
    resident = installed.main_pid("semi-pd-resident.service")
    drop_in = "/etc/systemd/system/semi-pd-scheduler.service.d"
    installed.run("bash", "-c", f"mkdir -p {drop_in}; printf '[Unit]\\nStartLimitBurst=1\\n' >{drop_in}/limit.conf")
    installed.run("systemctl", "daemon-reload")
    installed.run("systemctl", "reset-failed", "semi-pd-scheduler.service")  # of former tests it is not to count
    installed.run("systemctl", "restart", "semi-pd-scheduler.service")
    wait_until_served(installed)
    with installed.until_said("semi-pd-controller", "Started semi-pd-controller"):
        installed.run("kill", "-KILL", str(installed.main_pid("semi-pd-scheduler.service")))
    said = installed.run("journalctl", "--output", "cat", "--unit", "semi-pd-escalation")
    assert "Nobody can serve: everything is started over." in said
    assert installed.main_pid("semi-pd-resident.service") != resident
    with streaming(installed) as stream:
        assert stream.end() == "length"
    installed.run("rm", "-r", drop_in)
    installed.run("systemctl", "daemon-reload")


def test_a_setting_that_cannot_be_is_named_and_nothing_loops(installed: Lab) -> None:
    installed.run("bash", "-c", "echo 'page_size = 0' >/etc/semi-pd/conf.d/90-wrong.toml")
    installed.run("systemctl", "restart", "semi-pd.target")
    said = installed.run("journalctl", "--output", "cat", "--unit", "semi-pd-settings")
    assert "The setting page_size cannot be 0" in said
    assert "It is set in /etc/semi-pd." in said
    assert not installed.is_active("semi-pd-scheduler.service")
    installed.run("rm", "/etc/semi-pd/conf.d/90-wrong.toml")
    installed.run("systemctl", "restart", "semi-pd.target")
    wait_until_served(installed)


def as_controller(lab: Lab, code: str, status: int = 0) -> str:
    """Python of the release, as the user whom polkit knows."""
    python = ["env", "XDG_STATE_HOME=/var/lib", "/opt/semi-pd/current/venv/bin/python", "-c", code]
    return lab.run("runuser", "-u", "semi-pd", "--", *python, status=status)


ASK = """
from appliance.control.client import ask
from appliance.control.messages import AskUnits, RestartUnit
from appliance.instance import Instance
reply = ask(Instance.of_user(), {command}, 120)
print(reply.sentence, reply.data)
"""


def test_the_controller_restarts_a_service_and_tells_of_all(installed: Lab) -> None:
    before = installed.main_pid("semi-pd-console.service")
    said = as_controller(installed, ASK.format(command="RestartUnit('semi-pd-console.service', 'anna')"))
    assert "semi-pd-console.service was restarted by anna." in said
    assert installed.main_pid("semi-pd-console.service") not in (0, before)
    said = as_controller(installed, ASK.format(command="AskUnits()"))
    states = {state["name"]: state for state in json.loads(said[said.index("[") :])}
    assert {f"semi-pd-{name}.service" for name in SERVICES} <= set(states)
    assert states["semi-pd-scheduler.service"]["status"] == "Takes requests and orders."


@pytest.mark.parametrize("name", ["dbus.service", "semi-pd.target"])
def test_it_may_restart_nothing_else(installed: Lab, name: str) -> None:
    said = as_controller(installed, ASK.format(command=f"RestartUnit('{name}', 'anna')"))
    assert "systemd refuses: " in said


@pytest.mark.parametrize("verb", ["StopUnit", "ReloadUnit"])
def test_and_it_may_do_nothing_else(installed: Lab, verb: str) -> None:
    manager = ["org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager"]
    call = ["busctl", "--system", "call", *manager, verb, "ss", "semi-pd-console.service", "replace"]
    said = installed.run("runuser", "-u", "semi-pd", "--", *call, status=1)
    assert "authentication required" in said or "Access denied" in said


def events(lab: Lab, name: str) -> list[dict]:
    """What the unit's processes have said; each line must be an event."""
    said = lab.run("journalctl", "--output", "cat", "--unit", f"semi-pd-{name}", "_COMM=python")
    return [json.loads(line) for line in said.splitlines()]


def test_the_journal_has_an_event_a_line_with_the_ids_of_rotations_and_requests(installed: Lab) -> None:
    of_scheduler = events(installed, "scheduler")
    assert {"worker ready", "activate"} <= {event["event"] for event in of_scheduler}
    rotations = [event for event in events(installed, "controller") if event.get("rotation")]
    assert {event["epoch"] for event in rotations} <= {event.get("epoch") for event in of_scheduler}
    assert rotations
    assert any(event.get("request_id") and event.get("answer_id") for event in events(installed, "gateway"))
    assert events(installed, "console")


def test_it_stops_as_one_and_comes_up_with_the_machine(installed: Lab) -> None:
    installed.run("systemctl", "stop", "semi-pd.target", "semi-pd-*.service")
    assert installed.run("pgrep", "--count", "--euid", "semi-pd", status=1).strip() == "0"
    installed.cut()
    installed.up()
    wait_until_served(installed)
    with streaming(installed) as stream:
        assert stream.end() == "length"


def test_the_console_shows_the_journal_and_follows_it(installed: Lab) -> None:
    token = installed.run("semi-pd", "console", "token").strip()
    script = (Path(__file__).parent / "browser.py").read_text()
    python = "/opt/semi-pd/current/venv/bin/python"
    with installed.start(python, "-c", script, "http://127.0.0.1:8080", token, "gateway") as browser:
        assert browser.stdout is not None
        page = "".join(takewhile(lambda line: line != "FOLLOWING\n", browser.stdout))
        lines = page.split('id="log"')[1].split("</section>")[0]
        assert "Listening at: " in lines
        assert "Started " in lines and "by=systemd" in lines
        assert "scheduler</span>" not in lines
        installed.run("systemctl", "restart", "semi-pd-gateway")
        said = browser.stdout.read()
    assert browser.returncode == 0, page
    assert "Stopping" in said or "Waiting" in said or "Handling signal: term" in said


def test_a_backup_is_restored(installed: Lab) -> None:
    backups = "/var/lib/semi-pd/backups"
    latest = installed.run("bash", "-c", f"ls {backups}/appliance-*.db | tail -n 1").strip()
    installed.run("semi-pd", "backup", "/var/lib/semi-pd/before.db")
    installed.run("systemctl", "stop", "semi-pd-controller")
    assert "Restored from" in installed.run("semi-pd", "restore", latest)
    installed.run("systemctl", "start", "semi-pd-controller")
    assert "Restored" not in installed.run("semi-pd", "status")
    assert installed.run("bash", "-c", f"ls {backups}/replaced-*.db")
