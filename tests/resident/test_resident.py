"""A real resident: what it loads, who sees it, and how it starts and ends."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import structlog
import torch
from safetensors.torch import load_file
from structlog.testing import capture_logs

from engine.config import PortArgs, ServerArgs
from engine.device.cpu import CpuDevice
from engine.errors import CANNOT_START, CannotStart
from engine.model.checkpoint import weights_of
from engine.model.config import ModelConfig
from engine.model.layout import layout_of
from engine.resident.attachment import ResidentGone, attach
from engine.resident.budget import GIB
from engine.resident.resident import Resident, context_length, size_kv
from tests.resident.mappings import inodes

if TYPE_CHECKING:
    from tests.resident.conftest import StartResident

MakePorts = Callable[..., PortArgs]
LOG = structlog.get_logger()
SECONDS = 60.0  # until a resident answers on a busy machine; nothing waits for it to pass


def next_event(resident: subprocess.Popen[str]) -> dict[str, object]:
    assert resident.stderr is not None
    return json.loads(resident.stderr.readline())


def test_another_process_maps_the_very_bytes(
    checkpoint: Path, make_ports: MakePorts, start_resident: StartResident
) -> None:
    ports = make_ports(checkpoint)
    start_resident(ports)
    with attach(ports.resident_path, SECONDS) as memory:
        weights, kv, ledger = memory.map_weights(CpuDevice()), memory.map_kv(CpuDevice()), memory.ledger()
        assert not kv.any()
        assert ledger.used_pages() == []
        assert ledger.num_pages == memory.manifest.kv.num_pages
        kv[5] = 17
        ledger.take([1, 2], 7, 1)
        command = [sys.executable, "-m", "tests.resident.second_process", ports.resident_path]
        other = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=SECONDS).stdout)
        assert other["kv_byte"] == 17
        assert other["used_pages"] == [1, 2]
        assert other["weights"] == hashlib.sha256(weights.numpy().tobytes()).hexdigest()
        assert other["inodes"] == inodes()
        assert set(other["inodes"]) == {"semi-pd-weights", "semi-pd-kv", "semi-pd-ledger"}
        assert kv[6] == 23
        assert ledger.owner(3) == 77


def test_the_resident_knows_who_is_attached_and_says_when_he_leaves(
    checkpoint: Path, make_ports: MakePorts, start_resident: StartResident
) -> None:
    ports = make_ports(checkpoint)
    resident = start_resident(ports)
    command = [sys.executable, "-m", "tests.resident.second_process", ports.resident_path]
    attach(ports.resident_path, SECONDS).close()
    assert next_event(resident)["event"] == "ready"
    assert [next_event(resident)["event"] for _ in range(2)] == ["attached", "detached"]
    other = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    arrival, departure = next_event(resident), next_event(resident)
    assert other.wait(SECONDS) == 0
    assert (arrival["event"], arrival["peer"]) == ("attached", other.pid)
    assert (departure["event"], departure["peer"]) == ("detached", other.pid)


def test_when_it_is_killed_the_connection_ends_and_what_was_mapped_stays(
    checkpoint: Path, make_ports: MakePorts, start_resident: StartResident
) -> None:
    ports = make_ports(checkpoint)
    resident = start_resident(ports)
    with attach(ports.resident_path, SECONDS) as memory:
        kv = memory.map_kv(CpuDevice())
        kv[0] = 1
        resident.kill()
        assert memory.socket.recv(1) == b""
        kv[1] = kv[0] + 1
        assert kv[1] == 2
    with pytest.raises(ResidentGone):
        attach(ports.resident_path, 0)
    start_resident(ports)
    with attach(ports.resident_path, SECONDS) as memory:
        assert not memory.map_kv(CpuDevice()).any()


def test_term_ends_it_with_0_and_leaves_no_socket_while_interrupt_is_left_to_the_parent(
    checkpoint: Path, make_ports: MakePorts, start_resident: StartResident
) -> None:
    ports = make_ports(checkpoint)
    resident = start_resident(ports)
    attach(ports.resident_path, SECONDS).close()
    resident.send_signal(signal.SIGINT)
    with attach(ports.resident_path, SECONDS) as memory:
        assert stat.S_IMODE(Path(ports.resident_path).stat().st_mode) == 0o600
        resident.terminate()
        assert memory.socket.recv(1) == b""
    assert resident.wait(SECONDS) == 0
    assert not Path(ports.resident_path).exists()
    with pytest.raises(ResidentGone, match="No resident answers"):
        attach(ports.resident_path, 0)


def test_a_resident_that_hangs_up_in_its_answer_is_gone(tmp_path: Path) -> None:
    path = str(tmp_path / "resident.sock")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        hanging_up = threading.Thread(target=lambda: listener.accept()[0].close())
        hanging_up.start()
        with pytest.raises(ResidentGone, match="did not finish"):
            attach(path, 0)
        hanging_up.join()


def test_what_cannot_be_served_ends_it_with_one_sentence(
    checkpoint: Path, make_ports: MakePorts, start_resident: StartResident
) -> None:
    ports = make_ports(checkpoint, max_model_len=129)
    resident = start_resident(ports)
    _, said = resident.communicate(timeout=SECONDS)
    assert resident.returncode == CANNOT_START
    assert said == "The setting max_model_len cannot be 129: the model's limit is 128 tokens.\n"
    assert not Path(ports.resident_path).exists()


def test_a_second_resident_in_the_same_place_cannot_start(
    checkpoint: Path, make_ports: MakePorts, start_resident: StartResident
) -> None:
    ports = make_ports(checkpoint)
    start_resident(ports)
    attach(ports.resident_path, SECONDS).close()
    second = start_resident(ports)
    assert "Another resident" in second.communicate(timeout=SECONDS)[1]
    assert second.returncode == CANNOT_START
    attach(ports.resident_path, 0).close()


def asked_for(model_path: Path, **settings: Any) -> ServerArgs:
    return ServerArgs(model_path=model_path, **settings)


def load(model_path: Path, **settings: Any) -> Resident:
    return Resident.load(asked_for(model_path, **settings).for_device("cpu"), CpuDevice(), LOG)


def weights_in(resident: Resident) -> dict[str, torch.Tensor]:
    """What one who attaches would map."""
    manifest = resident.manifest
    region = CpuDevice().map(manifest.weights_memory, resident.fds[1])
    return weights_of(region, manifest.weights, manifest.dtype)


def test_the_weights_are_the_checkpoints(checkpoint: Path) -> None:
    weights = weights_in(load(checkpoint))
    tensors = load_file(checkpoint / "model.safetensors")
    layout = layout_of(ModelConfig.load(checkpoint))
    assert weights.keys() == layout.keys()
    for name, weight in layout.items():
        assert torch.equal(weights[name], torch.cat([tensors[part.name] for part in weight.parts])), name


def test_dummy_weights_are_made_from_the_seed_without_a_checkpoint(shape_only: Path) -> None:
    first, same, other = (weights_in(load(shape_only, load_format="dummy", seed=seed)) for seed in (1, 1, 2))
    assert torch.equal(first["lm_head"], same["lm_head"])
    assert not torch.equal(first["lm_head"], other["lm_head"])


def test_a_tiny_model_is_loaded_in_silence(checkpoint: Path) -> None:
    with capture_logs() as logs:
        load(checkpoint)
    assert logs == []


def test_the_manifest_says_what_the_settings_and_the_model_ask_for(checkpoint: Path) -> None:
    resident = load(checkpoint, page_size=8, max_model_len=40, max_running_requests=3)
    manifest = resident.manifest
    assert (manifest.device, manifest.dtype, manifest.max_model_len) == ("cpu", "float32", 40)
    assert manifest.kv.num_pages == 3 * 5 + 1
    assert manifest.kv.layer_shape == (16, 2, 8, 2, 8)
    assert manifest.kv_memory.nbytes == manifest.kv.nbytes
    assert manifest.model_path == str(checkpoint.resolve())
    sizes = [os.fstat(fd).st_size for fd in resident.fds]
    assert sizes == [manifest.ledger_bytes, manifest.weights_memory.nbytes, manifest.kv_memory.nbytes]


@pytest.mark.parametrize(
    ("kv_memory_bytes", "sentence"),
    [(1000, "One sequence of 128 tokens needs"), (1 << 60, "Weights and KV memory need")],
)
def test_a_pool_that_does_not_fit_is_refused_before_any_weight_is_read(
    shape_only: Path, kv_memory_bytes: int, sentence: str
) -> None:
    with pytest.raises(CannotStart, match=sentence):
        load(shape_only, kv_memory_bytes=kv_memory_bytes)


def test_a_checkpoint_without_weights_is_refused(shape_only: Path) -> None:
    with pytest.raises(CannotStart, match=r"model\.safetensors"):
        load(shape_only)


def test_the_context_is_the_models_or_shorter() -> None:
    assert context_length(None, 2048) == 2048
    assert context_length(100, 2048) == 100
    assert context_length(2048, 2048) == 2048
    with pytest.raises(CannotStart):
        context_length(2049, 2048)


def test_on_a_gpu_the_pool_is_sized_by_the_gpus_memory(checkpoint: Path) -> None:
    settings = asked_for(checkpoint).for_device("cuda")
    kv = size_kv(settings, ModelConfig.load(checkpoint), 128, usable_bytes=20 * GIB, weights_bytes=GIB)
    assert kv.dtype == "bfloat16"
    assert kv.nbytes <= int(0.9 * 20 * GIB) - 9 * GIB < kv.nbytes + kv.page_bytes


def test_damaged_weights_end_the_resident_when_somebody_has_them_looked_at(
    checkpoint: Path, make_ports: MakePorts, start_resident: StartResident
) -> None:
    ports = make_ports(checkpoint)
    resident = start_resident(ports)
    with attach(ports.resident_path, SECONDS) as memory:
        weights = memory.map_weights(CpuDevice())
        memory.ask_for_check()
        while (event := next_event(resident))["event"] != "memory checked":
            assert event["level"] == "info"
        weights[len(weights) // 2] ^= 1
        assert resident.poll() is None, "nobody has asked"
        memory.ask_for_check()
        assert resident.wait(SECONDS) == 1
        assert memory.socket.recv(1) == b"", "who is attached learns that it is gone"
        memory.ask_for_check()
    (event,) = (event for event in map(json.loads, resident.stderr or ()) if event["level"] == "error")
    assert event["event"] == "memory damaged" and "not those that were loaded" in event["reason"]
