"""Observations of an appliance that is well, for tests to make ill."""

from __future__ import annotations

from typing import Any

from appliance.doctor.observations import Answer, Daemon, Observations, Process
from appliance.gpu import Gpu
from engine.config import ServerArgs

GPU = Gpu("0", "GPU-1", "Some GPU", "580.1")


def a_status(**changes: Any) -> dict[str, Any]:
    """As far as the findings read it; keys of parts are given as `slo__alone`."""
    status: dict[str, Any] = {
        "mode": "semi_pd",
        "split_in_force": "50/50",
        "health": {"healthy": True, "reason": ""},
        "scheduler": {"total_pages": 1000, "free_pages": 900, "cached_pages": 0, "waiting": 0, "preemptions": 0},
        "slo": {
            "mode": "auto",
            "target": {"ttft_target_ms": 500.0, "tpot_target_ms": 50.0},
            "alone": {"ttft_ms": 20.0, "tpot_ms": 5.0, "requests": 100},
            "seen": {"samples": 40, "seconds": 30.0, "ttft_ms": [50.0, 100.0, 110.0], "tpot_ms": [10.0, 20.0, 30.0]},
            "latest_decision": None,
        },
    }
    for path, value in changes.items():
        *parents, key = path.split("__")
        part = status
        for parent in parents:
            part = part[parent]
        part[key] = value
    return status


def observed(settings: ServerArgs | None = None, *, status: dict[str, Any] | None = None, **given: Any) -> Observations:
    defaults: dict[str, Any] = {
        "running_pid": 1,
        "answers": (Answer("scheduler", 0.4),),
        "processes": (Process("scheduler", 2, "sleeping"),),
        "free_memory_bytes": 8 << 30,
    }
    settings = settings or ServerArgs(device="cpu", max_running_requests=64, port=8000)
    return Observations(settings, status=status or a_status(), **defaults | given)


def on_gpu(**given: Any) -> Observations:
    defaults: dict[str, Any] = {
        "on_cuda": True,
        "gpu": GPU,
        "has_mps": True,
        "daemons": (Daemon(10, "a"), Daemon(11, "b")),
    }
    return observed(ServerArgs(device="cuda", max_running_requests=64), **defaults | given)
