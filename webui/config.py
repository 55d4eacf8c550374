"""What one console is told when it starts."""

from __future__ import annotations

import os
import secrets
import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import psutil
from argon2 import PasswordHasher

from appliance.instance import Instance
from engine.config import PortArgs, ServerArgs

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
FORM_BYTES = 256 * 1024


@dataclass(frozen=True)
class ConsoleConfig:
    """`hosts`: the names under which browsers may ask. `has_tls`: whether they speak TLS, with this process or with the
    proxy before it.

    `hasher` makes passwords costly to guess, by default with RFC 9106's second choice of parameters.
    """

    instance: Instance
    settings: ServerArgs
    state_dir: Path
    hosts: tuple[str, ...] = LOOPBACK
    has_tls: bool = False
    hasher: PasswordHasher = field(default_factory=PasswordHasher)

    @classmethod
    def of_appliance(cls, ports: PortArgs, instance: Instance) -> Self:
        """For the appliance whose processes meet at `ports`; makes the console's own directory, 0700."""
        settings = ports.read_settings()
        state_dir = instance.console_dir
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        state_dir.chmod(0o700)
        has_tls = settings.tls_cert is not None or settings.console_proxies > 0
        return cls(instance, settings, state_dir, hosts_of(settings), has_tls)

    @property
    def host(self) -> str:
        """Where it listens."""
        return self.settings.console_host

    @property
    def database(self) -> Path:
        return self.state_dir / "console.db"

    @property
    def cookie_suffix(self) -> str:
        """Cookies know no ports, and several consoles may share a machine."""
        return f"semi-pd-{self.settings.console_port}"

    def cookie_name(self, purpose: str) -> str:
        """Under TLS with the prefix that ties a cookie to this very host."""
        name = f"{self.cookie_suffix}-{purpose}"
        return f"__Host-{name}" if self.has_tls else name

    def secret(self) -> bytes:
        """Signs cookies; made at the first start, 0600."""
        path = self.state_dir / "secret"
        if not path.exists():
            draft = path.with_suffix(".new")
            draft.unlink(missing_ok=True)
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(secrets.token_bytes(32))
            draft.rename(path)
        return path.read_bytes()

    def for_flask(self) -> dict[str, Any]:
        """Flask's and its extensions' settings."""
        return {
            "SECRET_KEY": self.secret(),
            "TRUSTED_HOSTS": list(self.hosts),
            "MAX_CONTENT_LENGTH": FORM_BYTES,
            "SESSION_COOKIE_NAME": self.cookie_name("session"),
            "SESSION_COOKIE_SECURE": self.has_tls,
            "SESSION_COOKIE_HTTPONLY": True,
            "SESSION_COOKIE_SAMESITE": "Strict",
            "WTF_CSRF_TIME_LIMIT": None,
            "WTF_CSRF_SSL_STRICT": False,  # Origin is checked for every change, with TLS or without
            "RATELIMIT_STORAGE_URI": "memory://",
            "RATELIMIT_HEADERS_ENABLED": True,
        }


def hosts_of(settings: ServerArgs) -> tuple[str, ...]:
    """Loopback, the names that were set, and where it listens more widely, this machine's own name and addresses."""
    if settings.console_host in LOOPBACK:
        return (*LOOPBACK, *settings.console_hosts)
    addresses = [address.address for nic in psutil.net_if_addrs().values() for address in nic]
    literal = [f"[{one}]" if ":" in one else one for one in addresses if "%" not in one]
    return (*LOOPBACK, *settings.console_hosts, socket.gethostname(), socket.getfqdn(), *literal)
