"""How many requests one API key may have at once: seen early by the gateway, kept exactly by the scheduler."""

from __future__ import annotations

import msgspec
import openai
import pytest

from engine.request import Request, SamplingParams
from engine.scheduler.admission import refusal
from engine.scheduler.limits import Limits
from engine.wire.to_scheduler import Submit
from tests.gateway.fake_scheduler import READY, refuse
from tests.gateway.stand import KEY, KEY_ID, MODEL, Stand

LIMITS = Limits(
    max_model_len=100, max_running_requests=4, max_queued_requests=4, prefill_token_budget=64, max_requests_per_key=2
)


def test_a_key_with_as_many_requests_as_it_may_have(stand: Stand) -> None:
    load = msgspec.structs.replace(READY, key_limit=2, live_by_key={KEY_ID: 2, "another": 1})
    stand.scheduler.load_table.publish(load)
    response = stand.complete(prompt="never tokenised")
    assert response.status_code == 429 and int(response.headers["retry-after"]) >= 1
    error = response.json()["error"]
    assert (error["type"], error["code"], error["param"]) == ("requests", "rate_limit_exceeded", None)
    stand.scheduler.load_table.publish(msgspec.structs.replace(load, live_by_key={KEY_ID: 1, "another": 2}))
    stand.complete(seed=77)
    assert stand.scheduler.expect(Submit).request.sampling.seed == 77  # the first was never handed in


def test_no_limit_unless_one_is_set(stand: Stand) -> None:
    stand.scheduler.load_table.publish(msgspec.structs.replace(READY, live_by_key={KEY_ID: 1000}))
    assert stand.complete().status_code == 200


def test_what_openais_client_makes_of_it(stand: Stand) -> None:
    stand.scheduler.refusal = refuse("rate_limit_exceeded", "Too many of this key.", 1)
    client = openai.OpenAI(base_url=f"{stand.url}/v1", api_key=KEY, max_retries=0)
    with client, pytest.raises(openai.RateLimitError) as refused:
        client.completions.create(model=MODEL, prompt="Hi")
    assert refused.value.code == "rate_limit_exceeded"
    assert refused.value.response.headers["retry-after"] == "1"


def test_a_full_queue_comes_before_a_full_key(stand: Stand) -> None:
    """What all must wait for is no fault of this key."""
    load = msgspec.structs.replace(READY, waiting=8, key_limit=2, live_by_key={KEY_ID: 2})
    stand.scheduler.load_table.publish(load)
    assert stand.complete().status_code == 503


@pytest.mark.parametrize(("live", "is_refused"), [(0, False), (1, False), (2, True), (3, True)])
def test_the_scheduler_decides(live: int, is_refused: bool) -> None:
    request = Request(1, [7], SamplingParams(max_tokens=5))
    problem = refusal(request, LIMITS, waiting=0, wait_seconds=0.0, live_of_key=live, is_ready=True, pool_tokens=100)
    assert (problem is not None) == is_refused
    if problem is not None:
        assert problem.code == "rate_limit_exceeded" and problem.retry_after_seconds == 1


def test_without_a_limit_the_scheduler_admits_any_number() -> None:
    unlimited = Limits(max_model_len=100, max_running_requests=4, max_queued_requests=4, prefill_token_budget=64)
    request = Request(1, [7], SamplingParams(max_tokens=5))
    assert refusal(request, unlimited, 0, 9999.0, live_of_key=9999, is_ready=True, pool_tokens=100) is None
