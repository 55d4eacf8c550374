"""Rotations of real processes under load: every stream's tokens stay what they are."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

import pytest

from tests.system.appliance import Appliance, running_appliance

pytestmark = pytest.mark.system

SPLITS = [(50, 50), (80, 100), (30, 70), (70, 30)]


@pytest.fixture(scope="module")
def appliance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Appliance]:
    with running_appliance(tmp_path_factory.mktemp("home")) as appliance:
        yield appliance


def command(appliance: Appliance, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`semi-pd …` as its user runs it."""
    return subprocess.run(
        [sys.executable, "-m", "appliance", *arguments],
        env=appliance.serve.environment,
        capture_output=True,
        text=True,
        timeout=100,
    )


def rotate(appliance: Appliance, prefill: int, decode: int, *options: str) -> subprocess.CompletedProcess[str]:
    return command(appliance, "rotate", "--prefill", str(prefill), "--decode", str(decode), *options)


def serving_pids(appliance: Appliance) -> set[int]:
    return {worker["pid"] for worker in appliance.status["scheduler"]["workers"] if worker["is_active"]}


@pytest.mark.timeout(300)
def test_rotations_under_load_change_no_token(appliance: Appliance) -> None:
    rotate_under_load(appliance, rotations=10)


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_a_thousand_rotations_under_load_change_no_token(appliance: Appliance) -> None:
    rotate_under_load(appliance, rotations=1000)


def test_splits_taken_in_place_under_load_change_no_token_and_no_process(appliance: Appliance) -> None:
    before = serving_pids(appliance)

    def change(number: int) -> None:
        prefill, decode = SPLITS[number % len(SPLITS)]
        done = rotate(appliance, prefill, decode, "--reason", "test")
        assert done.returncode == 0 and "in place" in done.stdout, done.stdout + done.stderr
        assert appliance.status["split_in_force"] == f"{prefill}/{decode}"

    rotate(appliance, 40, 60)
    under_load(appliance, [partial(change, number) for number in range(10)])
    assert serving_pids(appliance) == before
    active = [worker for worker in appliance.status["scheduler"]["workers"] if worker["is_active"]]
    assert all(0.0 < worker["borrowed_part"] <= 1.0 for worker in active), "each was alone now and then"


@pytest.mark.timeout(300)
def test_one_worker_takes_over_from_two_and_two_from_one_under_load(appliance: Appliance) -> None:
    """At 100/100 one worker computes both phases; no split of two is taken by it in place, nor that by two."""

    def rotated(number: int) -> None:
        prefill, decode = [(100, 100), (60, 40)][number % 2]
        done = rotate(appliance, prefill, decode, "--reason", "test")
        assert done.returncode == 0 and "with a new group" in done.stdout, done.stdout + done.stderr
        assert appliance.status["split_in_force"] == f"{prefill}/{decode}"
        assert len(serving_pids(appliance)) == (1 if number % 2 == 0 else 2)

    under_load(appliance, [partial(rotated, number) for number in range(6)])


def rotate_under_load(appliance: Appliance, rotations: int) -> None:
    """Both processes are new each time."""

    def rotated(number: int) -> None:
        before = serving_pids(appliance)
        done = rotate(appliance, *SPLITS[number % len(SPLITS)], "--new-group", "--reason", "test")
        assert done.returncode == 0, done.stdout + done.stderr
        assert not before & serving_pids(appliance), "both processes are new"

    under_load(appliance, [partial(rotated, number) for number in range(rotations)])
    records = json.loads(command(appliance, "rotations", "--json").stdout)
    assert all(not record["problem"] for record in records)
    epochs = [record["epoch"] for record in records if record["way"] == "with a new group"]
    assert epochs == sorted(set(epochs))
    seen = [record for record in records if record["way"] == "with a new group" and record["streams"]]
    assert seen, "clients ask all the time"
    assert all(0.0 <= record["median_pause_ms"] <= record["pause_ms"] for record in seen)


def under_load(appliance: Appliance, acts: Sequence[Callable[[], None]]) -> None:
    """Do one after the other while five clients ask, and hold that every answer is what it was undisturbed."""
    prompts = ["import os", "class Counter(dict):", "What is a generator?", "def walk(", "for line in"]

    def generate(prompt: str) -> list[int]:
        answer = appliance.post(
            "/v1/completions", prompt=prompt, temperature=0, max_tokens=60, ignore_eos=True, return_token_ids=True
        )
        return answer["choices"][0]["token_ids"]

    undisturbed = {prompt: generate(prompt) for prompt in prompts}
    is_over = False

    def keep_asking(prompt: str) -> int:
        answers = 0
        while not is_over:
            assert generate(prompt) == undisturbed[prompt]
            answers += 1
        return answers

    with ThreadPoolExecutor(len(prompts)) as clients:
        asking: list[Future[int]] = [clients.submit(keep_asking, prompt) for prompt in prompts]
        try:
            for act in acts:
                act()
        finally:
            is_over = True
        assert all(client.result() for client in asking)
    assert appliance.pages_in_use == 0


def test_the_split_in_force_is_not_rotated_to_unless_asked(appliance: Appliance) -> None:
    assert rotate(appliance, 60, 40).returncode == 0
    before = serving_pids(appliance)
    assert rotate(appliance, 60, 40).returncode == 0
    assert serving_pids(appliance) == before
    assert rotate(appliance, 60, 40, "--new-group", "--reason", "upgrade").returncode == 0
    assert not serving_pids(appliance) & before


@pytest.mark.parametrize(("prefill", "decode"), [("0", "50"), ("50", "101")])
def test_a_share_that_is_none_gets_a_sentence_and_changes_nothing(
    appliance: Appliance, prefill: str, decode: str
) -> None:
    before = appliance.status["split_in_force"]
    refused = command(appliance, "rotate", "--prefill", prefill, "--decode", decode)
    assert refused.returncode == 1
    assert "must be a whole percentage from 1 to 100" in refused.stdout
    assert appliance.status["split_in_force"] == before
