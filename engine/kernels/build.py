"""`python -m engine.kernels.build MODEL DTYPE`: has every kernel compiled that a worker uses for a model of this shape.

It goes a worker's own way over one layer of random weights, so that what is built is what will be used. FlashInfer's
modules are compiled side by side before that, which then finds them; the GPU finds out meanwhile which algorithms are
the fastest for decode's matrix products. The environment says where kernels are kept (`engine.kernel_cache`), and must
not change between building and serving.
"""

from __future__ import annotations

import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path

import msgspec
import torch

from engine.device.open_device import open_device
from engine.errors import SemiPDError
from engine.kernel_cache import KernelCache, KernelNeeds, installed_versions
from engine.kernels.cuda import CudaKernels
from engine.kernels.modules import compile_together, modules_of, uses_of
from engine.kernels.product_search import search
from engine.kernels.products import on_this
from engine.model.checkpoint import fill_dummy, weights_of
from engine.model.config import ModelConfig
from engine.model.decode_runner import decode_runner_for
from engine.model.layout import layout_of, pack
from engine.model.runner import ModelRunner, build_runner
from engine.nvml import driver_version
from engine.process import run
from engine.resident.manifest import KVSpec
from engine.worker.warm_up import warm_up

PAGE_SIZE, PAGES = 16, 64
VOCABULARY = 256
LANES = 4


def layer_of(config: ModelConfig) -> ModelConfig:
    """A model with this one's widths, of one layer and few words: no kernel is compiled for how many there are."""
    return msgspec.structs.replace(config, num_layers=1, vocab_size=VOCABULARY)


def runner_of(config: ModelConfig, dtype: str, device: torch.device) -> ModelRunner:
    """A runner over random weights and a small KV cache of its own."""
    layout = layout_of(config)
    packed = pack(layout, dtype)
    weights = torch.zeros(packed.nbytes, dtype=torch.uint8, device=device)
    fill_dummy(weights, layout, 0, dtype)
    kv = KVSpec(
        num_layers=1,
        num_pages=PAGES,
        page_size=PAGE_SIZE,
        num_kv_heads=config.num_kv_heads,
        head_dim=config.head_dim,
        dtype=dtype,
    )
    pages = torch.zeros(kv.nbytes, dtype=torch.uint8, device=device)
    kind = "cpu" if device.type == "cpu" else "cuda"
    return build_runner(config, weights_of(weights, packed.specs, dtype), pages, kv, kind, device)


def use_all(runner: ModelRunner) -> None:
    """Everything a prefill or decode worker calls before it says ready, decode's graphs with it."""
    warm_up(runner, PAGE_SIZE)
    decode_runner_for(runner, LANES)


def compile_ahead(kernels: CudaKernels, device: torch.device) -> None:
    """FlashInfer's modules side by side, as far as that goes: what is not compiled here, the worker's way compiles."""
    try:
        module_class = import_module("flashinfer.jit").JitSpec
        if modules := modules_of(uses_of(kernels, device), module_class):
            compile_together(modules, _say)
    except Exception as error:  # whatever it is, the worker's way says it in full, or does without
        reason = next(iter(str(error).splitlines()), "")
        _say(f"Modules could not all be compiled side by side ({type(error).__name__}: {reason}): the rest one by one.")


def choose_products(config: ModelConfig, dtype: str, device: torch.device) -> None:
    """Keep which algorithms are the fastest on each part of the GPU. Without that, the library chooses."""
    began, element = time.monotonic(), getattr(torch, dtype)
    try:
        found = search(config, element, device)
    except (SemiPDError, RuntimeError) as error:
        _say(f"Matrix products stay as the library chooses them. {error}")
        return
    found.keep(KernelCache.of(os.environ).root, on_this(element, device))
    gain = sum(choice.library_microseconds / choice.microseconds for choice in found.choices)
    _say(
        f"For {len(found.choices)} matrix products on parts of the GPU there is an algorithm that is faster than the "
        f"library's choice, on average {gain / max(1, len(found.choices)):.2f} times "
        f"({time.monotonic() - began:.0f} s)."
    )


def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)


def build(model: Path, dtype: str) -> str:
    """Compile, and note in the cache what was compiled; returns a sentence. Raises `CannotStart`."""
    started = time.monotonic()
    config = ModelConfig.load(model)
    device = open_device("cuda", "0")
    with torch.cuda.stream(torch.cuda.Stream(device.torch_device)):
        runner = runner_of(layer_of(config), dtype, device.torch_device)
        if isinstance(runner.kernels, CudaKernels):
            with ThreadPoolExecutor(1) as beside:
                compiling = beside.submit(compile_ahead, runner.kernels, device.torch_device)
                choose_products(config, dtype, device.torch_device)
                compiling.result()
            _say(f"The worker's own way begins after {time.monotonic() - started:.0f} s.")
        use_all(runner)
    device.synchronize()
    cache = note_built(model, dtype, device.torch_device)
    return f"The GPU kernels for {model.name} in {dtype} are in {cache.root} ({time.monotonic() - started:.0f} s)."


def note_built(model: Path, dtype: str, device: torch.device) -> KernelCache:
    """All kernels of this model have been used in this process: whoever needs them next will find them."""
    major, minor = torch.cuda.get_device_capability(device)
    cache = KernelCache.of(os.environ)
    cache.note(KernelNeeds.of(model, dtype, f"{major}.{minor}"), installed_versions(), driver_version())
    return cache


def main() -> None:
    print(build(Path(sys.argv[1]), sys.argv[2]))


if __name__ == "__main__":
    run(main)
