"""Times model steps on the device beside their floors, through the runner that a worker has, without a server.

The resident is the product's own process; this one maps its memory as a worker does. Both floors come from what the
device does in the same run: the bandwidth of a large copy, and the rate of a large matrix product.
"""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch

from bench.floors import work_of
from bench.machine import Machine
from bench.results import MicroLine, Origin, Step
from engine.allocation import Phase, SMAllocation, Splitter
from engine.config import PortArgs, ServerArgs
from engine.device.device import Device, Partition
from engine.device.open_device import open_device
from engine.errors import CannotStart
from engine.model.config import ModelConfig
from engine.model.runner import ModelRunner
from engine.model.segment import Segment
from engine.request import SamplingParams
from engine.resident.attachment import Attachment, ResidentGone, attach
from engine.resident.manifest import ITEM_BYTES, KVSpec
from engine.worker.start import map_model, preload, warm_up

WARMUPS = 3
_GREEDY = SamplingParams(max_tokens=1 << 20, temperature=0.0)
_POLL_SECONDS = 0.5


class Speed(NamedTuple):
    """What the device reaches at its best: bytes a second, read and written; operations a second."""

    bandwidth: float
    matrix_rate: float


class Stage(NamedTuple):
    """A runner with everything it needs."""

    runner: ModelRunner
    device: Device
    partition: Partition
    memory: Attachment

    def milliseconds(self, work: Callable[[], object], repeats: int) -> float:
        """The median wall time of `work`, the device's included."""
        return statistics.median(self._times(work, repeats))

    def best_milliseconds(self, work: Callable[[], object], repeats: int) -> float:
        """The shortest: what the device can do when nothing disturbs it."""
        return min(self._times(work, repeats))

    def _times(self, work: Callable[[], object], repeats: int) -> list[float]:
        with self.partition.step():
            return [self._timed(work) for _ in range(WARMUPS + repeats)][WARMUPS:]

    def _timed(self, work: Callable[[], object]) -> float:
        self.device.synchronize()
        began = time.perf_counter()
        work()
        self.device.synchronize()
        return (time.perf_counter() - began) * 1000


def measure(
    settings: ServerArgs, steps: Sequence[Step], repeats: int, machine: Machine, skip: Callable[[Step, str], None]
) -> Iterator[MicroLine]:
    """A line for each step; `skip` is told of those that do not fit. The settings are resolved for a device."""
    preload(settings)
    with resident(settings) as memory:
        stage = open_stage(memory, settings)
        config, manifest = ModelConfig.load(settings.model_path), memory.manifest
        speed = speed_of(stage, getattr(torch, manifest.dtype), repeats)
        for step in steps:
            problem = problem_of(step, manifest.kv, config)
            if problem:
                skip(step, problem)
                continue
            segments = segments_of(step, manifest.kv, config.vocab_size)
            work = work_of(step, config, ITEM_BYTES[manifest.dtype])
            yield MicroLine(
                origin=Origin.now(machine),
                model=settings.model_name,
                dtype=manifest.dtype,
                step=step,
                milliseconds=stage.milliseconds(lambda segments=segments: stage.runner.step(segments), repeats),
                bytes_floor_ms=work.nbytes / speed.bandwidth * 1000,
                operations_floor_ms=work.operations / speed.matrix_rate * 1000,
                bandwidth=speed.bandwidth,
                matrix_rate=speed.matrix_rate,
            )


@contextmanager
def resident(settings: ServerArgs) -> Iterator[Attachment]:
    """The product's resident process, attached to; ended at the end."""
    ports = PortArgs.init_new(settings)
    try:
        with subprocess.Popen([sys.executable, "-m", "engine.resident", str(ports.runtime_dir)]) as process:
            try:
                with _attached(ports, process) as memory:
                    yield memory
            finally:
                process.terminate()
    finally:
        shutil.rmtree(ports.runtime_dir)


def _attached(ports: PortArgs, process: subprocess.Popen[bytes]) -> Attachment:
    while process.poll() is None:
        try:
            return attach(ports.resident_path, _POLL_SECONDS)
        except ResidentGone:
            continue  # it is loading
    raise CannotStart(f"The resident process has ended with code {process.returncode}: its own words are above.")


def open_stage(memory: Attachment, settings: ServerArgs) -> Stage:
    """The whole device, warmed up."""
    device = open_device(memory.manifest.device, settings.gpu)
    partition = device.partition(Phase.DECODE, SMAllocation(100, 100), Splitter.NONE)
    with partition.step():
        runner = map_model(memory, device, settings)
        warm_up(runner, memory.manifest.kv.page_size)
    device.synchronize()
    return Stage(runner, device, partition, memory)


def speed_of(stage: Stage, dtype: torch.dtype, repeats: int) -> Speed:
    """By a copy far larger than any cache, and by a square matrix product."""
    on_gpu = stage.device.torch_device.type == "cuda"
    nbytes, side = (1 << 30, 8192) if on_gpu else (1 << 26, 512)
    source = torch.ones(nbytes, dtype=torch.uint8, device=stage.device.torch_device)
    target = torch.empty_like(source)
    copy_ms = stage.best_milliseconds(lambda: target.copy_(source), repeats)
    left = torch.randn(side, side, device=stage.device.torch_device).to(dtype)
    right, product = left.clone(), torch.empty_like(left)
    matrix_ms = stage.best_milliseconds(lambda: torch.mm(left, right, out=product), repeats)
    return Speed(2 * nbytes / copy_ms * 1000, 2 * side**3 / matrix_ms * 1000)


def problem_of(step: Step, kv: KVSpec, config: ModelConfig) -> str:
    """Why a step cannot be timed, empty if it can."""
    needed = step.batch * pages_for(step.context, kv)
    if needed > kv.num_pages - 1:
        return f"it needs {needed} KV pages and there are {kv.num_pages - 1}"
    if step.context > config.max_position_embeddings:
        return f"the model's limit is {config.max_position_embeddings} tokens"
    return ""


def pages_for(tokens: int, kv: KVSpec) -> int:
    return -(-tokens // kv.page_size)


def segments_of(step: Step, kv: KVSpec, vocab_size: int) -> list[Segment]:
    """Pages in a random order, as they are after an hour of serving; no page belongs to two sequences, and none is
    page 0."""
    generator = torch.Generator().manual_seed(0)
    each = pages_for(step.context, kv)
    pages = (torch.randperm(kv.num_pages - 1, generator=generator)[: step.batch * each] + 1).tolist()
    tables = [pages[at : at + each] for at in range(0, len(pages), each)]
    new = step.context if step.kind == "prefill" else 1
    token_ids = torch.randint(vocab_size, (step.batch, new), generator=generator).tolist()
    return [
        Segment(token_ids=ids, start=step.context - new, pages=table, sampling=_GREEDY, output_index=0)
        for ids, table in zip(token_ids, tables, strict=True)
    ]
