"""Health follows what comes through: traffic, or else a request of the gateway's own, which nobody sees otherwise."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from engine.gateway.path_watch import KNOWN_TOKEN, PROBE_TOKENS, WRONG
from engine.wire.to_scheduler import Submit
from tests.gateway.fake_scheduler import READY, refuse
from tests.gateway.stand import Stand

LOOKS = 3000


@pytest.fixture
def stand(model_path: Path) -> Iterator[Stand]:
    """Asks after a fifth of a second, and waits for two."""
    stand = Stand(model_path, probe_seconds=0.2)
    stand.scheduler.script = lambda request: [KNOWN_TOKEN]
    with stand:
        yield stand


def test_a_quiet_engine_is_asked_for_a_token_of_each_phase_and_no_metric_tells(stand: Stand) -> None:
    for _ in range(2):
        request = stand.scheduler.expect(Submit).request
        assert request.is_probe and not request.key_id
        assert (request.sampling.max_tokens, request.sampling.temperature) == (PROBE_TOKENS, 0.0)
    assert stand.client.get("/health").json()["reason"] == ""
    counts = re.findall(
        r"^vllm:(?:request_success|generation_tokens)\S* (\S+)$", stand.client.get("/metrics").text, re.M
    )
    assert counts and not any(map(float, counts))


def test_tokens_that_do_not_come_are_told_until_they_do(stand: Stand) -> None:
    stand.scheduler.is_held = True
    problem = until(stand, lambda reason: reason != "")
    assert re.fullmatch(r"No token has come through for \d+ s, nor one that was asked for in 0.4 s.", problem)
    assert stand.client.get("/v1/health/live").status_code == 200
    stand.scheduler.is_held = False
    until(stand, lambda reason: reason == "")


def test_steps_that_move_need_no_answer(stand: Stand) -> None:
    """One that waits behind others in an engine that works is not a sign of anything."""
    stand.scheduler.is_held = True
    until(stand, lambda reason: reason != "")
    stand.scheduler.load_table.publish(msgspec.structs.replace(READY, prefill_steps=7))
    until(stand, lambda reason: reason == "")


def test_a_wrong_answer_is_told_though_steps_move(stand: Stand) -> None:
    steps = iter(range(1, LOOKS))

    def answer(request: object) -> list[int]:
        stand.scheduler.load_table.publish(msgspec.structs.replace(READY, decode_steps=next(steps)))
        return [KNOWN_TOKEN, 0]

    stand.scheduler.script = answer
    assert until(stand, lambda reason: reason != "") == WRONG
    stand.scheduler.script = lambda request: [KNOWN_TOKEN]
    until(stand, lambda reason: reason == "")


def test_a_refusal_is_told(stand: Stand) -> None:
    stand.scheduler.refusal = refuse("overloaded", "8 requests are waiting already.", 1)
    assert until(stand, lambda reason: reason != "") == "No token comes through: 8 requests are waiting already."


def until(stand: Stand, is_so: Callable[[str], bool]) -> str:
    """Ask for the health again and again; the reason that was waited for."""
    for _ in range(LOOKS):
        answer = stand.client.get("/health")
        health = answer.json()
        assert (answer.status_code, health["status"]) == ((503, "not ready") if health["reason"] else (200, "ready"))
        if is_so(health["reason"]):
            return health["reason"]
    raise AssertionError("never so")
