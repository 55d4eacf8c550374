"""The modules for a model, FlashInfer's and our own: which they are, and all of them compiled side by side.

FlashInfer compiles a module when something of it is first called, and waits: a module alone does not keep the cores
busy. Which they are is asked of the kernels themselves, so that there is no list to keep: each operation is called as
far as the place where FlashInfer would compile or load its module.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from typing import Any, Protocol

import torch

from engine.kernels.cuda import CudaKernels, PromptPlan
from engine.kernels.job_tokens import available_bytes, compilers_at_once, job_tokens

Use = Callable[[], object]


class Module(Protocol):
    """FlashInfer's `JitSpec`, as far as it is used here."""

    name: str
    is_aot: bool
    """It is installed compiled, by FlashInfer's package of such modules."""

    def build(self, verbose: bool) -> None:
        """Compile in the module's own folder, with ninja's log there: `build_and_load` will find nothing to do.

        FlashInfer's `build_jit_specs` has one ninja for all, whose log lies elsewhere: everything is compiled again.
        """
        ...


class _AskedFor(Exception):
    def __init__(self, module: Module):
        super().__init__(module.name)
        self.module = module


def uses_of(kernels: CudaKernels, device: torch.device) -> Iterator[Use]:
    """A call of each operation that has a module, on page 0. `kernels` are of no use afterwards."""
    kv, dtype = kernels.kv, getattr(torch, kernels.kv.dtype)
    q = torch.zeros(1, kernels.num_heads, kv.head_dim, dtype=dtype, device=device)
    k, v = torch.zeros(2, 1, kv.num_kv_heads, kv.head_dim, dtype=dtype, device=device).unbind(0)
    pages = torch.zeros(kv.layer_shape, dtype=dtype, device=device)
    row, weight = q.view(1, -1), torch.ones(kernels.num_heads * kv.head_dim, dtype=dtype, device=device)
    number, numbers = torch.zeros(1, dtype=torch.int32, device=device), torch.arange(2, device=device).int()
    plan = PromptPlan(None, number, number, numbers, number, number + 1)
    cos_sin = torch.zeros(1, kv.head_dim, dtype=torch.float32, device=device)
    yield lambda: kernels.plan([0], [2], [[0]])
    yield lambda: kernels.rotate_and_attend(kernels.plan([1], [1], [[0]]), pages, q, k, v, cos_sin)
    yield lambda: kernels.rotate(plan, q, k, cos_sin)
    yield lambda: kernels.append(plan, pages, k, v)
    yield lambda: kernels.rms_norm(row, weight, 1e-6)
    yield lambda: kernels.add_rms_norm(row, row.clone(), weight, 1e-6)
    yield lambda: kernels.silu_and_mul(torch.cat([row, row], dim=1))


def modules_of(uses: Iterator[Use], module_class: type[Any]) -> Sequence[Module]:
    """Which modules that may have to be compiled the calls ask `module_class.build_and_load` for, each once.

    None is compiled or loaded here.
    """
    found: dict[str, Module] = {}
    with _only_asked_for(module_class):
        for use in uses:
            try:
                use()
            except _AskedFor as asked:
                found[asked.module.name] = asked.module
    return [module for module in found.values() if not module.is_aot]


@contextmanager
def _only_asked_for(module_class: type[Any]) -> Iterator[None]:
    def ask(module: Module) -> None:
        raise _AskedFor(module)

    build_and_load = module_class.build_and_load
    module_class.build_and_load = ask
    try:
        yield
    finally:
        module_class.build_and_load = build_and_load


def compile_together(modules: Sequence[Module], say: Callable[[str], None]) -> None:
    """All of them, at least one, side by side, by as many compilers as the host has cores and memory for.

    Raises what the first of them raises that fails, after the others have ended.
    """
    compilers = compilers_at_once(len(os.sched_getaffinity(0)), available_bytes(), os.environ.get("MAX_JOBS"))
    at_once = min(len(modules), compilers)
    say(f"{len(modules)} modules of FlashInfer's, {at_once} at once, {compilers} compilers at most.")
    started = time.monotonic()
    with job_tokens(compilers - at_once) as tokens, ThreadPoolExecutor(at_once) as threads:
        names = {threads.submit(module.build, verbose=False): module.name for module in modules}
        for done, one in enumerate(as_completed(names), start=1):
            if len(modules) - done < at_once:
                tokens.add(1)  # no other ninja starts in its place: its compiler is the others'
            say(f"{names[one]}: {'failed' if one.exception() else 'there'} after {time.monotonic() - started:.0f} s.")
    for one in names:
        one.result()
