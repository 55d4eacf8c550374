"""What a live request remembers, and that every message may come twice."""

from __future__ import annotations

import asyncio

import pytest

from engine.errors import EngineFailure, Overloaded
from engine.gateway.generation import ClientLeft, Generation
from engine.request import FinishReason, Request, SamplingParams
from engine.wire.to_scheduler import Token

REQUEST = Request(7, [1, 2, 3], SamplingParams(max_tokens=9, seed=5), emitted_ids=[10])


class Engine:
    """Notes what a generation asks of it."""

    def __init__(self) -> None:
        self.cancelled: list[int] = []
        self.forgotten: list[int] = []
        self.generation = Generation(REQUEST, self.forgotten.append, self.cancelled.append)


def token(index: int, token_id: int, finish: FinishReason | None = None) -> Token:
    return Token(7, index, token_id, finish)


def test_the_journal_is_enough_to_hand_the_request_in_again() -> None:
    generation = Engine().generation
    for index, token_id in [(1, 11), (2, 12), (2, 12), (0, 10), (3, 13)]:
        generation.take(token(index, token_id))
    again = generation.request_from_here
    assert again == Request(7, [1, 2, 3], SamplingParams(max_tokens=9, seed=5), emitted_ids=[10, 11, 12, 13])
    assert [read.token_id for read in asyncio.run(generation.next_tokens())] == [11, 12, 13]


def test_the_end_is_not_cancelled() -> None:
    engine = Engine()
    with engine.generation as generation:
        generation.take(token(1, 11, FinishReason.STOP))
        generation.client_left()
    assert (engine.forgotten, engine.cancelled) == ([7], [])


def test_leaving_early_cancels_once() -> None:
    engine = Engine()
    with engine.generation as generation:
        generation.close()
        generation.close()
    assert (engine.forgotten, engine.cancelled) == ([7], [7])


@pytest.mark.parametrize("bad", [token(2, 12), token(1, 11, FinishReason.CANCELLED)])
def test_a_gap_or_a_cancel_nobody_asked_for_is_a_failure(bad: Token) -> None:
    engine = Engine()
    engine.generation.take(bad)
    assert engine.cancelled == [7]
    with pytest.raises(EngineFailure):
        asyncio.run(engine.generation.next_tokens())


def test_tokens_that_came_are_read_before_the_failure_that_followed() -> None:
    async def scenario() -> None:
        engine = Engine()
        engine.generation.take(token(1, 11))
        engine.generation.fail(Overloaded("gone"))
        assert len(await engine.generation.next_tokens()) == 1
        with pytest.raises(Overloaded):
            await engine.generation.next_tokens()
        assert engine.cancelled == []

    asyncio.run(scenario())


def test_a_reader_that_waits_is_told() -> None:
    async def scenario() -> None:
        engine = Engine()
        accepted = asyncio.create_task(engine.generation.accepted())
        await asyncio.sleep(0)
        engine.generation.accept()
        await accepted
        reading = asyncio.create_task(engine.generation.next_tokens())
        await asyncio.sleep(0)
        engine.generation.client_left()
        with pytest.raises(ClientLeft):
            await reading
        assert engine.cancelled == [7]

    asyncio.run(scenario())
