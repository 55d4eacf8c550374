"""The unit files: right as systemd reads them, and as closed as is promised. No systemd needs to run for it."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

SYSTEMD = Path(__file__).parent.parent.parent / "systemd"
SERVICES = sorted(path.name for path in SYSTEMD.glob("*.service"))
MOST_EXPOSED = {"gateway": 1.5, "gateway-next": 1.5, "console": 1.5, "controller": 2.5, "scheduler": 2.5}
MOST_EXPOSED_OTHERS = 4.0

pytestmark = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd-analyze")


def systemd_analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["systemd-analyze", "--no-pager", *arguments]
    return subprocess.run(command, cwd=SYSTEMD, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_no_more_exposed_than_promised(name: str) -> None:
    done = systemd_analyze("security", "--offline=yes", name)
    exposure = re.search(r"exposure level for \S+: ([\d.]+)", done.stdout)
    assert exposure, done.stderr
    role = re.sub(r"^semi-pd-|@?\.service$", "", name)
    assert float(exposure[1]) <= MOST_EXPOSED.get(role, MOST_EXPOSED_OTHERS)


def test_systemd_understands_every_line(tmp_path: Path) -> None:
    copy = tmp_path / "units"
    shutil.copytree(SYSTEMD, copy)
    for path in filter(Path.is_file, copy.rglob("*.*")):  # programs that are there only once it is installed
        path.write_text(re.sub(r"/opt/semi-pd\S+/python|/usr/bin/nvidia-[\w-]+", "/bin/true", path.read_text()))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", copy / "semi-pd.target"],
        env={"SYSTEMD_UNIT_PATH": f"{copy}:", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    ours = [line for line in (done.stdout + done.stderr).splitlines() if "semi" in line and "/opt/semi-pd" not in line]
    assert ours == []


def test_the_target_wants_every_service_there_is() -> None:
    wanted = set(re.findall(r"semi-pd-[\w@]+\.\w+", (SYSTEMD / "semi-pd.target").read_text()))
    needed_by_others = {f"semi-pd-{name}.service" for name in ("gpu", "settings", "gateway-next", "escalation")}
    templates = {re.sub(r"@[ab]", "@", unit) for unit in wanted}
    assert templates | needed_by_others == set(SERVICES) | {path.name for path in SYSTEMD.glob("*.socket")}


def test_every_service_stops_with_the_target_but_the_one_that_restarts_it() -> None:
    others = [name for name in SERVICES if "PartOf=semi-pd.target\n" not in (SYSTEMD / name).read_text()]
    assert others == ["semi-pd-escalation.service"]


def test_polkit_names_no_unit_that_is_not_ours() -> None:
    rule = (SYSTEMD / "semi-pd.rules").read_text()
    pattern = re.search(r"var unit = /(.+)/;", rule)
    assert pattern
    for unit in ("semi-pd-group@a.service", "semi-pd-gateway.service"):
        assert re.search(pattern[1], unit)
    for unit in ("ssh.service", "semi-pd-group@a.service.d", "xsemi-pd-gateway.service", "semi-pd.target"):
        assert not re.search(pattern[1], unit)
