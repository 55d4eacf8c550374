"""Keys: made, published, limited, revoked, expired; and that the gateway's side agrees with the controller's."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from appliance.store import queries
from appliance.store.database import open_database
from appliance.store.key_book import KeyBook
from appliance.store.keys import KeyRefused, NewKey, digest
from appliance.store.reading import FILE, reading
from appliance.store.writer import Writer
from engine.config import PortArgs
from engine.errors import RateLimited, Unauthorized
from engine.gateway.keys import Keys

FIRST = "sk-of-the-first-start"


@dataclass
class Stand:
    """The controller's book and a gateway worker's keys, as in one appliance."""

    state_dir: Path
    ports: PortArgs

    def __post_init__(self) -> None:
        self.writer = Writer("The database", lambda: open_database(self.state_dir / FILE), lambda said: None)
        self.book = KeyBook(self.state_dir, self.writer, self.ports)
        self.gateway = Keys(self.ports.keys_path, self.ports.key_use_path)

    def row(self, name: str) -> queries.Row:
        with reading(self.state_dir) as connection:
            return next(row for row in queries.keys(connection) if row["name"] == name)


@pytest.fixture
def stand(tmp_path: Path, runtime_dir: Path) -> Iterator[Stand]:
    stand = Stand(tmp_path, PortArgs(runtime_dir))
    stand.writer.start()
    yield stand
    stand.writer.stop()
    stand.book.close()


def test_a_key_from_its_making_to_its_end(stand: Stand) -> None:
    secret = stand.book.add(NewKey("ci", "alice"))
    key_id = stand.gateway.enter(f"Bearer {secret}")
    assert key_id == digest(secret)[:12]
    row = stand.row("ci")
    assert (row["created_by"], row["scopes"], row["revoked_at"]) == ("alice", ["inference"], None)
    assert row["last_used_at"] is None
    stand.book.look()
    stand.writer.change(lambda connection: None)
    noted = stand.row("ci")["last_used_at"]
    stand.gateway.enter(f"Bearer {secret}")
    stand.book.revoke("ci", "bob")
    assert noted < stand.row("ci")["last_used_at"] == pytest.approx(time.time(), abs=60)
    with pytest.raises(Unauthorized, match="not known"):
        stand.gateway.enter(f"Bearer {secret}")
    assert stand.row("ci")["revoked_by"] == "bob"


def test_a_key_has_at_least_128_random_bits_and_is_kept_nowhere(stand: Stand) -> None:
    secrets = {stand.book.add(NewKey(f"key-{number}", "alice")) for number in range(20)}
    assert len(secrets) == 20 and all(len(bytes.fromhex(secret.removeprefix("sk-"))) >= 16 for secret in secrets)
    stand.writer.stop()
    kept = b"".join(path.read_bytes() for path in stand.state_dir.iterdir())
    kept += stand.ports.keys_path.read_bytes()
    assert not [secret for secret in secrets if secret.encode() in kept or secret.removeprefix("sk-").encode() in kept]
    assert all(digest(secret).encode() in kept for secret in secrets)


def test_an_expired_key_is_refused(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = stand.book.add(NewKey("short", "alice", expires_at=time.time() + 100))
    stand.gateway.check(f"Bearer {secret}")
    later = time.time() + 101
    monkeypatch.setattr(time, "time", lambda: later)
    with pytest.raises(Unauthorized, match="expired"):
        stand.gateway.check(f"Bearer {secret}")


def test_a_key_for_the_console_alone_is_not_known_to_the_endpoint(stand: Stand) -> None:
    secret = stand.book.add(NewKey("console", "alice", ("admin",)))
    with pytest.raises(Unauthorized):
        stand.gateway.check(f"Bearer {secret}")
    with reading(stand.state_dir) as connection:
        row = queries.key_of_digest(connection, digest(secret), time.time())
    assert row is not None and row["name"] == "console"


def test_a_limit_holds_over_all_gateway_workers(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    bearer = f"Bearer {stand.book.add(NewKey('slow', 'alice', requests_per_minute=6))}"
    workers = [stand.gateway, Keys(stand.ports.keys_path, stand.ports.key_use_path)]
    for number in range(6):
        workers[number % 2].enter(bearer)
    for worker in workers:
        with pytest.raises(RateLimited, match="6 requests a minute") as refused:
            worker.enter(bearer)
        assert refused.value.retry_after_seconds == 10
        assert worker.check(bearer)  # what costs nothing stays allowed
    now += 10.0
    workers[1].enter(bearer)
    with pytest.raises(RateLimited):
        workers[0].enter(bearer)
    other = stand.book.add(NewKey("fast", "alice"))
    for _ in range(100):
        workers[0].enter(f"Bearer {other}")


@pytest.mark.parametrize(
    ("new", "sentence"),
    [
        (NewKey("", "me"), "name has 1 to 64"),
        (NewKey("two words", "me"), "name has 1 to 64"),
        (NewKey("a", "me", ("root",)), "scopes are some of inference, admin, not root"),
        (NewKey("a", "me", ()), "not none"),
        (NewKey("a", "me", expires_at=1.0), "expire in the future"),
        (NewKey("a", "me", requests_per_minute=0), "1 to 1000000 requests a minute, not 0"),
        (NewKey("taken", "me"), "There is, or was, a key named taken"),
    ],
)
def test_a_key_that_cannot_be(stand: Stand, new: NewKey, sentence: str) -> None:
    stand.book.add(NewKey("taken", "me"))
    with pytest.raises(KeyRefused, match=sentence):
        stand.book.add(new)
    with reading(stand.state_dir) as connection:
        assert [row["name"] for row in queries.keys(connection)] == ["taken"]


def test_revoking_what_is_not_there(stand: Stand) -> None:
    stand.book.add(NewKey("once", "me"))
    stand.book.revoke("once", "me")
    with pytest.raises(KeyRefused, match="revoked already, by me"):
        stand.book.revoke("once", "me")
    with pytest.raises(KeyRefused, match="no key named never"):
        stand.book.revoke("never", "me")


def test_the_first_key_is_adopted_once_and_stays_revoked(stand: Stand) -> None:
    assert stand.book.adopt(FIRST, "root") and stand.book.adopt(FIRST, "root")
    stand.gateway.check(f"Bearer {FIRST}")
    stand.book.revoke("first", "root")
    assert not stand.book.adopt(FIRST, "root")
    with pytest.raises(Unauthorized):
        stand.gateway.check(f"Bearer {FIRST}")
    assert stand.book.adopt("another", "root")  # its file was removed, and a new one made


def test_where_there_is_no_database_the_first_key_opens_the_endpoint(tmp_path: Path, runtime_dir: Path) -> None:
    def no_disk():
        raise OSError(30, "Read-only file system")

    ports = PortArgs(runtime_dir)
    writer = Writer("The database", no_disk, lambda said: None)
    writer.start()
    book = KeyBook(tmp_path, writer, ports)
    assert book.adopt(FIRST, "root")
    assert Keys(ports.keys_path, ports.key_use_path).enter(f"Bearer {FIRST}")
    writer.stop()
    book.close()
