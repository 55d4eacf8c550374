"""The keys that are valid now, as the controller tells gateways: a file, one key a line, never the keys themselves."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple, Self

from engine.errors import SemiPDError
from engine.whole_file import write_whole

_HEX_DIGITS = 64


class BadSnapshot(SemiPDError):
    """The file is not what a controller writes."""


class ValidKey(NamedTuple):
    """`number` finds the key's place in the file of `engine.key_use`; None for a key without one, which is unlimited.

    `expires_at` is in seconds since the epoch.
    """

    sha256: str
    number: int | None = None
    expires_at: float | None = None
    requests_per_minute: int | None = None

    @classmethod
    def from_line(cls, line: str) -> Self:
        """`SHA256 [number=N] [expires_at=SECONDS] [requests_per_minute=N]`. Raises `BadSnapshot`."""
        sha256, *rest = line.split()
        try:
            fields = dict(field.split("=") for field in rest)
            if len(bytes.fromhex(sha256)) * 2 != _HEX_DIGITS:
                raise ValueError
            return cls(sha256.lower(), **{name: _TYPES[name](value) for name, value in fields.items()})
        except (ValueError, KeyError):
            raise BadSnapshot("A line of the key file is not what a controller writes.") from None

    @property
    def line(self) -> str:
        named = {"number": self.number, "expires_at": self.expires_at, "requests_per_minute": self.requests_per_minute}
        return " ".join([self.sha256, *(f"{name}={value!r}" for name, value in named.items() if value is not None)])


_TYPES = {"number": int, "expires_at": float, "requests_per_minute": int}


def write_snapshot(path: Path, keys: Iterable[ValidKey]) -> None:
    """All at once: a reader has the old keys or the new ones."""
    write_whole(path, "".join(f"{key.line}\n" for key in keys))


def parse_snapshot(text: str) -> list[ValidKey]:
    """Raises `BadSnapshot`."""
    return [ValidKey.from_line(line) for line in text.splitlines() if line.strip()]
