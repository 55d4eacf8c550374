"""A controller that comes and goes beside processes it did not start."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator

import httpx
import pytest

from engine.request import FinishReason
from tests.machine.services import Services, running_services

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def services() -> Iterator[Services]:
    with running_services() as services:
        yield services


def stream(client: httpx.Client, max_tokens: int) -> Iterator[str]:
    """The finish reason or the text of each event of one completion."""
    body = {"model": "demo-model", "prompt": "import os", "max_tokens": max_tokens, "stream": True, "ignore_eos": True}
    with client.stream("POST", "/v1/completions", json=body) as answer:
        assert answer.status_code == 200, answer.read()
        for line in answer.iter_lines():
            if line.startswith("data: {"):
                choice = json.loads(line.removeprefix("data: "))["choices"][0]
                yield choice["finish_reason"] or choice["text"]


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGKILL])
def test_serving_goes_on_without_the_controller_and_the_next_one_finds_the_split(
    services: Services, sign: signal.Signals
) -> None:
    share = 60 if sign is signal.SIGTERM else 70
    assert services.rotate(share, 100 - share).done
    before = services.status()
    with services.client() as client:
        tokens = stream(client, max_tokens=400)
        next(tokens)
        services.end("controller", sign)
        next(tokens)
        services.start("controller")
        after = services.status()
        *_, finish = tokens
    assert finish == FinishReason.LENGTH
    assert after["split_in_force"] == before["split_in_force"] == f"{share}/{100 - share}"
    serving = [group for group in before["groups"] if group["stage"] == "active"]
    assert [group for group in after["groups"] if group["stage"] == "active"] == serving, "the very same processes"
    assert services.rotate(50, 50).done, "and it can be moved on from there"


def test_the_end_of_a_leader_moves_its_requests_to_the_other_slot(services: Services) -> None:
    active = next(group for group in services.status()["groups"] if group["stage"] == "active")
    with services.client() as client:
        tokens = stream(client, max_tokens=300)
        next(tokens)
        services.end(f"group-{active['slot']}")
        services.start(f"group-{active['slot']}")
        *_, finish = tokens
    assert finish == FinishReason.LENGTH
    now = next(group for group in services.status()["groups"] if group["stage"] == "active")
    assert now["slot"] != active["slot"]
    assert now["split"] == active["split"]
    assert services.rotate(40, 60).done, "the leader that came back forms the next group"
