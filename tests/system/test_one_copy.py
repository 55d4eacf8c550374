"""Weights and KV cache exist once, however many processes compute on them."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import psutil

from tests.system.appliance import Appliance, running_appliance


def memfd_bytes(appliance: Appliance) -> dict[str, list[tuple[int, int, int]]]:
    """For each memfd: (pid, resident bytes, proportional bytes) of every process that has it mapped and touched."""
    found = defaultdict(list)
    for module in ("engine.resident", "engine.worker", "engine.scheduler"):
        for process in appliance.processes(module):
            for mapping in process.memory_maps():
                if mapping.path.startswith("/memfd:") and mapping.rss:
                    found[mapping.path.removesuffix(" (deleted)")].append((process.pid, mapping.rss, mapping.pss))
    return found


def maps_weights(worker: psutil.Process) -> bool:
    return any("weights" in mapping.path for mapping in worker.memory_maps())


def test_memory_shows_one_copy_of_weights_and_kv(tmp_path: Path) -> None:
    with running_appliance(tmp_path) as appliance:
        appliance.post("/v1/completions", prompt=list(range(200, 900)), max_tokens=30, ignore_eos=True)
        regions = memfd_bytes(appliance)
        serving = {worker.pid for worker in appliance.processes("engine.worker") if maps_weights(worker)}
    assert len(serving) == 2, "the spare workers hold nothing"
    by_kind = {path.split(":")[1]: processes for path, processes in regions.items()}
    for kind in ("weights", "kv"):
        (name,) = [name for name in by_kind if kind in name]
        processes = by_kind[name]
        assert serving <= {pid for pid, _, _ in processes}, "both workers compute on these very bytes"
        largest = max(rss for _, rss, _ in processes)
        assert sum(pss for _, _, pss in processes) <= largest * 1.05, "their parts add up to one copy"
