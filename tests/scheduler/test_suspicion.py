"""A request that ends schedulers while they take it in is told from others."""

from __future__ import annotations

import pytest

from engine.scheduler.suspicion import Suspicion
from engine.storage.ledger import Ledger


class Crash(Exception):
    pass


def ledger() -> Ledger:
    return Ledger.create(bytearray(Ledger.bytes_for(4)), 4)


def crash_over(memory: Ledger, request_id: int) -> None:
    with pytest.raises(Crash), Suspicion(memory).of(request_id):
        raise Crash


def test_the_second_scheduler_that_ends_over_a_request_condemns_it() -> None:
    memory = ledger()
    crash_over(memory, 5)
    assert not Suspicion(memory).condemns(5)
    crash_over(memory, 5)
    assert Suspicion(memory).condemns(5)
    assert Suspicion(memory).condemns(5), "and a loss of another kind does not acquit it"
    assert not Suspicion(memory).condemns(6)


def test_one_that_was_taken_in_is_not_suspected() -> None:
    memory = ledger()
    for _ in range(3):
        with Suspicion(memory).of(5):
            pass
    assert not Suspicion(memory).condemns(5)


def test_another_that_ends_a_scheduler_is_suspected_instead() -> None:
    memory = ledger()
    for request_id in (5, 6, 5):
        crash_over(memory, request_id)
    assert not Suspicion(memory).condemns(5)
