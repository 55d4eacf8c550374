"""`semi-pd serve` as the person at the terminal meets it."""

from __future__ import annotations

import re
import threading
from pathlib import Path

import psutil
import pytest

from tests.system.appliance import Appliance, ServeProcess, running_appliance, unused_port


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def appliance(home: Path):
    """Where GPUs are hidden in the usual way, the CPU serves."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("CUDA_VISIBLE_DEVICES", "")
        with running_appliance(home) as appliance:
            yield appliance


def test_the_demo_model_answers(appliance: Appliance) -> None:
    answer = appliance.post(
        "/v1/chat/completions",
        messages=[{"role": "user", "content": "What does os.path.join do?"}],
        temperature=0,
        max_tokens=24,
    )
    assert answer["choices"][0]["message"]["content"].strip()
    assert answer["usage"]["completion_tokens"] <= 24
    metrics = appliance.client.get("/metrics").text
    for name in ("queue_time", "prefill_time", "decode_time"):
        assert re.search(rf"vllm:request_{name}_seconds_count\{{[^}}]*\}} [1-9]", metrics), name


def test_the_two_phases_are_two_processes_and_a_spare_pair_waits(appliance: Appliance) -> None:
    assert len(appliance.processes("engine.resident")) == 1
    assert len(appliance.processes("engine.scheduler")) == 1
    assert len(appliance.processes("engine.leader")) == 2
    assert len(appliance.processes("engine.worker")) >= 2


def test_the_scheduler_has_no_torch(appliance: Appliance) -> None:
    (scheduler,) = appliance.processes("engine.scheduler")
    assert not [m.path for m in scheduler.memory_maps() if "libtorch" in m.path]


def test_the_key_is_in_a_file_that_only_its_owner_can_read(appliance: Appliance, home: Path) -> None:
    path = home / ".local/state/semi-pd/api-key"
    assert path.read_text().strip() == appliance.api_key
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_a_second_instance_is_told_where_the_first_is(appliance: Appliance, home: Path) -> None:
    second = ServeProcess(home, "--port", str(unused_port()))
    assert second.end() == 78
    assert second.output.strip() == (
        f"An appliance of this user is running already (process {appliance.serve.process.pid}, {appliance.url}): "
        "stop it first."
    )


def test_a_taken_port_is_named(appliance: Appliance, tmp_path: Path) -> None:
    port = appliance.url.rpartition(":")[2]
    other = ServeProcess(tmp_path, "--port", port)
    assert other.end() == 78
    assert other.output.strip() == (
        f"Port {port} on 127.0.0.1 is taken by another program: stop it, or choose another with --port."
    )


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            ["--model", "/nowhere"],
            "The setting model_path cannot be /nowhere: it must be a Hugging Face model directory",
        ),
        (
            ["--prefill", "101"],
            "The setting prefill_sm_percentage cannot be 101: input should be less than or equal to 100.",
        ),
    ],
)
def test_a_bad_setting_is_one_sentence(tmp_path: Path, options: list[str], sentence: str) -> None:
    serve = ServeProcess(tmp_path, *options)
    assert serve.end() == 78
    assert serve.output.startswith(sentence)
    assert serve.output.count("\n") == 1


def test_ctrl_c_lets_a_stream_finish_and_leaves_nothing_behind(home_of_its_own: Path) -> None:
    with running_appliance(home_of_its_own) as appliance:
        started, ended = threading.Event(), threading.Event()
        lines: list[str] = []

        def read_a_stream() -> None:
            body = {
                "model": appliance.model,
                "prompt": "import os",
                "max_tokens": 300,
                "ignore_eos": True,
                "stream": True,
            }
            with appliance.client.stream("POST", "/v1/completions", json=body) as stream:
                for line in stream.iter_lines():
                    lines.append(line)
                    started.set()
            ended.set()

        reader = threading.Thread(target=read_a_stream)
        reader.start()
        assert started.wait(30)
        below = psutil.Process(appliance.serve.process.pid).children(recursive=True)
        appliance.serve.interrupt()
        code = appliance.serve.end()
        reader.join(30)
        assert ended.is_set()
        assert "data: [DONE]" in lines
        assert code == 0
        assert not [process for process in below if process.is_running()]


def test_a_second_start_has_the_same_key(home_of_its_own: Path) -> None:
    keys = []
    for _ in range(2):
        with running_appliance(home_of_its_own) as appliance:
            keys.append(appliance.api_key)
    assert keys[0] == keys[1]


def test_a_second_ctrl_c_stops_at_once(home_of_its_own: Path) -> None:
    with running_appliance(home_of_its_own) as appliance:
        below = psutil.Process(appliance.serve.process.pid).children(recursive=True)
        body = {"model": appliance.model, "prompt": "import os", "max_tokens": 1500, "ignore_eos": True, "stream": True}
        with appliance.client.stream("POST", "/v1/completions", json=body) as stream:
            next(stream.iter_lines())
            appliance.serve.interrupt()
            appliance.serve.interrupt()
            assert appliance.serve.end() == 0
        assert not psutil.wait_procs(below, timeout=10)[1], "those that were killed are gone as soon as they are reaped"


@pytest.fixture
def home_of_its_own(tmp_path: Path) -> Path:
    return tmp_path
