"""A real resident on a GPU: another process, a client of MPS too, maps the weights it has loaded."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from safetensors.torch import load_file

from appliance.mps import MPS_CONTROL, MpsDaemon, outside_mps, visible_gpu
from engine.config import PortArgs, ServerArgs
from engine.model.config import ModelConfig
from engine.model.layout import layout_of
from engine.resident.attachment import attach

if TYPE_CHECKING:
    from tests.resident.conftest import StartResident

pytestmark = pytest.mark.gpu

KV_BYTES = 64 << 20

READER = """
import json, sys
from engine.device.open_device import open_device
from engine.model.checkpoint import weights_of
from engine.resident.attachment import attach

with attach(sys.argv[1], timeout=60) as memory:
    manifest = memory.manifest
    device = open_device(manifest.device)
    weights = weights_of(memory.map_weights(device), manifest.weights, manifest.dtype)
    kv = memory.map_kv(device)
    found = int(kv[0])
    kv[0] = found + 1
    device.synchronize()
    sums = {name: weight.double().sum().item() for name, weight in weights.items()}
    print(json.dumps({"sums": sums, "found": found, "used": memory.ledger().used_pages()}))
"""


def read(ports: PortArgs, environment: dict[str, str]) -> dict[str, object]:
    """What a process of this environment sees in the resident's memory; it adds 1 to the first byte of the KV cache."""
    command = [sys.executable, "-c", READER, ports.resident_path]
    return json.loads(subprocess.run(command, env=os.environ | environment, stdout=subprocess.PIPE, check=True).stdout)


@pytest.mark.skipif(not shutil.which(MPS_CONTROL), reason=f"{MPS_CONTROL} is not installed")
def test_processes_inside_and_outside_of_mps_map_one_copy(
    checkpoint: Path, runtime_dir: Path, start_resident: StartResident, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime_dir))
    asked: dict[str, Any] = {"model_path": checkpoint, "kv_memory_bytes": KV_BYTES}
    ports = PortArgs.init_new(ServerArgs(**asked).for_device("cuda"))
    gpu = visible_gpu("0", os.environ)
    for name, value in outside_mps(runtime_dir, gpu).items():
        monkeypatch.setenv(name, value)
    resident = start_resident(ports)
    with attach(ports.resident_path, 120) as memory:
        assert (memory.manifest.device, memory.manifest.dtype) == ("cuda", "bfloat16")
        assert KV_BYTES - memory.manifest.kv.page_bytes < memory.manifest.kv_memory.nbytes <= KV_BYTES
        memory.ledger().take([4], 9, 1)
    daemon = MpsDaemon("a", runtime_dir / "mps", runtime_dir / "log", gpu)
    daemon.start()
    try:
        outside, inside = read(ports, {}), read(ports, daemon.client_environment)
    finally:
        daemon.stop()
    tensors = load_file(checkpoint / "model.safetensors")
    sums = {
        name: sum(tensors[part.name].bfloat16().double().sum().item() for part in weight.parts)
        for name, weight in layout_of(ModelConfig.load(checkpoint)).items()
    }
    assert outside == {"sums": pytest.approx(sums), "found": 0, "used": [4]}
    assert inside == {"sums": outside["sums"], "found": 1, "used": [4]}
    resident.terminate()
    assert resident.wait(60) == 0
