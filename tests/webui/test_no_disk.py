"""A console whose disk takes nothing: pages are shown, changes are told, and what waits is written afterwards."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from tests.webui.stand import OWNER, PASSWORD, Browser, Stand


@contextmanager
def no_disk(stand: Stand) -> Iterator[None]:
    """SQLite itself refuses to write, as it does on a file system that is full or read-only."""
    _pragma(stand, "query_only = ON")
    yield
    _pragma(stand, "query_only = OFF")


def _pragma(stand: Stand, words: str) -> None:
    connection = stand.services.database.engine.raw_connection()
    assert isinstance(connection.dbapi_connection, sqlite3.Connection)
    connection.dbapi_connection.execute(f"PRAGMA {words}")
    connection.close()


def test_pages_are_shown_and_say_why(stand: Stand, owner: Browser) -> None:
    with no_disk(stand):
        assert owner.post("/slo/mode", mode="hold").status_code == 303
        assert owner.get("/").status_code == 200
        assert "cannot be written" in stand.services.look()["store_problem"]
    assert stand.coordinator.slo_manager.status()["mode"] == "hold"


def test_what_was_done_meanwhile_is_in_the_audit_log_afterwards(stand: Stand, owner: Browser) -> None:
    with no_disk(stand):
        for mode in ("hold", "manual"):
            owner.post("/slo/mode", mode=mode)
        assert [action for _, action, _ in stand.audit] == ["claim"]
    assert stand.services.look()["store_problem"] == ""
    assert [action for _, action, _ in stand.audit] == ["slo.mode", "slo.mode", "claim"]


def test_a_log_in_that_cannot_be_kept_is_refused_with_the_reason(stand: Stand, owner: Browser) -> None:
    with no_disk(stand):
        refused = stand.browser().post("/login", name=OWNER, password=PASSWORD)
        assert refused.status_code == 507
        assert "cannot be written" in refused.text
    assert stand.browser().post("/login", name=OWNER, password=PASSWORD).status_code == 303
