"""What a process tells systemd, and takes from it: with a socket in systemd's place."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.systemd import Watchdog, credential, notify, notify_ready, take_listener


@pytest.fixture
def manager(runtime_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """The socket on which the service manager listens."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(runtime_dir / "notify"))
        listening.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(runtime_dir / "notify"))
        yield listening


def test_readiness_comes_with_a_status(manager: socket.socket) -> None:
    notify_ready("Serves.")
    assert manager.recv(1024) == b"READY=1\nSTATUS=Serves."


def test_an_abstract_address_is_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"semi-pd-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(f"\0{name}")
        monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}")
        notify("STOPPING=1")
        assert listening.recv(1024) == b"STOPPING=1"


def test_without_systemd_nothing_is_said_and_nothing_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NOTIFY_SOCKET", "WATCHDOG_PID", "LISTEN_PID"):
        monkeypatch.delenv(name, raising=False)
    notify_ready("Serves.")
    watchdog = Watchdog()
    watchdog.feed()
    assert watchdog.patience_ms is None
    assert take_listener() is None


def test_the_watchdog_of_another_process_is_not_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHDOG_PID", str(os.getppid()))
    monkeypatch.setenv("WATCHDOG_USEC", "30000000")
    assert Watchdog().patience_ms is None


def test_the_watchdog_is_fed_no_more_often_than_it_wants(
    manager: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    monkeypatch.setenv("WATCHDOG_USEC", "30000000")
    watchdog = Watchdog()
    assert watchdog.patience_ms == 15_000
    watchdog.feed()
    with pytest.raises(BlockingIOError):
        manager.recv(1024)
    now[0] += 7.5
    watchdog.feed()
    assert manager.recv(1024) == b"WATCHDOG=1"


TAKES_IT = """
import os
os.environ["LISTEN_PID"] = str(os.getpid())
from engine.systemd import take_listener
listener = take_listener()
print(listener.getsockname()[1], listener.get_inheritable(), "LISTEN_FDS" in os.environ, take_listener())
"""


def test_the_listening_socket_is_taken_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        said = subprocess.run(
            [sys.executable, "-c", TAKES_IT],
            env={**os.environ, "LISTEN_FDS": "1"},
            preexec_fn=lambda: os.dup2(listening.fileno(), 3),
            pass_fds=(3,),
            capture_output=True,
            text=True,
            check=True,
        )
    assert said.stdout.split() == [str(port), "False", "False", "None"]


def test_a_secret_is_where_systemd_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert credential("tls-key") is None
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert credential("tls-key") is None
    (tmp_path / "tls-key").touch()
    assert credential("tls-key") == tmp_path / "tls-key"
