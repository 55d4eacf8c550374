"""How many KV pages fit: a decision over plain numbers. Nothing is measured or allocated here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from engine.errors import CannotStart

GIB = 1 << 30

GROUP_BUDGET_BYTES = 4 * GIB
"""GPU memory of one group of workers where the settings do not say: contexts, workspaces, graphs, activations. Each
group is measured when it is ready."""

GROUPS = 2
"""The active one and the standby."""

CPU_POOL_FRACTION = 0.25
CPU_POOL_BYTES = GIB


@dataclass(frozen=True, slots=True)
class Demand:
    """What the KV pool is to hold: up to `max_running_requests` sequences of up to `max_model_len` tokens."""

    page_size: int
    page_bytes: int
    max_model_len: int
    max_running_requests: int

    @property
    def sequence_pages(self) -> int:
        """Pages of the longest sequence."""
        return -(-self.max_model_len // self.page_size)

    @property
    def least_bytes(self) -> int:
        """The pool that holds one such sequence and page 0."""
        return (self.sequence_pages + 1) * self.page_bytes

    @property
    def most_bytes(self) -> int:
        """The pool that never runs out, page 0 included."""
        return (self.sequence_pages * self.max_running_requests + 1) * self.page_bytes


@dataclass(frozen=True, slots=True)
class Supply:
    """The memory there is. `usable_bytes`: what may be allocated before the weights are. `group_bytes`: of a group."""

    device: Literal["cpu", "cuda"]
    usable_bytes: int
    weights_bytes: int
    gpu_memory_fraction: float
    group_bytes: int = GROUP_BUDGET_BYTES

    def pool_bytes(self, demand: Demand) -> int:
        """The most the KV pool may take by default."""
        if self.device == "cuda":
            granted = int(self.usable_bytes * self.gpu_memory_fraction)
            return granted - self.weights_bytes - GROUPS * self.group_bytes
        left = self.usable_bytes - self.weights_bytes
        return min(demand.most_bytes, int(self.usable_bytes * CPU_POOL_FRACTION), CPU_POOL_BYTES, left)


def kv_pages(demand: Demand, supply: Supply, kv_memory_bytes: int | None) -> int:
    """Pages of the KV pool, page 0 included; `kv_memory_bytes` is what the user has asked for.

    Raises `CannotStart` where the pool could not hold one sequence of `max_model_len`, or where weights and pool
    together are more than there is.
    """
    pool = supply.pool_bytes(demand) if kv_memory_bytes is None else kv_memory_bytes
    if pool < demand.least_bytes:
        raise CannotStart(
            f"One sequence of {demand.max_model_len} tokens needs {_mib(demand.least_bytes)} of KV memory and "
            f"{_mib(max(pool, 0))} are available: lower max_model_len, or give more memory with "
            f"{'gpu_memory_fraction or ' if supply.device == 'cuda' else ''}kv_memory_bytes."
        )
    needed = supply.weights_bytes + pool
    if needed > supply.usable_bytes:
        raise CannotStart(
            f"Weights and KV memory need {_mib(needed)} and {_mib(supply.usable_bytes)} are available: "
            "lower kv_memory_bytes, or take a smaller model."
        )
    return pool // demand.page_bytes


def group_budget(device: Literal["cpu", "cuda"], asked: int | None) -> int | None:
    """Bytes a group may take beside weights and KV pages, None for what it needs; `asked` is what the user has said."""
    return asked if asked is not None or device == "cpu" else GROUP_BUDGET_BYTES


def over_budget(used: int, budget: int | None) -> str:
    """A sentence for a group that is ready and takes more than it was given; empty if it does not."""
    if budget is None or used <= budget:
        return ""
    return (
        f"A group of workers takes {_mib(used)} of the device's memory and was given {_mib(budget)}: set "
        f"group_memory_bytes to at least {used}, or another group may find no room beside it."
    )


def standby_refusal(needed: int, free: int | None) -> str:
    """Why no second group can be started, in a sentence; empty if it fits, or if nobody knows what is free."""
    if free is None or needed <= free:
        return ""
    return (
        f"Another group of workers needs {_mib(needed)} of the device's memory and {_mib(free)} are free: end what "
        "else runs on it, or lower kv_memory_bytes."
    )


def _mib(nbytes: int) -> str:
    return f"{nbytes / (1 << 20):.1f} MiB"
