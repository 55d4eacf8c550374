"""From spare to worker: map the memory, take a partition, warm up, say ready."""

from __future__ import annotations

import os
from importlib import import_module

import torch

from engine.allocation import Phase, SMAllocation, Splitter
from engine.config import PortArgs, ServerArgs
from engine.device.device import Device, Partition
from engine.device.open_device import open_device
from engine.grammar.grammars import Grammars
from engine.model.checkpoint import weights_of
from engine.model.config import ModelConfig
from engine.model.decode_runner import decode_runner_for
from engine.model.runner import ModelRunner, build_runner
from engine.model.segment import Segment
from engine.request import SamplingParams
from engine.resident.attachment import Attachment, attach
from engine.wire.to_scheduler import WorkerReady
from engine.wire.to_worker import Assignment
from engine.worker.decoder import Decoder
from engine.worker.order_socket import OrderSocket
from engine.worker.prefiller import Prefiller
from engine.worker.steps import ColocatedSteps, DecodeSteps, PrefillSteps, Steps
from engine.worker.worker import Worker

ATTACH_SECONDS = 3600.0
"""A large checkpoint takes minutes to load; if the resident fails, the supervisor ends this process."""


def preload(settings: ServerArgs) -> None:
    """Import what takes long, without touching the device."""
    torch.set_num_threads(1)
    if settings.device == "cuda":
        for name in ("flashinfer", "engine.kernels.thin_linear"):  # a CPU box has not what they need
            import_module(name)


def start_worker(assignment: Assignment, settings: ServerArgs, ports: PortArgs) -> Worker:
    """A warmed-up worker that has told the scheduler it is ready."""
    memory = attach(ports.resident_path, ATTACH_SECONDS)
    device = open_device(memory.manifest.device, settings.gpu)
    allocation = SMAllocation(assignment.prefill_percentage, assignment.decode_percentage)
    phase = assignment.phases[0]
    is_colocated = len(assignment.phases) > 1
    splitter = Splitter.NONE if is_colocated else settings.splitter
    assert splitter is not None, "settings are resolved for a device before any process starts"
    partition = device.partition(phase, allocation, splitter)
    with partition.step():
        runner = map_model(memory, device, settings, partition.sm_count)
        warm_up(runner)
        steps = steps_of(assignment, runner, memory.manifest.kv.page_size, settings)
    device.synchronize()
    identity = f"{'+'.join(assignment.phases)}-{assignment.slot}-{assignment.epoch}"
    orders = OrderSocket(ports.worker_address, identity, memory.socket)
    orders.send(ready_message(assignment, partition))
    return Worker(assignment.epoch, steps, partition, device, orders)


def steps_of(assignment: Assignment, runner: ModelRunner, page_size: int, settings: ServerArgs) -> Steps:
    """The work of the assignment's phases. Graphs are captured here, on the partition's stream."""
    grammars = Grammars.of_model(settings.model_path)
    if assignment.phases == (Phase.PREFILL,):
        return PrefillSteps(Prefiller(grammars), runner)
    assert settings.max_running_requests is not None, "settings are resolved for a device before any process starts"
    decoder = Decoder(assignment.epoch, page_size, grammars)
    decode_runner = decode_runner_for(runner, settings.max_running_requests)
    if assignment.phases == (Phase.DECODE,):
        return DecodeSteps(decoder, decode_runner)
    return ColocatedSteps(Prefiller(grammars), decoder, runner, decode_runner)


def map_model(memory: Attachment, device: Device, settings: ServerArgs, sm_count: int | None = None) -> ModelRunner:
    """The model over the resident's own bytes, to run on `sm_count` SMs, None for the whole device."""
    manifest = memory.manifest
    weights = weights_of(memory.map_weights(device), manifest.weights, manifest.dtype)
    config = ModelConfig.load(settings.model_path)
    return build_runner(
        config, weights, memory.map_kv(device), manifest.kv, manifest.device, device.torch_device, sm_count
    )


def ready_message(assignment: Assignment, partition: Partition) -> WorkerReady:
    return WorkerReady(
        epoch=assignment.epoch,
        slot=assignment.slot,
        phases=assignment.phases,
        pid=os.getpid(),
        splitter=partition.splitter,
        share_percentage=partition.share_percentage,
        sm_count=partition.sm_count,
    )


def warm_up(runner: ModelRunner) -> None:
    """A prefill chunk and a decode step on page 0, which belongs to nobody: the first request then compiles nothing."""
    once = SamplingParams(max_tokens=1, temperature=0.0)
    runner.step([Segment([0, 0], 0, [0, 0], once, 0)])
    runner.step([Segment([0], 1, [0, 0], once, 0)])
