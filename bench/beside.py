"""`python -m bench.beside --model DIR`: prefill beside decode on parts of a GPU, and where prefill's time goes.

One process computes both, each on its own stream, as the two workers of a group do. First each alone in its part, then
both, then both once more under torch's profiler, which tells how long the kernels of prefill's stream took, by kind,
and for how long there was none. The chip's clock and power are read in the middle: what draws more is slower.
"""

from __future__ import annotations

import argparse
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import torch

from bench.micro import resident
from engine.allocation import Phase, SMAllocation, Splitter
from engine.config import ServerArgs
from engine.device.detect import detect_device
from engine.device.device import Device, Partition
from engine.device.open_device import open_device
from engine.model.config import ModelConfig
from engine.model.decode_runner import decode_runner_for
from engine.model.runner import ModelRunner
from engine.profile.conditions import Conditions
from engine.profile.load import DecodeLoad, Load, PrefillLoad
from engine.resident.attachment import Attachment
from engine.scheduler.step_size import fullest_step
from engine.worker.start import map_model, preload

KINDS = {
    "norms": ("norm",),
    "gate": ("act_and_mul", "silu"),
    "rotary and pages": ("rotary", "rope", "appendpaged"),
    "attention": ("prefillwithkv", "attention"),
    "products": ("gemm", "nvjet", "cutlass", "xmma", "_project"),
}
"""By what a kernel's name has in it, in small letters."""
REST = "the rest"
CLOCK_AND_POWER = ("nvidia-smi", "--query-gpu=clocks.sm,power.draw", "--format=csv,noheader")


class Phases(NamedTuple):
    """Each with its part of the device."""

    prefill: Load
    prefill_part: Partition
    decode: Load
    decode_part: Partition


def phases_of(
    split: SMAllocation, memory: Attachment, device: Device, settings: ServerArgs, conditions: Conditions
) -> Phases:
    config, page_size = ModelConfig.load(settings.model_path), memory.manifest.kv.page_size
    prefill_part, decode_part = (device.partition(phase, split, Splitter.GREEN) for phase in Phase)
    with prefill_part.step():
        runner = map_model(memory, device, settings, prefill_part.sm_count)
        prefill = PrefillLoad(runner, conditions, page_size, config.vocab_size)
    with decode_part.step():
        graphs = decode_runner_for(of_part(runner, decode_part.sm_count, device), conditions.decode_lanes)
        decode = DecodeLoad(graphs, conditions, page_size, config.vocab_size)
    device.synchronize()
    return Phases(prefill, prefill_part, decode, decode_part)


def of_part(runner: ModelRunner, sm_count: int, device: Device) -> ModelRunner:
    kernels, model = runner.kernels.of_part(sm_count), runner.model.of_part(sm_count)
    return ModelRunner(model, kernels, runner.kv_layers, runner.sampler, device.torch_device)


def step_ms(load: Load, part: Partition, seconds: float) -> float:
    """Of steps one after the other, the first few not counted."""
    ends: list[float] = []
    began = time.perf_counter()
    with part.step():
        while not ends or ends[-1] < began + seconds:
            if load.turn():
                ends.append(time.perf_counter())
        load.finish()
    counted = ends[len(ends) // 4 :]
    return (counted[-1] - counted[0]) / (len(counted) - 1) * 1000


@contextmanager
def without_end(load: Load, part: Partition, found: list[float]) -> Iterator[None]:
    """The load beside the body of the `with`; how long its steps took is appended."""
    over = threading.Event()

    def work() -> None:
        began, count = time.perf_counter(), 0
        with part.step():
            while not over.is_set():
                count += load.turn()
            load.finish()
        found.append((time.perf_counter() - began) / max(1, count) * 1000)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@contextmanager
def read_in_the_middle(seconds: float) -> Iterator[list[str]]:
    """Clock and power of the GPU, there when the body of the `with` is over."""
    found: list[str] = []
    timer = threading.Timer(seconds / 2, lambda: found.append(clock_and_power()))
    timer.start()
    yield found
    timer.join()


def clock_and_power() -> str:
    return subprocess.run(CLOCK_AND_POWER, capture_output=True, text=True, check=True).stdout.splitlines()[0]


def kernel_ms(phases: Phases, seconds: float) -> tuple[dict[str, float], float]:
    """Of prefill's stream beside decode: milliseconds by kind, and of how long in all."""
    with without_end(phases.decode, phases.decode_part, []):
        step_ms(phases.prefill, phases.prefill_part, 0.2)
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profiler:
            step_ms(phases.prefill, phases.prefill_part, seconds)
    assert profiler.profiler is not None and profiler.profiler.kineto_results is not None
    events = [each for each in profiler.profiler.kineto_results.events() if each.device_type().name == "CUDA"]
    ((stream, _),) = Counter(each.device_resource_id() for each in events if is_prefills(each.name())).most_common(1)
    mine = [each for each in events if each.device_resource_id() == stream]
    spent = dict.fromkeys([*KINDS, REST], 0.0)
    for each in mine:
        spent[kind_of(each.name())] += each.duration_ns() / 1e6
    began, ended = min(each.start_ns() for each in mine), max(each.start_ns() + each.duration_ns() for each in mine)
    return spent, (ended - began) / 1e6


def is_prefills(name: str) -> bool:
    """A kernel that only prefill has."""
    return kind_of(name) in ("attention", "rotary and pages") and "decode" not in name.lower()


def kind_of(name: str) -> str:
    small = name.lower()
    return next((kind for kind, parts in KINDS.items() if any(part in small for part in parts)), REST)


def show(split: SMAllocation, phases: Phases, conditions: Conditions, seconds: float) -> None:
    decode_beside: list[float] = []
    with read_in_the_middle(seconds) as by_prefill:
        prefill_alone = step_ms(phases.prefill, phases.prefill_part, seconds)
    with read_in_the_middle(seconds) as by_decode:
        decode_alone = step_ms(phases.decode, phases.decode_part, seconds)
    with without_end(phases.decode, phases.decode_part, decode_beside), read_in_the_middle(seconds) as by_both:
        beside = step_ms(phases.prefill, phases.prefill_part, seconds)
    tokens = conditions.chunk_tokens
    print(f"{split}: {phases.prefill_part.sm_count} + {phases.decode_part.sm_count} SMs, steps of {tokens} tokens")
    print(f"  prefill {tokens / prefill_alone:5.1f} tokens/ms alone, {tokens / beside:5.1f} beside ({beside:.1f} ms)")
    print(f"  decode {decode_alone:5.2f} ms alone, {decode_beside[0]:5.2f} beside")
    print(f"  clock, power: {', '.join(by_prefill)} by prefill, {', '.join(by_decode)} by decode, {', '.join(by_both)}")
    spent, whole = kernel_ms(phases, seconds)
    idle = whole - sum(spent.values())
    parts = [f"{kind} {100 * took / whole:.1f} %" for kind, took in spent.items()]
    print(f"  prefill's stream: {', '.join(parts)}, nothing {100 * idle / whole:.1f} %", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.beside", description=__doc__)
    parser.add_argument("--model", type=Path, required=True, help="a model directory")
    parser.add_argument("--splits", default="60/40,66/34,72/28,84/16")
    parser.add_argument("--tokens", type=int, help="of a prefill step; as many as serving takes there if absent")
    parser.add_argument("--lanes", type=int, default=64)
    parser.add_argument("--context", type=int, default=1250, help="tokens behind each lane")
    parser.add_argument("--seconds", type=float, default=1.0)
    options = parser.parse_args()
    settings = ServerArgs(model_path=options.model, load_format="dummy", device="cuda", dtype="bfloat16")
    settings = settings.for_device(detect_device(settings.device))
    assert settings.prefill_token_budget is not None
    preload(settings)
    most = Conditions(settings.prefill_token_budget, options.lanes, options.context, options.seconds)
    products = ModelConfig.load(options.model).products
    with resident(most.resident_settings(settings)) as memory, torch.inference_mode():
        device = open_device("cuda", settings.gpu, fits_products=True)
        for text in options.splits.split(","):
            split = SMAllocation(*map(int, text.split("/")))
            sms = device.partition(Phase.PREFILL, split, Splitter.GREEN).sm_count
            tokens = options.tokens or fullest_step(most.chunk_tokens, sms, products)
            conditions = Conditions(tokens, options.lanes, options.context, options.seconds)
            show(split, phases_of(split, memory, device, settings, conditions), conditions, options.seconds)


if __name__ == "__main__":
    main()
