"""Metrics that are right with several gateway workers: counts are summed, the engine's state is told once."""

from __future__ import annotations

import os
import select
import signal
from pathlib import Path

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from engine.config import ServerArgs
from engine.gateway.metrics import Metrics, Observation
from engine.gateway.tally import Tally, totals
from engine.scheduler.load_table import NOT_READY
from engine.wire.to_scheduler import GatewayHello
from tests.gateway.fake_scheduler import READY
from tests.gateway.running_gateway import PATIENCE_SECONDS, RunningGateway, running_gateway
from tests.gateway.stand import MODEL

LOADED = msgspec.structs.replace(
    READY,
    waiting=3,
    running=17,
    cached_pages=10,
    page_size=16,
    preemptions=5,
    prefill_share=80,
    decode_share=20,
    prefill_sms=104,
    decode_sms=28,
    prefill_steps=7,
    decode_steps=1 << 40,
    prefill_seconds=1.5,
    decode_seconds=2.5,
    prefill_borrowed_seconds=0.5,
    decode_borrowed_seconds=1.25,
)
MOST_REQUESTS = 300

Samples = dict[tuple[str, str], list[float]]


def samples(text: str) -> Samples:
    """All values by name and by the label that tells them apart."""
    found: Samples = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            assert sample.labels["model_name"] == MODEL
            kind = next((value for name, value in sorted(sample.labels.items()) if name != "model_name"), "")
            found.setdefault((sample.name, kind), []).append(sample.value)
    return found


def scrape(gateway: RunningGateway) -> Samples:
    with gateway.client() as client:  # each on a connection of its own, to whichever worker takes it
        return samples(client.get("/metrics").text)


@pytest.mark.system
def test_two_workers_are_counted_as_one(model_path: Path) -> None:
    with running_gateway(model_path, LOADED, gateway_workers=2) as gateway:
        gateway.scheduler.script = lambda request: [70, 71]
        count = 0
        while len(list(gateway.ports.metrics_dir.glob("*"))) < 2:  # until both workers have served
            assert count < MOST_REQUESTS
            with gateway.client() as client:
                assert client.post("/v1/completions", json={"model": MODEL, "prompt": [9] * 4}).status_code == 200
            count += 1
        for _ in range(10):
            seen = scrape(gateway)
            assert seen["vllm:request_success_total", "stop"] == [count]
            assert seen["vllm:prompt_tokens_total", ""] == [4 * count]
            assert seen["vllm:generation_tokens_total", ""] == [3 * count]
            assert seen["vllm:time_to_first_token_seconds_count", ""] == [count]
            assert seen["vllm:num_requests_running", ""] == [17]
            assert seen["vllm:num_requests_waiting", ""] == [3]
        kill_one_worker(gateway)
        assert scrape(gateway)["vllm:request_success_total", "stop"] == [count]  # counts never go back


def kill_one_worker(gateway: RunningGateway) -> None:
    """Its successor has said hello when this returns."""
    pidfd = os.pidfd_open(gateway.worker_pids[0])
    os.kill(gateway.worker_pids[0], signal.SIGKILL)
    assert select.select([pidfd], [], [], PATIENCE_SECONDS)[0]
    os.close(pidfd)
    assert gateway.scheduler.expect(GatewayHello).pid not in gateway.worker_pids


@pytest.mark.system
def test_a_new_start_counts_anew(model_path: Path) -> None:
    with running_gateway(model_path) as gateway:
        directory = gateway.ports.metrics_dir
        assert not directory.exists()
        with gateway.client() as client:
            client.post("/v1/completions", json={"model": MODEL, "prompt": "Hi"})
        assert [path.name for path in directory.iterdir()] == [str(gateway.worker_pids[0])]
        assert directory.stat().st_mode & 0o777 == 0o700


def metrics_at(tmp_path: Path, model_path: Path) -> Metrics:
    return Metrics(tmp_path / "metrics", ServerArgs(model_path=model_path, served_model_name=MODEL))


def test_what_the_engine_does(tmp_path: Path, model_path: Path) -> None:
    seen = samples(bytes(metrics_at(tmp_path, model_path).response(LOADED).body).decode())
    assert seen["vllm:kv_cache_usage_perc", ""] == [0.25]
    assert seen["vllm:num_preemptions_total", ""] == [5]
    assert [seen["semi_pd_kv_pages", state] for state in ("used", "cached", "free")] == [[25], [10], [65]]
    assert [seen["semi_pd_split_asked_percentage", phase] for phase in ("prefill", "decode")] == [[80], [20]]
    assert [seen["semi_pd_split_in_force_sms", phase] for phase in ("prefill", "decode")] == [[104], [28]]
    assert [seen["semi_pd_steps_total", phase] for phase in ("prefill", "decode")] == [[7], [1 << 40]]
    assert [seen["semi_pd_step_seconds_total", phase] for phase in ("prefill", "decode")] == [[1.5], [2.5]]
    assert [seen["semi_pd_borrowed_seconds_total", phase] for phase in ("prefill", "decode")] == [[0.5], [1.25]]


def test_how_the_cache_is_made(tmp_path: Path, model_path: Path) -> None:
    text = bytes(metrics_at(tmp_path, model_path).response(LOADED).body).decode()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    (info,) = families["vllm:cache_config_info"].samples
    assert info.value == 1
    assert (info.labels["block_size"], info.labels["num_gpu_blocks"]) == ("16", "100")


def test_before_anything_was_served_all_is_zero(tmp_path: Path, model_path: Path) -> None:
    seen = samples(bytes(metrics_at(tmp_path, model_path).response(NOT_READY).body).decode())
    assert seen["vllm:num_requests_running", ""] == [0] and seen["vllm:kv_cache_usage_perc", ""] == [0]
    assert seen["vllm:e2e_request_latency_seconds_count", ""] == [0]
    for reason in ("stop", "length", "abort", "error"):
        assert seen["vllm:request_success_total", reason] == [0]


def test_histograms_are_cumulative_and_bounds_belong_to_their_bucket(tmp_path: Path, model_path: Path) -> None:
    metrics = metrics_at(tmp_path, model_path)
    Observation(metrics, received_at=0.0, prompt_tokens=3).finished("abort")  # an age of the machine's uptime
    seen = samples(bytes(metrics.response(NOT_READY).body).decode())
    buckets = {
        kind: values for (name, kind), values in seen.items() if name == "vllm:e2e_request_latency_seconds_bucket"
    }
    assert len(buckets) == 22 and buckets["+Inf"] == [1]
    assert seen["vllm:e2e_request_latency_seconds_count", ""] == [1]
    assert seen["vllm:request_success_total", "abort"] == [1]


def test_a_tally_survives_its_writer_and_is_continued(tmp_path: Path) -> None:
    tally = Tally.open(tmp_path / "tallies", 3)
    tally.values[1] += 2.5
    assert totals(tmp_path / "tallies", 3) == [0, 2.5, 0]
    del tally
    again = Tally.open(tmp_path / "tallies", 3)
    again.values[1] += 1
    (tmp_path / "tallies" / "1").write_bytes(b"\0" * 8)  # being made by another worker
    assert totals(tmp_path / "tallies", 3) == [0, 3.5, 0]
    assert totals(tmp_path / "nowhere", 2) == [0, 0]
