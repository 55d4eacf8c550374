"""Everything the findings are made from, as plain values: what was asked, and what was answered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from appliance.gpu import Gpu
from engine.config import ServerArgs


class Answer(NamedTuple):
    """A peer that was asked. `milliseconds` is None where it did not answer in time; then `problem` says why."""

    peer: str
    milliseconds: float | None
    problem: str = ""


class Process(NamedTuple):
    """`state`: as the kernel names it, such as `sleeping` or `stopped`; None where there is no such process."""

    name: str
    pid: int
    state: str | None


class Daemon(NamedTuple):
    """An MPS daemon. `slot`: ours, for that slot; None for one of somebody else, or left by an appliance that died."""

    pid: int
    slot: str | None


@dataclass(frozen=True, slots=True)
class Observations:
    """What could be learnt here and now.

    `settings`: the running appliance's, or those the next start would have; None where they are no good, and
    `settings_problem` says why. `status`: the controller's, None where no appliance runs or answers; `running_pid` is
    that of an appliance that runs, or is said to. `gpu_problem`: why `gpu` is None though there should be one.
    `free_memory_bytes`: of the device, None where it is not known.
    """

    settings: ServerArgs | None
    settings_problem: str = ""
    running_pid: int | None = None
    status: Mapping[str, Any] | None = None
    answers: tuple[Answer, ...] = ()
    processes: tuple[Process, ...] = ()
    on_cuda: bool = False
    device_problem: str = ""
    gpu: Gpu | None = None
    gpu_problem: str = ""
    has_mps: bool = False
    daemons: tuple[Daemon, ...] = ()
    free_memory_bytes: int | None = None
    port_problem: str = ""
