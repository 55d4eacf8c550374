"""What one user's appliance keeps between starts: the lock that makes it one, its API key, and where it runs."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import secrets
import socket
from pathlib import Path
from typing import IO, NamedTuple

import msgspec

from engine.api_keys import ValidKey, write_snapshot
from engine.config import PortArgs
from engine.errors import CannotStart
from engine.whole_file import write_whole


class Running(NamedTuple):
    """Where the running appliance can be found."""

    pid: int
    runtime_dir: str
    url: str


class Instance:
    """`$XDG_STATE_HOME/semi-pd`, 0700."""

    def __init__(self, state_dir: Path):
        self.state_dir = state_dir
        self.log_dir = state_dir / "log"
        self._lock: IO[str] | None = None

    @classmethod
    def of_user(cls) -> Instance:
        """The one of the user who runs this process."""
        home = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
        return cls(Path(home) / "semi-pd")

    def claim(self) -> None:
        """Become the one instance of this state directory. Raises `CannotStart` if another runs."""
        self.log_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.state_dir.chmod(0o700)
        lock = (self.state_dir / "lock").open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            other = self.running()
            where = f" (process {other.pid}, {other.url})" if other else ""
            raise CannotStart(f"An appliance of this user is running already{where}: stop it first.") from None
        self._lock = lock

    def release(self) -> None:
        """Let another instance start."""
        self._running_file.unlink(missing_ok=True)
        if self._lock is not None:
            self._lock.close()

    def api_key(self) -> str:
        """The key that was made at the first start, 192 random bits, kept in a file that only its owner can read."""
        path = self.state_dir / "api-key"
        if not path.exists():
            write_whole(path, f"sk-{secrets.token_hex(24)}\n")
        return path.read_text().strip()

    @property
    def console_dir(self) -> Path:
        """What the console keeps, 0700."""
        return self.state_dir / "console"

    def setup_token(self) -> str | None:
        """The one-time token that claims the console; None where somebody has."""
        path = self.console_dir / "setup-token"
        return path.read_text().strip() if path.exists() else None

    def announce(self, running: Running) -> None:
        """Let the other commands find this appliance."""
        write_whole(self._running_file, msgspec.json.encode(running._asdict()).decode(), mode=0o666)

    def running(self) -> Running | None:
        """The appliance that runs now or, if it was killed, ran last."""
        try:
            content = self._running_file.read_bytes()
        except FileNotFoundError:
            return None
        return Running(**msgspec.json.decode(content))

    @property
    def _running_file(self) -> Path:
        return self.state_dir / "running.json"


def publish_keys(ports: PortArgs, keys: list[str]) -> None:
    """Give the gateways the keys that are valid, as SHA-256."""
    write_snapshot(ports.keys_path, [ValidKey(hashlib.sha256(key.encode()).hexdigest()) for key in keys])


def require_free_port(host: str, port: int, option: str) -> None:
    """Raises `CannotStart` if nothing can listen on `host`:`port`, which `option` sets."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                reason = f"Port {port} on {host} is taken by another program: stop it, or choose another with {option}."
            else:
                reason = f"Nothing can listen on {host} port {port}: {error.strerror}."
            raise CannotStart(reason) from error
