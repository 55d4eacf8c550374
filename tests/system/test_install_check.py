"""What `install.sh --check` finds on machines of all kinds, told by an `nvidia-smi` that stands in for the real one."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from appliance.prebuilt import export
from engine.config import DEMO_MODEL
from engine.kernel_cache import OWN_SOURCE, KernelCache, KernelNeeds, own_digest
from tests.system.appliance import unused_port

pytestmark = pytest.mark.system

ROOT = Path(__file__).parent.parent.parent

NVIDIA_SMI = """#!/bin/sh
case "$*" in
    -L) echo 'GPU 0: NVIDIA H200 (UUID: GPU-1)' ;;
    *driver_version*) echo '{driver}' ;;
    *compute_mode*) echo '{compute_mode}' ;;
    *mig.mode.current*) echo '{mig}' ;;
    *compute_cap*) echo '9.0' ;;
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


def check(
    tools: Path, *options: str, nvidia: dict[str, str] | None = None, compilers: tuple[str, ...] = ("nvcc", "g++")
) -> Checked:
    """`--check` where the programs in `tools` are found first."""
    tools.mkdir(exist_ok=True)
    programs = dict.fromkeys((*compilers, "nvidia-cuda-mps-control"), "")
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


@pytest.fixture
def without_nvcc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that has every program of this one but nvcc."""
    python = tmp_path / "bin" / f"python3.{sys.version_info.minor}"
    python.parent.mkdir()
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    folders = os.environ["PATH"].split(":")
    monkeypatch.setenv("PATH", ":".join(folder for folder in folders if not Path(folder, "nvcc").exists()))
    monkeypatch.setenv("CUDA_HOME", str(tmp_path))


@pytest.mark.usefixtures("without_nvcc")
def test_without_a_compiler_kernels_can_be_brought(tmp_path: Path) -> None:
    checked = check(tmp_path / "bin", nvidia={}, compilers=())
    assert any("bring the folder that 'semi-pd kernels export' makes" in said for said in checked.missing)

    wheels, cache = tmp_path / "wheels", KernelCache(tmp_path / "built")
    lock = (ROOT / "constraints" / f"cuda-3.{sys.version_info.minor}.lock").read_text()
    versions = dict(re.findall(r"^(torch|flashinfer-python|triton)==(\S+)", lock, re.MULTILINE)) | {
        OWN_SOURCE.name: own_digest()
    }
    (cache.root / "triton").mkdir(parents=True)
    cache.note(KernelNeeds.of(DEMO_MODEL, "bfloat16", "9.0"), versions, "580.1")
    export(cache, "9.0", versions, wheels / "kernels")
    for options in (["--wheelhouse", str(wheels)], ["--kernels", str(wheels / "kernels")]):
        checked = check(tmp_path / "bin", *options, "--port", str(unused_port()), nvidia={}, compilers=())
        assert f"✓ kernels that fit, in {wheels / 'kernels'}" in checked.said

    checked = check(tmp_path / "bin", "--kernels", str(wheels), nvidia={}, compilers=())
    assert any(said.startswith(f"{wheels} holds no kernels that were exported: make it") for said in checked.missing)
    assert check(tmp_path / "bin", "--kernels", str(tmp_path / "no"), nvidia={}).exit_code == 2


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
