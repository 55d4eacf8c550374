"""The client against servers: a real gateway whose tokens come from a script, and one that fails as told."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import msgspec
import pytest

from appliance.workload import Arrival
from bench.client import Planned, run_open_loop, run_rounds
from bench.client_processes import Share, run_shares
from bench.endpoint import Endpoint, NoEndpoint, find_endpoint
from bench.prompts import Prompts
from bench.record import Record
from engine.wire.to_scheduler import Submit
from tests.bench.answers import DONE, HEAD, chunked, text_event, usage_event
from tests.bench.small_server import SmallServer
from tests.gateway.fake_scheduler import READY
from tests.gateway.stand import KEY, MODEL, Stand
from tests.gateway.tiny_model import save_tiny_model

ROOMY = msgspec.structs.replace(READY, queue_limit=1000, max_model_len=512, pool_tokens=100_000)
PROMPTS = Prompts(vocabulary=100)
GRACE = 30.0


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    path = save_tiny_model(tmp_path_factory.mktemp("models") / "tiny")
    with Stand(path, ROOMY) as stand:
        stand.scheduler.script = lambda request: list(range(10, 60))
        yield stand


@pytest.fixture
def endpoint(stand: Stand) -> Endpoint:
    stand.scheduler.forget_received()
    return find_endpoint(stand.url + "/v1/", KEY)


def share(endpoint: Endpoint, arrivals: list[Arrival], prompts: Prompts = PROMPTS) -> Share:
    return Share(endpoint, arrivals, prompts, GRACE, None)


def test_a_gateway_is_asked_for_what_was_planned(stand: Stand, endpoint: Endpoint) -> None:
    observed = run_shares(share(endpoint, [Arrival(0.0, 40, 12), Arrival(0.02, 7, 1)]), clients=1)

    assert endpoint.model == MODEL
    assert [record.failure for record in observed.records] == [None, None]
    assert [(record.prompt_tokens, record.completion_tokens) for record in observed.records] == [(40, 12), (7, 1)]
    asked = [stand.scheduler.expect(Submit).request for _ in range(2)]
    assert [len(request.prompt_ids) for request in asked] == [40, 7]
    assert max(token_id for request in asked for token_id in request.prompt_ids) < 100
    assert asked[0].sampling.temperature == 0 and not asked[0].sampling.stop_token_ids


def test_prompts_are_fresh_each_time(stand: Stand, endpoint: Endpoint) -> None:
    for _ in range(2):
        run_shares(share(endpoint, [Arrival(0.0, 40, 1)]), clients=1)
    first, second = (stand.scheduler.expect(Submit).request.prompt_ids for _ in range(2))

    assert first != second


def test_no_request_is_sent_before_its_time(endpoint: Endpoint) -> None:
    observed = run_shares(share(endpoint, [Arrival(number / 100, 5, 3) for number in range(20)]), clients=1)

    assert all(record.late >= 0 for record in observed.records)
    assert observed.loop_lags and min(observed.loop_lags) >= 0
    assert all(record.failure is None and record.events[0] > record.sent for record in observed.records)


def test_token_ids_are_counted_and_agree_with_the_usage(endpoint: Endpoint) -> None:
    (record,) = run_shares(share(endpoint, [Arrival(0.0, 30, 25)], Prompts(100, True)), clients=1).records

    assert record.failure is None
    assert sum(record.event_tokens) == record.completion_tokens == 25


def test_several_processes_share_the_requests(endpoint: Endpoint) -> None:
    arrivals = [Arrival(number / 50, 5 + number, 2) for number in range(7)]
    observed = run_shares(share(endpoint, arrivals), clients=2)

    assert [record.input_tokens for record in observed.records] == [5 + number for number in range(7)]
    assert all(record.failure is None for record in observed.records)


def test_the_next_round_begins_when_the_last_of_this_one_has_ended(endpoint: Endpoint) -> None:
    planned = share(endpoint, [Arrival(0.0, 10, 8)] * 6).plan()
    run_rounds(endpoint, [planned[:3], planned[3:]], GRACE)
    first, second = ([each.record for each in together] for together in (planned[:3], planned[3:]))

    assert all(record.failure is None for record in first + second)
    assert min(record.sent for record in second) >= max(record.events[-1] for record in first)


def whole_answer(number: int) -> list[bytes]:
    return [HEAD, *chunked(text_event("a"), usage_event(5, 1), DONE)]


def one_each(count: int) -> list[Planned]:
    return [Planned(Record(0.0, 5, 1), b"POST / HTTP/1.1\r\ncontent-length: 0\r\n\r\n") for _ in range(count)]


def test_failures_are_told_apart() -> None:
    cut = [HEAD, chunked(text_event("a"))[0]]
    busy = [b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n"]
    with SmallServer(lambda number: (whole_answer(0), busy, cut, [b""])[number % 4]) as server:
        observed = run_open_loop(server.endpoint, one_each(8), time.monotonic(), GRACE)
    gone = run_open_loop(server.endpoint, one_each(1), time.monotonic(), GRACE)

    assert sorted(str(record.failure) for record in observed.records) == sorted(
        ["None", "HTTP 503", "cut off", "cut off"] * 2
    )
    assert [record.failure for record in gone.records] == ["no connection"]


def test_what_has_not_ended_after_the_grace_is_unfinished(stand: Stand, endpoint: Endpoint) -> None:
    stand.scheduler.is_held = True
    try:
        plan = share(endpoint, [Arrival(0.0, 5, 5)]).plan()
        observed = run_open_loop(endpoint, plan, time.monotonic(), grace_seconds=0.05)
    finally:
        stand.scheduler.is_held = False

    assert [record.failure for record in observed.records] == ["unfinished"]


def test_a_hopeless_run_sends_no_more() -> None:
    plan = [Planned(Record(0.0, 5, 1), b"POST / HTTP/1.1\r\ncontent-length: 0\r\n\r\n")]
    plan += [Planned(Record(3600.0, 5, 1), b"")]  # would take an hour
    with SmallServer(lambda number: []) as server:
        observed = run_open_loop(server.endpoint, plan, time.monotonic(), GRACE, lambda record: True)

    assert observed.is_cut_short
    assert [record.failure for record in observed.records] == ["cut off", "unfinished"]


def test_the_key_and_the_body_are_sent() -> None:
    with SmallServer(whole_answer) as server:
        run_shares(share(server.endpoint, [Arrival(0.0, 5, 1)]), clients=1)
    head, _, body = server.requests[0].partition(b"\r\n\r\n")

    assert b"Authorization: Bearer key" in head
    assert json.loads(body)["stream_options"] == {"include_usage": True}
    assert "return_token_ids" not in json.loads(body)


def test_what_is_no_endpoint_is_said_in_a_sentence(stand: Stand) -> None:
    with SmallServer(lambda number: [b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"]) as server:
        for url, key in (("ftp://x", KEY), (server.url, KEY), (stand.url, "sk-wrong")):
            with pytest.raises(NoEndpoint, match=r"\.$"):
                find_endpoint(url, key)
    with pytest.raises(NoEndpoint, match=f"serves {MODEL}, not other"):
        find_endpoint(stand.url, KEY, "other")
