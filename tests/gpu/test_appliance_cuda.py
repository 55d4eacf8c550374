"""The whole appliance on a GPU: FlashInfer, CUDA IPC, one MPS daemon a slot, green contexts."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.system.appliance import Appliance, running_appliance

pytestmark = [pytest.mark.gpu, pytest.mark.system, pytest.mark.timeout(600)]

KV_BYTES = 40 * 2**30
QUESTION = [{"role": "user", "content": "What does os.path.join do?"}]


@pytest.fixture(scope="module")
def appliance(tmp_path_factory: pytest.TempPathFactory):
    home = tmp_path_factory.mktemp("home")
    options = ["--prefill", "50", "--decode", "50", "--kv-memory-bytes", str(KV_BYTES)]
    with running_appliance(home, *options, device="cuda") as appliance:
        yield appliance


def test_it_answers(appliance: Appliance) -> None:
    answer = appliance.post("/v1/chat/completions", messages=QUESTION, temperature=0, max_tokens=32)
    assert answer["choices"][0]["message"]["content"].strip()


def test_the_phases_have_different_green_partitions_that_make_up_the_chip(appliance: Appliance) -> None:
    active = [worker for worker in appliance.status["scheduler"]["workers"] if worker["is_active"]]
    assert sorted(worker["phases"] for worker in active) == [["decode"], ["prefill"]]
    assert {worker["splitter"] for worker in active} == {"green"}
    assert sum(worker["sm_count"] for worker in active) == sm_count()


def test_the_same_request_gives_the_same_tokens(appliance: Appliance) -> None:
    asked = {"messages": QUESTION, "temperature": 0, "max_tokens": 64, "return_token_ids": True}
    first, second = (appliance.post("/v1/chat/completions", **asked)["choices"][0]["token_ids"] for _ in range(2))
    assert first == second


def test_weights_and_kv_are_on_the_gpu_once(appliance: Appliance) -> None:
    """A second copy in a worker would add at least the KV cache's bytes to what the GPU has in use."""
    used = gpu_memory_used_mib()
    assert KV_BYTES / 2**20 < used < 1.5 * KV_BYTES / 2**20, f"{used} MiB are in use"


def test_a_neighbouring_split_is_taken_in_place_under_load(appliance: Appliance) -> None:
    """It is prepared while nobody asks anything; one that is not takes a new group."""
    while not all({40, 60} <= set(worker["prepared"]) for worker in active_workers(appliance)):
        pass
    before = {worker["pid"] for worker in active_workers(appliance)}
    reached = rotate_under_load(appliance, [60, 50, 40, 50])
    assert all("in place" in sentence for sentence in reached)
    assert {worker["pid"] for worker in active_workers(appliance)} == before
    assert sum(worker["sm_count"] for worker in active_workers(appliance)) == sm_count()
    (far,) = rotate_under_load(appliance, [20])
    assert "with a new group" in far
    assert not before & {worker["pid"] for worker in active_workers(appliance)}


def test_a_rotation_under_load_loses_no_token(appliance: Appliance) -> None:
    """Both processes are replaced, in the other slot, under the other MPS daemon."""
    assert all("new group" in sentence for sentence in rotate_under_load(appliance, [30, 50], "--new-group"))


def rotate_under_load(appliance: Appliance, shares: Sequence[int], *options: str) -> list[str]:
    """What is said of the move to each of prefill's shares, while four clients get all the tokens they ask for."""
    is_over = False
    sentences = []

    def keep_asking() -> int:
        answers = 0
        while not is_over:
            asked = {"prompt": "import os", "temperature": 0, "max_tokens": 100, "ignore_eos": True}
            answer = appliance.post("/v1/completions", return_token_ids=True, **asked)
            assert len(answer["choices"][0]["token_ids"]) == 100
            answers += 1
        return answers

    with ThreadPoolExecutor(4) as clients:
        asking = [clients.submit(keep_asking) for _ in range(4)]
        try:
            for prefill in shares:
                command = ["rotate", "--prefill", str(prefill), "--decode", str(100 - prefill), *options]
                done = subprocess.run(
                    [sys.executable, "-m", "appliance", *command],
                    env=appliance.serve.environment,
                    capture_output=True,
                    text=True,
                )
                assert done.returncode == 0, done.stdout + done.stderr
                sentences.append(done.stdout)
        finally:
            is_over = True
        assert all(client.result() for client in asking)
    assert appliance.pages_in_use == 0
    return sentences


def active_workers(appliance: Appliance) -> list[dict[str, Any]]:
    return [worker for worker in appliance.status["scheduler"]["workers"] if worker["is_active"]]


def test_it_serves_colocated(tmp_path: Path) -> None:
    with running_appliance(tmp_path, "--mode", "colocated", device="cuda") as appliance:
        answer = appliance.post("/v1/chat/completions", messages=QUESTION, temperature=0, max_tokens=32)
        assert answer["choices"][0]["message"]["content"].strip()


def query(field: str) -> int:
    command = ["nvidia-smi", f"--query-gpu={field}", "--format=csv,noheader,nounits", "--id=0"]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def gpu_memory_used_mib() -> int:
    return query("memory.used")


def sm_count() -> int:
    torch = pytest.importorskip("torch")
    return torch.cuda.get_device_properties(0).multi_processor_count
