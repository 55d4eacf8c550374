"""Kernels built ahead are found, a process that only waits holds no context, and a group's memory is measured."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from appliance.kernels import kernel_environment
from engine.config import ServerArgs
from engine.nvml import GpuMemory
from tests.system.appliance import Appliance, running_appliance

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(find_spec("flashinfer") is None, reason="FlashInfer is not installed"),
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
    pytest.mark.timeout(900),  # kernels are built here
]

IMPORT_AND_LOOK = """
import flashinfer, engine.kernels.thin_linear, torch
from engine.device.cuda_driver import call, driver
assert not torch.cuda.is_initialized()
call(driver.cuInit, 0)
_, is_active = call(driver.cuDevicePrimaryCtxGetState, call(driver.cuDeviceGet, 0))
print("context" if is_active else "no context")
"""


@pytest.fixture(scope="module")
def appliance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Appliance]:
    home = tmp_path_factory.mktemp("home")
    with running_appliance(home, "--kv-memory-bytes", str(2**30), device="cuda") as appliance:
        yield appliance


def test_importing_the_kernels_makes_no_context() -> None:
    environment = os.environ | kernel_environment(ServerArgs(device="cuda").for_device("cuda"))
    assert environment["FLASHINFER_CUDA_ARCH_LIST"] == ".".join(map(str, torch.cuda.get_device_capability()))
    said = subprocess.run(
        [sys.executable, "-c", IMPORT_AND_LOOK], env=environment, capture_output=True, text=True, check=True
    )
    assert said.stdout.split("\n")[-2] == "no context"


@pytest.mark.system
def test_a_spare_has_nothing_of_the_gpu(appliance: Appliance) -> None:
    at_work = {pid for group in appliance.status["groups"] for pid in group["pids"]}
    spares = {process.pid for process in appliance.processes("engine.worker")} - at_work
    assert spares
    command = ["nvidia-smi", "--query-compute-apps=pid", "--format=csv,noheader"]
    on_gpu = set(map(int, subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()))
    assert not spares & on_gpu


@pytest.mark.system
def test_what_is_built_is_found_by_whoever_starts_next(appliance: Appliance) -> None:
    """The appliance has built what it needed; 'check' and 'build' find it where it is."""
    for command, said in (("check", "are built"), ("build", "are built")):
        done = subprocess.run(
            [sys.executable, "-m", "appliance", "kernels", command],
            env=appliance.serve.environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert said in done.stdout


@pytest.mark.system
def test_kernels_can_be_built_alone(tmp_path: Path) -> None:
    environment = os.environ | {"HOME": str(tmp_path), "XDG_STATE_HOME": str(tmp_path / "state")}
    run = [sys.executable, "-m", "appliance", "kernels"]
    before = subprocess.run([*run, "check"], env=environment, capture_output=True, text=True)
    built = subprocess.run([*run, "build"], env=environment, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    after = subprocess.run([*run, "check"], env=environment, capture_output=True, text=True)
    assert after.returncode == 0, after.stdout
    if "FLASHINFER_WORKSPACE_BASE" not in os.environ:
        assert before.returncode == 1 and "not built" not in after.stdout


@pytest.mark.system
def test_a_groups_memory_is_measured_and_within_what_it_is_given(appliance: Appliance) -> None:
    memory = appliance.status["memory"]
    (used,) = memory["group_bytes"].values()
    assert 2**28 < used < memory["budget_bytes"]
    assert "group_memory_bytes" not in appliance.serve.output


def test_a_process_is_counted_with_what_torch_took() -> None:
    torch.cuda.empty_cache()  # other tests' memory would be given out again without a word to the driver
    counted = GpuMemory("0").process_bytes(os.getpid())
    if counted is None:
        pytest.skip("the driver does not tell what this process has, as in a container of its own")
    held = torch.zeros(256 << 20, dtype=torch.uint8, device="cuda")
    after = GpuMemory("0").process_bytes(os.getpid())
    assert after is not None and after >= counted + held.nbytes
