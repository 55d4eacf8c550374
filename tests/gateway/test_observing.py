"""What the gateway tells about itself: models, health, metrics."""

from __future__ import annotations

from pathlib import Path

import httpx
from prometheus_client.parser import text_string_to_metric_families

from engine.wire.to_scheduler import Submit
from tests.gateway.stand import MODEL, Stand, live_events


def samples(stand: Stand) -> dict[str, float]:
    """All samples by name, with the finish reason or nothing in braces."""
    text = httpx.get(f"{stand.url}/metrics", trust_env=False).text  # no key
    return {
        f"{sample.name}{{{sample.labels.get('finished_reason', '')}}}": sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.labels.get("model_name") == MODEL and "le" not in sample.labels
    }


def test_models(stand: Stand) -> None:
    body = stand.client.get("/v1/models").json()
    assert body["object"] == "list"
    assert [(card["id"], card["object"], card["max_model_len"]) for card in body["data"]] == [(MODEL, "model", 256)]


def test_health_needs_no_key(stand: Stand) -> None:
    response = httpx.get(f"{stand.url}/health", trust_env=False)
    assert response.status_code == 200
    expected = {"status": "ready", "waiting": 0, "running": 1, "free_pages": 75, "total_pages": 100, "reason": ""}
    assert response.json() == expected


def test_metrics_count_what_was_served(model_path: Path) -> None:
    with Stand(model_path) as stand:
        stand.says("Hello world")
        usage = stand.complete(max_tokens=2).json()["usage"]
        stand.complete(stream=True, max_tokens=2)
        stand.complete(n=0)
        stand.complete()
        stand.scheduler.is_held = True
        body = {"model": MODEL, "prompt": "Hi", "stream": True}
        with stand.client.stream("POST", "/v1/completions", json=body) as response:
            submitted = [stand.scheduler.expect(Submit).request for _ in range(4)]
            events = live_events(response)
            for _ in range(2):
                stand.scheduler.step()
                next(events)
        stand.scheduler.expect_cancel(submitted[-1].request_id)
        seen = samples(stand)
        assert seen["vllm:prompt_tokens_total{}"] == sum(len(request.prompt_ids) for request in submitted)
        assert usage["completion_tokens"] == 2
        end_token = stand.tokenizer.encode("Hello world", add_special_tokens=False).ids
        assert seen["vllm:generation_tokens_total{}"] == 2 + 2 + len(end_token) + 1 + 2
        assert seen["vllm:request_success_total{length}"] == 2
        assert seen["vllm:request_success_total{stop}"] == 1
        assert seen["vllm:time_to_first_token_seconds_count{}"] == 4
        assert seen["vllm:inter_token_latency_seconds_count{}"] >= 1
        assert seen["vllm:num_requests_running{}"] == 1
        assert seen["vllm:num_requests_waiting{}"] == 0
        assert seen["vllm:kv_cache_usage_perc{}"] == 0.25
        assert 0 < seen["vllm:time_to_first_token_seconds_sum{}"] <= seen["vllm:e2e_request_latency_seconds_sum{}"]
