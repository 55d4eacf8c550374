"""The last minutes' load once more at each split and under the policy, by the simulator, in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from appliance.control.messages import AskRecentLoad
from appliance.slo import SLOTarget
from webui.controller import Controller

PATIENCE_SECONDS = 60.0
CLOSE = 0.1
"""So far may simulated attainment be from what was seen."""
_ONE_AT_A_TIME = threading.Lock()


class Row(NamedTuple):
    """`name`: a split, or "policy". `attainment` from 0 to 1; `changes`: how often the policy moved."""

    name: str
    attainment: float
    ttft_p95_ms: float | None
    tpot_p95_ms: float | None
    changes: int


class Simulated(NamedTuple):
    """Of `requests` that came within `seconds`. `seen`: the part of them that kept these targets when they were served,
    from 0 to 1, which the row of the split in force is to be held against; None where nothing was simulated."""

    problem: str
    requests: int = 0
    seconds: float = 0.0
    seen: float | None = None
    in_force: str = ""
    rows: Sequence[Row] = ()

    @property
    def doubt(self) -> str:
        """How far the simulation is from what was seen, in a sentence; empty where the two agree."""
        served = next((row for row in self.rows if row.name == self.in_force), None)
        if served is None or self.seen is None or abs(served.attainment - self.seen) <= CLOSE:
            return ""
        told = f"It has {served.attainment:.0%} at {served.name}, and {self.seen:.0%} were seen".replace("%", " %")
        return f"This simulation is not like what was served. {told}: do not go by it."

    @property
    def best(self) -> Row | None:
        splits = [row for row in self.rows if row.name != "policy"]
        return max(splits, key=lambda row: row.attainment, default=None)


def simulated(controller: Controller, asked: Mapping[str, float]) -> Simulated:
    """`asked`: targets in milliseconds and what the policy goes by, as the form of the SLO page names them."""
    try:
        target = SLOTarget(asked["ttft_ms"], asked["tpot_ms"])
    except ValueError as problem:
        return Simulated(str(problem))
    reply = controller.ask(AskRecentLoad())
    if not reply.done:
        return Simulated(reply.sentence)
    seen = json.loads(reply.data)
    pace = {"window_seconds": asked["window_seconds"], "cooldown_seconds": asked["cooldown_seconds"]}
    task = seen | pace | {"least_confidence": asked["min_confidence"]}
    answer = _computed(task | {"ttft_ms": asked["ttft_ms"], "tpot_ms": asked["tpot_ms"]})
    if answer["problem"]:
        return Simulated(answer["problem"])
    requests = seen["load"]["requests"]
    kept = sum(_kept(request, target) for request in requests) / len(requests)
    rows = [_row(result) for result in answer["results"]]
    return Simulated("", len(requests), requests[-1]["at_seconds"], kept, seen["in_force"], rows)


def _computed(task: Mapping[str, Any]) -> dict[str, Any]:
    """One at a time, whoever asks: it has the least right to the machine's time, but takes all that is left."""
    if not _ONE_AT_A_TIME.acquire(blocking=False):
        return {"problem": "Another simulation is under way: try again in a few seconds."}
    command = [sys.executable, "-m", "appliance.simulator.foretelling"]
    try:
        done = subprocess.run(
            command, input=json.dumps(task).encode(), capture_output=True, timeout=PATIENCE_SECONDS, check=True
        )
        return json.loads(done.stdout)
    except subprocess.TimeoutExpired:
        return {"problem": f"The simulation was given up after {PATIENCE_SECONDS:.0f} s: the machine is busy."}
    except subprocess.CalledProcessError as error:
        last = error.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        return {"problem": f"The simulation failed: {last}"}
    finally:
        _ONE_AT_A_TIME.release()


def _kept(request: Mapping[str, Any], target: SLOTarget) -> bool:
    ttft_ms, tpot_ms = request["ttft_ms"], request["tpot_ms"]
    is_in_time = ttft_ms is not None and ttft_ms <= target.ttft_target_ms
    return is_in_time and (tpot_ms is None or tpot_ms <= target.tpot_target_ms)


def _row(result: Mapping[str, Any]) -> Row:
    ttft, tpot = result["ttft_ms"], result["tpot_ms"]
    return Row(
        result["name"], result["attainment"], ttft and ttft["p95"], tpot and tpot["p95"], len(result["changes"]) - 1
    )
