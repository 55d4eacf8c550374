"""install.sh on a machine: killed at every step and repeated, upgraded, rolled back, removed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.lab.lab import INSTALL, OFFLINE, Lab, make_bundle
from tests.lab.releases import break_gateway, in_force, is_served

pytestmark = [pytest.mark.long, pytest.mark.system, pytest.mark.timeout(1200)]

WHERE_IT_WRITES = ("/etc", "/opt", "/usr/local", "/usr/share/polkit-1", "/var/lib", "/var/cache", "/run/semi-pd")
ACCOUNTS = r"/etc/(\.#)?(passwd|group|gshadow|shadow|subuid|subgid)(-|\w{6})$|/etc/\.pwd\.lock$"
"""Copies that systemd-sysusers and userdel make, and leave where they are killed."""
NOT_OURS = re.compile(rf"{ACCOUNTS}|/var/(lib|cache)/(systemd|private)")
KILLED_AT = (
    "make release 0.1.0",
    "make the user semi-pd",
    "make /etc/semi-pd",
    "write /usr/local/lib/systemd/system/semi-pd-resident.service",
    "put release 0.1.0 in force",
    "start the services",
)


def api_key(lab: Lab) -> str:
    return lab.run("cat", "/var/lib/semi-pd/api-key")


def killed_installation(lab: Lab, after: list[str]) -> str | None:
    """Take the power away at the first step where that was not done yet, and tell which; None if it came through."""
    with lab.start(INSTALL.format(version="0.1.0"), *OFFLINE) as installing:
        assert installing.stdout is not None
        for line in installing.stdout:
            step = next((step for step in KILLED_AT if step in line and step not in after), None)
            if step is not None:
                lab.cut()
                return step
    assert installing.returncode == 0
    return None


def test_a_dry_run_changes_nothing(bare: Lab) -> None:
    before = bare.files(*WHERE_IT_WRITES[:-1])
    said = bare.run(INSTALL.format(version="0.1.0"), "--dry-run")
    assert all(f"would {step}" in said for step in KILLED_AT)
    assert bare.files(*WHERE_IT_WRITES[:-1]) == before


def test_killed_at_any_step_it_is_repeated_and_comes_up_with_its_data(bare: Lab) -> None:
    before = bare.files(*WHERE_IT_WRITES[:-1])
    killed_at: list[str] = []
    while (step := killed_installation(bare, after=killed_at)) is not None:
        killed_at.append(step)
        bare.up()
        bare.run("bash", "-c", "mkdir -p /etc/semi-pd/conf.d; echo 'page_size = 32' >/etc/semi-pd/conf.d/mine.toml")
    assert {KILLED_AT[0], KILLED_AT[-1]} <= set(killed_at)
    assert len(killed_at) >= len(KILLED_AT) - 2, (
        "some steps are so fast that the next one is begun before the power is off"
    )
    assert is_served(bare)
    key = api_key(bare)
    assert "nothing has changed: release 0.1.0 is installed" in bare.install()
    assert api_key(bare) == key
    assert "page_size = 32" in bare.run("cat", "/etc/semi-pd/conf.d/mine.toml")
    assert '"page_size":32' in bare.run("cat", "/run/semi-pd/settings.json")

    bare.install("--uninstall", "--purge")
    left = {path for path in bare.files(*WHERE_IT_WRITES[:-1]) - before if not NOT_OURS.search(path)}
    assert left == set()
    assert bare.run("getent", "passwd", "semi-pd", status=2) == ""
    assert bare.run("systemctl", "list-units", "--all", "--no-legend", "semi*") == ""


@pytest.fixture(scope="module")
def later(bundles: Path) -> Path:
    """Bundles of 0.2.0, which is good, and of 0.3.0, whose gateway does not start."""
    make_bundle(bundles, "0.2.0")
    break_gateway(make_bundle(bundles, "0.3.0"))
    return bundles


@pytest.mark.usefixtures("later")
def test_upgraded_rolled_back_and_back_by_itself(installed: Lab) -> None:
    key = api_key(installed)
    installed.run("bash", "-c", "echo 'ttft_target_ms = 321.0' >/etc/semi-pd/conf.d/mine.toml")
    installed.run("mkdir", "-p", "/etc/systemd/system/semi-pd-scheduler.service.d")
    mine = "/etc/systemd/system/semi-pd-scheduler.service.d/mine.conf"
    installed.run("bash", "-c", f"printf '[Service]\\nNice=3\\n' >{mine}")

    assert "nothing has changed" in installed.run("/opt/semi-pd/current/source/install.sh")
    refused = installed.install(version="0.2.0", status=1)
    assert "Release 0.1.0 is in force here: ./install.sh --upgrade moves to 0.2.0." in refused
    installed.install("--upgrade", version="0.2.0")
    assert in_force(installed) == "0.2.0"
    assert is_served(installed)

    installed.install("--rollback", version="0.2.0")
    assert in_force(installed) == "0.1.0"
    assert is_served(installed)

    said = installed.install("--upgrade", version="0.3.0", status=1)
    assert "Release 0.3.0 did not serve, and 0.1.0 is in force again" in said
    assert "this release is broken" in said
    assert "restore the database of before the upgrade" in said
    assert in_force(installed) == "0.1.0"
    assert is_served(installed)

    assert api_key(installed) == key
    assert installed.run("cat", "/etc/semi-pd/conf.d/mine.toml") == "ttft_target_ms = 321.0\n"
    scheduler = str(installed.main_pid("semi-pd-scheduler.service"))
    assert installed.run("ps", "--no-headers", "-o", "ni", "--pid", scheduler).strip() == "3"


def test_another_port_is_taken_by_the_next_run(installed: Lab) -> None:
    installed.run("bash", "-c", "echo 'port = 9000' >/etc/semi-pd/conf.d/port.toml")
    assert "restart the services, for the address has changed" in installed.install()
    assert '"ready"' in installed.run("curl", "--silent", "http://127.0.0.1:9000/health")
    installed.run("rm", "/etc/semi-pd/conf.d/port.toml")
    installed.install()
    assert is_served(installed)


def test_packages_with_another_hash_are_refused(bare: Lab) -> None:
    bare.run("bash", "-c", "cp -r /mnt/wheelhouse /root/wheels && echo changed >>/root/wheels/flask-*.whl")
    said = bare.run(INSTALL.format(version="0.1.0"), "--offline", "--wheelhouse", "/root/wheels", status=1)
    assert "could not be installed" in said
    assert "do not match" in said.lower()
    assert bare.files("/opt") & {"/opt/semi-pd/current"} == set()


def test_what_is_removed_without_purge_is_found_again_from_another_folder(installed: Lab) -> None:
    key = api_key(installed)
    refused = installed.install("--prefix", "/srv/semi-pd", status=1)
    assert "Semi-PD is installed under /opt/semi-pd: leave --prefix out" in refused
    installed.install("--uninstall")
    assert installed.run("systemctl", "list-units", "--all", "--no-legend", "semi*") == ""

    installed.install("--prefix", "/srv/semi-pd", "--no-start")
    assert installed.run("pgrep", "--count", "--euid", "semi-pd", status=1).strip() == "0"
    assert "enable the services at boot" in installed.run("/srv/semi-pd/current/source/install.sh")
    assert is_served(installed)
    assert api_key(installed) == key
    assert "/opt/semi-pd/releases/0.1.0" not in installed.files("/opt")
