"""What is prepared next when what was wanted changes on the way."""

from __future__ import annotations

from collections.abc import Iterator

from engine.allocation import Phase, Splitter
from engine.worker.parts import Parts
from engine.worker.preparation import Preparation
from tests.worker.fake_device import FakeDevice, FakePart


def in_two_pieces(part: FakePart) -> Iterator[None]:
    yield
    yield


def opened(shares: list[int]) -> tuple[Parts, Preparation]:
    parts = Parts(FakeDevice(), Phase.DECODE, Splitter.GREEN, 40, may_change=True)
    return parts, Preparation(parts, shares, in_two_pieces)  # type: ignore[arg-type]


def finish(preparation: Preparation) -> None:
    preparation.advance_while(lambda: True)


def test_what_is_begun_is_finished_and_what_is_not_wanted_any_more_is_left_out() -> None:
    parts, preparation = opened([50, 30, 100])
    preparation.advance()
    preparation.want([60, 40])
    finish(preparation)
    assert parts.prepared == (40, 50, 60, 100)


def test_what_is_prepared_is_not_prepared_again() -> None:
    parts, preparation = opened([100, 50])
    finish(preparation)
    preparation.want([50, 40])
    assert preparation.is_over
    assert parts.prepared == (40, 50, 100)
