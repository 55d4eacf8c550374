"""The MPS daemon of a slot: its life from start to stop, with a fake of NVIDIA's program and, on a GPU, with it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.mps import MPS_CONTROL, MpsDaemon, outside_mps, visible_gpu
from engine.errors import CannotStart, SemiPDError

FAKE = Path(__file__).parent / "fake_mps_control.py"


@pytest.fixture
def directory() -> Iterator[Path]:
    """Short, as the paths of MPS's sockets have to be."""
    path = Path(tempfile.mkdtemp(prefix="mps-"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def fake(directory: Path) -> str:
    binary = directory / "fake-mps-control"
    binary.write_text(f'#!/bin/sh\nexec {sys.executable} -S -E {FAKE} "$@"\n')
    binary.chmod(0o755)
    return str(binary)


@pytest.fixture
def daemon(directory: Path, fake: str) -> Iterator[MpsDaemon]:
    daemon = MpsDaemon("a", directory / "mps-a", directory / "log-a", "1", fake)
    yield daemon
    daemon.stop()


def test_it_answers_when_start_returns_and_is_gone_when_stop_does(daemon: MpsDaemon, directory: Path) -> None:
    daemon.start()
    assert daemon.pid is not None
    assert daemon.servers() == []
    pid = daemon.pid
    daemon.stop()
    assert daemon.pid is None
    assert not (directory / "mps-a" / "control").exists()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    with pytest.raises(SemiPDError, match="Cannot find MPS control daemon"):
        daemon.servers()


def test_it_can_be_started_again(daemon: MpsDaemon) -> None:
    daemon.start()
    daemon.stop()
    daemon.start()
    assert daemon.servers() == []


def test_its_directories_are_this_users_only(daemon: MpsDaemon, directory: Path) -> None:
    daemon.start()
    for name in ("mps-a", "log-a"):
        assert stat.S_IMODE((directory / name).stat().st_mode) == 0o700


def test_it_has_one_gpu_and_a_process_group_of_its_own(daemon: MpsDaemon, directory: Path) -> None:
    daemon.start()
    assert json.loads((directory / "log-a" / "seen.json").read_text()) == {"gpu": "1", "group": daemon.pid}


def test_its_clients_are_told_where_it_is_and_count_its_gpu_from_0(daemon: MpsDaemon, directory: Path) -> None:
    assert daemon.client_environment == {
        "CUDA_MPS_PIPE_DIRECTORY": str(directory / "mps-a"),
        "CUDA_MPS_LOG_DIRECTORY": str(directory / "log-a"),
        "CUDA_VISIBLE_DEVICES": "0",
    }


def test_two_slots_have_two_daemons(daemon: MpsDaemon, directory: Path, fake: str) -> None:
    other = MpsDaemon("b", directory / "mps-b", directory / "log-b", "1", fake)
    daemon.start()
    other.start()
    other.stop()
    assert daemon.servers() == []


def test_a_daemon_that_was_killed_is_seen_to_be_gone(daemon: MpsDaemon) -> None:
    daemon.start()
    pid = daemon.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert daemon.pid is None
    daemon.stop()


def test_one_that_ends_at_once_is_named_with_its_own_reason(daemon: MpsDaemon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_MPS", "refuse")
    with pytest.raises(CannotStart, match=r"slot a ended at once with status 1: An instance .* already running"):
        daemon.start()
    assert daemon.pid is None


def test_one_that_does_not_quit_is_ended(daemon: MpsDaemon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_MPS", "deaf")
    daemon.start()
    pid = daemon.pid
    assert pid is not None
    daemon.stop(timeout=0.1)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_machine_without_mps_is_told_so(directory: Path) -> None:
    daemon = MpsDaemon("a", directory / "mps", directory / "log", "0", binary="no-such-mps-control")
    with pytest.raises(CannotStart, match="no-such-mps-control is not there"):
        daemon.start()


def test_a_path_too_long_for_a_socket_is_refused(directory: Path, fake: str) -> None:
    daemon = MpsDaemon("a", directory / ("x" * 100), directory / "log", "0", fake)
    with pytest.raises(CannotStart, match="the kernel allows 107"):
        daemon.start()


@pytest.mark.parametrize(
    ("gpu", "environment", "entry"),
    [
        ("0", {}, "0"),
        ("1", {"CUDA_VISIBLE_DEVICES": "3, 5"}, "5"),
        ("0", {"CUDA_VISIBLE_DEVICES": "GPU-aaaa"}, "GPU-aaaa"),
        ("GPU-bbbb", {"CUDA_VISIBLE_DEVICES": "3,5"}, "GPU-bbbb"),
    ],
)
def test_a_gpu_is_named_as_the_environment_names_it(gpu: str, environment: dict[str, str], entry: str) -> None:
    assert visible_gpu(gpu, environment) == entry


@pytest.mark.parametrize("listed", ["", "3"])
def test_a_gpu_the_environment_hides_is_refused(listed: str) -> None:
    with pytest.raises(CannotStart, match="cannot be '1'"):
        visible_gpu("1", {"CUDA_VISIBLE_DEVICES": listed})


def test_a_process_outside_mps_looks_for_its_daemon_where_nothing_is(directory: Path) -> None:
    environment = outside_mps(directory, "1")
    assert not Path(environment["CUDA_MPS_PIPE_DIRECTORY"]).exists()
    assert environment["CUDA_VISIBLE_DEVICES"] == "1"


CLIENT = """
import sys, torch
torch.zeros(1, device="cuda").item()
print(torch.cuda.device_count(), flush=True)
sys.stdin.readline()
"""


@pytest.mark.gpu
@pytest.mark.skipif(not shutil.which(MPS_CONTROL), reason=f"{MPS_CONTROL} is not installed")
def test_the_real_daemon_serves_a_client(directory: Path) -> None:
    daemon = MpsDaemon("a", directory / "mps", directory / "log", visible_gpu("0", os.environ))
    daemon.start()
    try:
        assert daemon.servers() == []
        client = subprocess.Popen(
            [sys.executable, "-c", CLIENT],
            env=os.environ | daemon.client_environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert client.stdout is not None
        assert client.stdout.readline().strip() == "1"
        assert len(daemon.servers()) == 1
        client.communicate("leave\n")
        assert client.returncode == 0
    finally:
        daemon.stop()
    assert daemon.pid is None
