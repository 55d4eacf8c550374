"""Ten times as many requests as the whole appliance takes: 503 at once for most, a short wait for those accepted."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import httpx
import pytest

from tests.system.appliance import Appliance, running_appliance

pytestmark = pytest.mark.system

RUNNING, QUEUE = 4, 4
FIT = RUNNING + QUEUE
OFFERED = 10 * FIT


async def ask(client: httpx.AsyncClient, appliance: Appliance, number: int, seen: list[tuple[str, int]]) -> int:
    """One streamed request; what happens to it is appended to `seen` in the order of its happening."""
    body = {
        "model": appliance.model,
        "prompt": f"# {number}\nimport os",
        "max_tokens": 32,
        "ignore_eos": True,
        "stream": True,
    }
    async with client.stream("POST", "/v1/completions", json=body) as answer:
        if answer.status_code == 200:
            seen.append(("accepted", number))
            events = [line async for line in answer.aiter_lines() if line.startswith("data: ")]
            assert events[-1] == "data: [DONE]"
            seen.append(("finished", number))
        else:
            error = (await answer.aread()).decode()
            assert answer.status_code == 503, error
            assert int(answer.headers["Retry-After"]) >= 1
            assert '"overloaded"' in error
        return answer.status_code


def test_overload_is_refused_and_those_accepted_are_served_soon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEMI_PD_MAX_QUEUED_REQUESTS", str(QUEUE))
    seen: list[tuple[str, int]] = []
    with running_appliance(tmp_path, "--max-running-requests", str(RUNNING)) as appliance:

        async def crowd() -> list[int]:
            limits = httpx.Limits(max_connections=OFFERED)
            async with httpx.AsyncClient(
                base_url=appliance.url, headers=appliance.client.headers, limits=limits, timeout=120.0, trust_env=False
            ) as client:
                return await asyncio.gather(*(ask(client, appliance, number, seen) for number in range(OFFERED)))

        answers = Counter(asyncio.run(crowd()))
        assert appliance.post("/v1/completions", prompt="import os", max_tokens=4)["choices"]
        assert appliance.pages_in_use == 0
    assert answers[200] >= QUEUE
    assert answers[503] >= OFFERED // 2
    assert max_overtaken(seen) <= FIT


def max_overtaken(seen: list[tuple[str, int]]) -> int:
    """The most others that finished while one waited and ran: no more than stood before it, or it waited too long."""
    begun = {number: place for place, (what, number) in enumerate(seen) if what == "accepted"}
    ended = {number: place for place, (what, number) in enumerate(seen) if what == "finished"}
    finished_before = [0]
    for what, _ in seen:
        finished_before.append(finished_before[-1] + (what == "finished"))
    return max(finished_before[ended[number]] - finished_before[begun[number]] for number in begun)
