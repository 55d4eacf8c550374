"""What is known to be built, and why something has to be."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from engine.config import DEMO_MODEL
from engine.kernel_cache import Built, KernelCache, KernelNeeds, compute_capability, problem

NEEDS = KernelNeeds("9.0", "bfloat16", 128, 4, 8, (4096, 14336))
OTHERS = KernelNeeds("9.0", "bfloat16", 64, 8, 4, (2048,))
VERSIONS = {"torch": "2.11.0", "flashinfer-python": "0.6.13", "triton": "3.6.0"}


def test_nothing_is_built_at_first(tmp_path: Path) -> None:
    cache = KernelCache(tmp_path / "kernels")
    assert cache.built() is None
    assert problem(cache.built(), NEEDS, VERSIONS) == "no GPU kernels are built yet"


def test_what_was_noted_is_found_again_beside_what_others_need(tmp_path: Path) -> None:
    cache = KernelCache(tmp_path / "kernels")
    for needs in (NEEDS, OTHERS, NEEDS):
        cache.note(needs, VERSIONS, "580.1")
    assert KernelCache(tmp_path / "kernels").built() == Built(VERSIONS, "580.1", (NEEDS, OTHERS))
    assert problem(cache.built(), NEEDS, VERSIONS) == problem(cache.built(), OTHERS, VERSIONS) == ""
    assert [path.name for path in cache.root.iterdir()] == ["built.json"]


def test_another_shape_or_gpu_has_to_be_built(tmp_path: Path) -> None:
    cache = KernelCache(tmp_path)
    cache.note(NEEDS, VERSIONS, "")
    assert "heads of 64 and compute capability 9.0" in problem(cache.built(), OTHERS, VERSIONS)
    ampere = KernelNeeds("8.0", "bfloat16", 128, 4, 8, (4096, 14336))
    assert "compute capability 8.0" in problem(cache.built(), ampere, VERSIONS)


def test_another_version_makes_all_of_it_old(tmp_path: Path) -> None:
    cache = KernelCache(tmp_path)
    cache.note(OTHERS, VERSIONS, "580.1")
    newer = VERSIONS | {"triton": "3.7.0"}
    expected = "the GPU kernels were built for triton 3.6.0, and this is triton 3.7.0"
    assert problem(cache.built(), OTHERS, newer) == expected
    cache.note(NEEDS, newer, "580.1")
    assert problem(cache.built(), NEEDS, newer) == ""
    assert problem(cache.built(), OTHERS, newer) != ""


def test_a_record_that_cannot_be_read_is_none(tmp_path: Path) -> None:
    (tmp_path / "built.json").write_text("{")
    assert KernelCache(tmp_path).built() is None


def test_flashinfer_decides_where_if_it_was_told_to() -> None:
    assert KernelCache.of({"XDG_STATE_HOME": "/state"}).root == Path("/state/semi-pd/kernels")
    assert KernelCache.of({"XDG_STATE_HOME": "/state", "FLASHINFER_WORKSPACE_BASE": "/x"}).root == Path("/x")


def test_children_are_told_folders_and_architecture() -> None:
    environment = KernelCache(Path("/k")).environment("9.0")
    assert environment["FLASHINFER_WORKSPACE_BASE"] == "/k"
    assert environment["TRITON_CACHE_DIR"] == "/k/triton"
    assert environment["FLASHINFER_CUDA_ARCH_LIST"] == "9.0"
    assert KernelCache.of(environment).root == Path("/k")
    assert "FLASHINFER_CUDA_ARCH_LIST" not in KernelCache(Path("/k")).environment(None)


def test_what_a_model_needs_is_in_its_config() -> None:
    needs = KernelNeeds.of(DEMO_MODEL, "bfloat16", "9.0")
    assert needs == KernelNeeds("9.0", "bfloat16", 64, 4, 2, (320, 512, 832))


@pytest.mark.parametrize(
    ("said", "expected"), [("echo 9.0", "9.0"), ("echo '[N/A]'", None), ("exit 6", None), ("echo", None)]
)
def test_the_compute_capability_is_nvidia_smis_word(
    said: str, expected: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{said}\n")
    program.chmod(0o700)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert compute_capability("0") == expected


def test_a_machine_without_nvidia_smi_tells_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", os.path.dirname(sys.executable))
    assert compute_capability("0") is None
