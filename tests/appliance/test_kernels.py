"""What processes are told about kernels, and what a person is, with an nvidia-smi that says what a test wants."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from appliance.kernels import build_kernels, kernel_environment, kernel_notice, missing_kernels
from engine.config import ServerArgs
from engine.kernel_cache import KernelCache, KernelNeeds, installed_versions

GPU = ServerArgs(device="cuda", gpu="3").for_device("cuda")
CPU = ServerArgs(device="cpu").for_device("cpu")


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A GPU number 3 of compute capability 9.0, and a state directory of its own."""
    program = tmp_path / "bin" / "nvidia-smi"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\ncase "$*" in *--query-gpu=compute_cap*--id=3) echo 9.0;; *) exit 6;; esac\n')
    program.chmod(0o700)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    for name in ("FLASHINFER_WORKSPACE_BASE", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_processes_on_a_gpu_are_told_where_kernels_are(machine: Path) -> None:
    environment = kernel_environment(GPU)
    assert environment["FLASHINFER_WORKSPACE_BASE"] == str(machine / "state" / "semi-pd" / "kernels")
    assert environment["FLASHINFER_CUDA_ARCH_LIST"] == "9.0"
    assert kernel_environment(CPU) == {}


def test_a_person_is_told_once_that_they_have_to_be_built() -> None:
    notice = kernel_notice(GPU)
    assert notice.startswith("No GPU kernels are built yet: the first start builds them, which takes minutes;")
    needs = KernelNeeds.of(GPU.model_path, "bfloat16", "9.0")
    KernelCache.of(os.environ).note(needs, installed_versions(), "")
    assert kernel_notice(GPU) == missing_kernels(GPU) == ""


def test_nothing_is_said_of_what_is_not_known(machine: Path) -> None:
    assert kernel_notice(CPU) == ""
    assert kernel_notice(GPU.model_copy(update={"gpu": "4"})) == ""
    (machine / "config.json").write_text('{"architectures": ["GPT2LMHeadModel"]}')
    assert kernel_notice(GPU.model_copy(update={"model_path": machine})) == ""


def test_the_cpu_needs_none() -> None:
    assert build_kernels(CPU) == "The CPU needs no kernels built."
