"""What the driver says of GPUs, and whether two workers can share one."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.gpu import Gpu, find, gpus, mps_daemons, parse
from appliance.mps import MPS_CONTROL
from appliance.sharing import sharing
from engine.allocation import Splitter
from engine.config import Mode, ServerArgs
from engine.errors import CannotStart

SAID = """0, GPU-aaaa-1111, NVIDIA H200, 580.159.03, Default, Disabled
1, GPU-bbbb-2222, NVIDIA H200, 580.159.03, Exclusive_Process, Enabled
2, GPU-bbbb-3333, NVIDIA GeForce RTX 4090, 535.54.03, Default, [N/A]
"""
H200, TAKEN, OLD = parse(SAID)
SETTINGS = ServerArgs().for_device("cuda")


def test_a_gpu_is_found_by_number_or_uuid() -> None:
    assert Gpu("0", "GPU-aaaa-1111", "NVIDIA H200", "580.159.03", "Default", "Disabled") == H200
    assert find([H200, TAKEN, OLD], "1") == TAKEN
    assert find([H200, TAKEN, OLD], "GPU-aaaa") == H200
    for unknown in ("7", "GPU-bbbb", "GPU", ""):
        with pytest.raises(CannotStart, match="nvidia-smi knows 0"):
            find([H200, TAKEN, OLD], unknown)


def test_without_nvidia_smi_the_reason_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CannotStart, match="nvidia-smi does not tell"):
        gpus()


def test_a_gpu_that_can_be_shared_is_as_asked() -> None:
    assert sharing(SETTINGS, H200, has_mps=True, foreign_daemons=[]) == (SETTINGS, [])


def test_a_gpu_for_one_process_only_cannot_be_used() -> None:
    with pytest.raises(CannotStart, match="Exclusive_Process.*nvidia-smi -i 1 -c DEFAULT"):
        sharing(SETTINGS, TAKEN, has_mps=True, foreign_daemons=[])


@pytest.mark.parametrize(
    ("gpu", "has_mps", "why"),
    [
        (H200._replace(mig_mode="Enabled"), True, "divided by MIG"),
        (H200, False, "MPS is not installed"),
        (OLD, True, "Driver 535.54.03 has no green contexts"),
    ],
)
def test_where_two_workers_cannot_share_it_one_does_both_phases(gpu: Gpu, has_mps: bool, why: str) -> None:
    settings, notices = sharing(SETTINGS, gpu, has_mps, [])
    assert settings.mode is Mode.COLOCATED
    assert len(notices) == 1 and why in notices[0] and "one worker does both phases" in notices[0]
    alone = SETTINGS.model_copy(update={"mode": Mode.COLOCATED})
    assert sharing(alone, gpu, has_mps, []) == (alone, []), "nothing is missed then"


def test_mps_needs_no_green_contexts() -> None:
    settings = ServerArgs(splitter=Splitter.MPS).for_device("cuda")
    assert sharing(settings, OLD, has_mps=True, foreign_daemons=[]) == (settings, [])


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[int]:
    """A process that looks like a daemon: its program's name and a flag."""
    program = tmp_path / MPS_CONTROL
    program.symlink_to(sys.executable)
    code = "import sys; print(flush=True); sys.stdin.read()"
    process = subprocess.Popen(
        [str(program), "-Sc", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ}
    )
    assert process.stdin and process.stdout
    process.stdout.readline()
    yield process.pid
    process.stdin.close()
    process.wait()
    process.stdout.close()


def test_a_foreign_daemon_is_seen_and_reported(daemon: int) -> None:
    assert daemon in mps_daemons()
    assert daemon not in mps_daemons(own=[daemon])
    settings, notices = sharing(SETTINGS, H200, has_mps=True, foreign_daemons=[daemon])
    assert settings == SETTINGS
    assert len(notices) == 1 and f"process {daemon}" in notices[0]
