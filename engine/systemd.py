"""What systemd asks of a process it started, by its documented protocols; without systemd nothing here does anything.

Sources: sd_notify(3), sd_listen_fds(3), sd_watchdog_enabled(3), systemd.exec(5) on credentials.
"""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

_FIRST_DESCRIPTOR = 3  # SD_LISTEN_FDS_START


def notify(*states: str) -> None:
    """Tell the service manager, for instance `READY=1`, `STATUS=…` or `WATCHDOG=1`."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
        sender.connect("\0" + address[1:] if address.startswith("@") else address)
        sender.sendall("\n".join(states).encode())


def notify_ready(status: str) -> None:
    """The process does its work from now on; `status` is what `systemctl status` shows."""
    notify("READY=1", f"STATUS={status}")


class Watchdog:
    """Fed by a loop once a turn, in which it must not wait longer than `patience_ms`; None: as long as it likes.

    systemd restarts a service that has not come round for `WatchdogSec=`.
    """

    def __init__(self) -> None:
        self._seconds = _watchdog_seconds()
        self._fed_at = time.monotonic()
        self.patience_ms = None if self._seconds is None else int(self._seconds * 1000)

    def feed(self) -> None:
        """A turn is done. Loops turn more often than the service manager wants to hear of it."""
        if self._seconds is not None and (now := time.monotonic()) - self._fed_at >= self._seconds / 2:
            self._fed_at = now
            notify("WATCHDOG=1")


def _watchdog_seconds() -> float | None:
    """Half the time after which the service counts as hung, None where nobody watches."""
    if os.environ.get("WATCHDOG_PID") != str(os.getpid()):
        return None
    return int(os.environ["WATCHDOG_USEC"]) / 2e6


def take_listener() -> socket.socket | None:
    """The listening socket that this process was started with, None without one. To be asked for once."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return None
    count = int(os.environ.pop("LISTEN_FDS", "0"))
    for name in ("LISTEN_PID", "LISTEN_FDNAMES"):
        os.environ.pop(name, None)
    assert count == 1, f"one socket a service, and this one has {count}"
    listener = socket.socket(fileno=_FIRST_DESCRIPTOR)
    listener.set_inheritable(False)
    return listener


def credential(name: str) -> Path | None:
    """The file with a secret that systemd has read for this service (`LoadCredential=`), None where it has none."""
    directory = os.environ.get("CREDENTIALS_DIRECTORY")
    path = Path(directory, name) if directory else None
    return path if path is not None and path.is_file() else None
