"""API keys as rows: made, revoked, and told to the gateways. The key itself is shown once and kept nowhere."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Collection, Iterable
from enum import StrEnum

import msgspec
from sqlalchemy import Connection, insert, select, text, update

from appliance.store import queries
from appliance.store.queries import Row
from appliance.store.schema import keys
from engine.api_keys import ValidKey
from engine.errors import SemiPDError

FIRST_KEY = "first"
"""The name of the key that the first start makes."""
_SECRET_BYTES = 24
_NAME = re.compile(r"[\w.@-]{1,64}")
_MOST_REQUESTS_PER_MINUTE = 1_000_000


class Scope(StrEnum):
    """`inference`: the REST endpoint. `admin`: the console's API."""

    INFERENCE = "inference"
    ADMIN = "admin"


class KeyRefused(SemiPDError):
    """A key that cannot be made or revoked as asked."""


class NewKey(msgspec.Struct, frozen=True):
    """What a key is to be. `expires_at`: seconds since the epoch. `check` tells what is wrong with it."""

    name: str
    created_by: str
    scopes: tuple[str, ...] = (Scope.INFERENCE,)
    expires_at: float | None = None
    requests_per_minute: int | None = None

    def check(self, now: float) -> None:
        """Raises `KeyRefused`."""
        if not _NAME.fullmatch(self.name):
            raise KeyRefused(f"A key's name has 1 to 64 letters, digits, or '.', '_', '@', '-'; {self.name!r} has not.")
        if not self.scopes or not set(self.scopes) <= set(Scope):
            raise KeyRefused(f"A key's scopes are some of {', '.join(Scope)}, not {', '.join(self.scopes) or 'none'}.")
        if self.expires_at is not None and not self.expires_at > now:
            raise KeyRefused("A key must expire in the future.")
        limit = self.requests_per_minute
        if limit is not None and not 1 <= limit <= _MOST_REQUESTS_PER_MINUTE:
            raise KeyRefused(f"A key's limit is 1 to {_MOST_REQUESTS_PER_MINUTE} requests a minute, not {limit}.")


def new_secret() -> str:
    """A key with 192 random bits."""
    return f"sk-{secrets.token_hex(_SECRET_BYTES)}"


def digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def add(connection: Connection, new: NewKey, sha256: str, now: float) -> None:
    """Raises `KeyRefused`. A name is never used again, so that a log can be read later."""
    new.check(now)
    if _find(connection, new.name) is not None:
        raise KeyRefused(f"There is, or was, a key named {new.name}: choose another name.")
    values = msgspec.structs.asdict(new) | {"scopes": list(new.scopes)}
    connection.execute(insert(keys).values(sha256=sha256, created_at=now, **values))


def revoke(connection: Connection, name: str, revoked_by: str, now: float) -> None:
    """Raises `KeyRefused` where there is no such key, or it is revoked already."""
    row = _find(connection, name)
    if row is None:
        raise KeyRefused(f"There is no key named {name}: see `semi-pd keys list`.")
    if row["revoked_at"] is not None:
        raise KeyRefused(f"The key {name} was revoked already, by {row['revoked_by']}.")
    connection.execute(update(keys).where(keys.c.name == name).values(revoked_at=now, revoked_by=revoked_by))


def carry_over(connection: Connection, newer: Collection[Row]) -> None:
    """Into an older state of the table: what was revoked since then is, and no id is used again."""
    for row in newer:
        if row["revoked_at"] is not None:
            same = (keys.c.sha256 == row["sha256"], keys.c.revoked_at.is_(None))
            told = {name: row[name] for name in ("revoked_at", "revoked_by")}
            connection.execute(update(keys).where(*same).values(**told))
    last = max((row["id"] for row in newer), default=0)
    connection.execute(text("UPDATE sqlite_sequence SET seq = max(seq, :last) WHERE name = 'keys'"), {"last": last})


def adopt(connection: Connection, sha256: str, user: str, now: float) -> bool:
    """Have the key that the first start made among the keys; whether it may still be used."""
    if connection.execute(select(keys.c.id).where(keys.c.sha256 == sha256)).first() is None:
        name = FIRST_KEY if _find(connection, FIRST_KEY) is None else f"{FIRST_KEY}-{sha256[:8]}"
        add(connection, NewKey(name, user), sha256, now)
    return queries.key_of_digest(connection, sha256, now) is not None


def note_use(connection: Connection, last_used: Iterable[tuple[int, float]]) -> None:
    """`last_used`: a key's id, and seconds since the epoch."""
    for number, at in last_used:
        connection.execute(update(keys).where(keys.c.id == number).values(last_used_at=at))


def for_gateways(rows: Iterable[Row]) -> list[ValidKey]:
    """Those of the rows that open the REST endpoint."""
    return [
        ValidKey(row["sha256"], row["id"], row["expires_at"], row["requests_per_minute"])
        for row in rows
        if Scope.INFERENCE in row["scopes"]
    ]


def _find(connection: Connection, name: str) -> Row | None:
    row = connection.execute(select(keys).where(keys.c.name == name)).mappings().first()
    return dict(row) if row else None
