"""What `install.sh --check` finds on machines of all kinds, told by an `nvidia-smi` that stands in for the real one."""

from __future__ import annotations

import os
import re
import socket
import subprocess
from pathlib import Path

import pytest

from tests.system.appliance import unused_port

pytestmark = pytest.mark.system

ROOT = Path(__file__).parent.parent.parent

NVIDIA_SMI = """#!/bin/sh
case "$*" in
    -L) echo 'GPU 0: NVIDIA H200 (UUID: GPU-1)' ;;
    *driver_version*) echo '{driver}' ;;
    *compute_mode*) echo '{compute_mode}' ;;
    *mig.mode.current*) echo '{mig}' ;;
    *name*) echo 'NVIDIA H200' ;;
esac
"""
GOOD = {"driver": "580.159", "compute_mode": "Default", "mig": "Disabled"}


class Checked:
    """What it said, and how it ended."""

    def __init__(self, done: subprocess.CompletedProcess[str]):
        self.exit_code = done.returncode
        self.said = done.stdout
        self.missing = re.findall(r"✗ (.*)", done.stdout)


def check(tools: Path, *options: str, nvidia: dict[str, str] | None = None) -> Checked:
    """`--check` where the programs in `tools` are found first."""
    tools.mkdir(exist_ok=True)
    programs = {"nvcc": "", "g++": "", "nvidia-cuda-mps-control": ""}
    if nvidia is not None:
        programs["nvidia-smi"] = NVIDIA_SMI.format(**(GOOD | nvidia))
    for name, script in programs.items():
        (tools / name).write_text(script or "#!/bin/sh\n")
        (tools / name).chmod(0o755)
    ports = ["--port", str(unused_port()), "--console-port", str(unused_port())]
    command = [ROOT / "install.sh", "--check", *(options or ports)]
    environment = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}"}
    return Checked(subprocess.run(command, env=environment, capture_output=True, text=True, check=False))


def test_a_gpu_box_that_has_everything(tmp_path: Path) -> None:
    checked = check(tmp_path / "bin", nvidia={})
    assert [said for said in checked.missing if "GB free" not in said] == []
    for found in ("glibc", "Python 3.1", "driver 580.159", "compute mode DEFAULT", "MIG is off", "nvcc and g++"):
        assert f"✓ {found}" in checked.said or f"NVIDIA's {found}" in checked.said


@pytest.mark.skipif(Path("/dev/nvidiactl").exists(), reason="this machine has a GPU")
def test_without_a_gpu_it_says_that_this_is_for_trying(tmp_path: Path) -> None:
    checked = check(tmp_path / "bin")
    assert "· no NVIDIA GPU: it runs on the CPU" in checked.said
    assert (checked.exit_code, checked.missing) == (0, [])


@pytest.mark.parametrize(
    ("nvidia", "sentence"),
    [
        ({"driver": "535.1"}, "NVIDIA's driver is 535.1, and 580 is needed: install driver 580 or newer"),
        ({"driver": ""}, "NVIDIA's driver is not there, and 580 is needed: install driver 580 or newer"),
        (
            {"compute_mode": "Exclusive_Process"},
            "compute mode is Exclusive_Process, and the resident needs DEFAULT: nvidia-smi --compute-mode=DEFAULT",
        ),
        (
            {"mig": "Enabled"},
            "MIG is enabled, and the SMs could not be divided: nvidia-smi --multi-instance-gpu=0",
        ),
    ],
)
def test_what_is_missing_is_named_with_what_to_do(tmp_path: Path, nvidia: dict[str, str], sentence: str) -> None:
    checked = check(tmp_path / "bin", nvidia=nvidia)
    assert sentence in checked.missing
    assert checked.exit_code == 1


@pytest.mark.parametrize(("address", "is_needed"), [("0.0.0.0", True), ("::1", False), ("127.0.0.1", False)])
def test_beyond_this_machine_a_certificate_is_needed(tmp_path: Path, address: str, is_needed: bool) -> None:
    checked = check(tmp_path / "bin", f"--bind={address}", "--port", str(unused_port()))
    assert ("✓ openssl, for the certificate" in checked.said) is is_needed


def test_an_address_that_cannot_be_one(tmp_path: Path) -> None:
    assert check(tmp_path / "bin", "--bind", 'x" or').exit_code == 2


def test_a_port_that_somebody_has(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        checked = check(tmp_path / "bin", "--port", port, "--console-port", str(unused_port()))
    assert any(said.startswith(f"port {port} is taken by another program: stop it") for said in checked.missing)
    assert checked.exit_code == 1
