"""A key's limit of requests a minute, as a client meets it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import pytest

from engine.api_keys import ValidKey, write_snapshot
from tests.gateway.stand import KEY, Stand


@pytest.fixture
def limited(stand: Stand) -> Iterator[Stand]:
    """Its key may send two requests a minute."""
    before = stand.ports.keys_path.read_text()
    sha256 = hashlib.sha256(KEY.encode()).hexdigest()
    write_snapshot(stand.ports.keys_path, [ValidKey(sha256, number=1, requests_per_minute=2)])
    yield stand
    stand.ports.keys_path.write_text(before)


def test_a_request_too_many(limited: Stand) -> None:
    assert [limited.complete().status_code for _ in range(3)] == [200, 200, 429]
    refused = limited.complete()
    error = refused.json()["error"]
    assert (error["type"], error["code"]) == ("requests", "rate_limit_exceeded")
    assert "2 requests a minute" in error["message"]
    assert 1 <= int(refused.headers["retry-after"]) <= 30
    assert limited.client.get("/v1/models").status_code == 200
