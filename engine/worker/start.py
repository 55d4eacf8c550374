"""From spare to worker: map the memory, take a partition, warm up, say ready."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from functools import partial
from importlib import import_module

import torch

from engine.allocation import Phase, SMAllocation, Splitter
from engine.config import PortArgs, ServerArgs
from engine.device.device import Device, Partition
from engine.device.open_device import open_device
from engine.fault_point import FaultPoint, reached
from engine.grammar.grammars import Grammars
from engine.kernels.build import note_built
from engine.kernels.upload import hold_ready
from engine.model.checkpoint import weights_of
from engine.model.config import ModelConfig
from engine.model.decode_runner import PartsRunner, decode_runner_for
from engine.model.runner import ModelRunner, build_runner
from engine.model.transformer import Transformer
from engine.resident.attachment import Attachment, attach
from engine.wire.to_scheduler import WorkerReady
from engine.wire.to_worker import Assignment
from engine.worker.busy_words import BusyWords
from engine.worker.colocated_steps import ColocatedSteps
from engine.worker.decode_steps import DecodeSteps
from engine.worker.decoder import Decoder
from engine.worker.order_socket import OrderSocket
from engine.worker.other_phase import OtherPhase
from engine.worker.parts import WHOLE_SHARE, Parts
from engine.worker.prefill_steps import PrefillSteps
from engine.worker.prefiller import Prefiller
from engine.worker.preparation import Preparation, Prepare
from engine.worker.steps import Steps
from engine.worker.taking_turns import TakingTurns
from engine.worker.warm_up import warm_up, warm_up_decode
from engine.worker.worker import Worker

PREPARE_SECONDS = 2.0
"""How long after it has found the resident a worker may still begin to prepare something before it says ready: a
standby is to be ready in 3. What is left then is prepared when the worker has nothing to do."""
WARM_TOKENS = 1024
"""Of a step with which prefill uses a part for the first time: about as many as it computes at once when it borrows."""
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
    reached(FaultPoint.WORKER_MAPPED)
    began = time.monotonic()
    device = open_device(memory.manifest.device, settings.gpu, fits_products=not settings.deterministic)
    parts = parts_of(assignment, settings, device)
    if settings.device == "cuda":
        hold_ready()
    with parts.step(parts.in_force):
        runner = map_model(memory, device, settings, parts.in_force.sm_count)
        warm_up(runner, memory.manifest.kv.page_size, largest_step(assignment, settings))
        steps, prepare = steps_of(assignment, runner, memory.manifest.kv.page_size, settings)
    preparation = Preparation(parts, shares_to_prepare(assignment, settings, parts), prepare)
    preparation.advance_while(lambda: time.monotonic() < began + PREPARE_SECONDS)
    device.synchronize()
    if settings.device == "cuda":
        note_built(settings.model_path, settings.dtype, device.torch_device)
    identity = f"{'+'.join(assignment.phases)}-{assignment.slot}-{assignment.epoch}"
    orders = OrderSocket(ports.worker_address, identity, memory.socket)
    other = other_phase_of(assignment, settings, ports)
    worker = Worker(assignment.epoch, steps, parts, device, orders, other, preparation)
    orders.send(ready_message(assignment, parts, device.used_bytes()))  # last: work may come at once
    reached(FaultPoint.WORKER_READY)
    return worker


def parts_of(assignment: Assignment, settings: ServerArgs, device: Device) -> Parts:
    """Where the worker computes. A colocated one has all of the device, whatever the split."""
    assert settings.splitter is not None, "settings are resolved for a device before any process starts"
    phase, *others = assignment.phases
    split = SMAllocation(assignment.prefill_percentage, assignment.decode_percentage)
    splitter = Splitter.NONE if others else settings.splitter
    return Parts(device, phase, splitter, split.share(phase), may_change=settings.in_place and not others)


def shares_to_prepare(assignment: Assignment, settings: ServerArgs, parts: Parts) -> list[int]:
    """The whole device, to borrow, then what the group may be told to take."""
    if not parts.needs_preparation:
        return []
    whole = [WHOLE_SHARE] if settings.borrowing or settings.in_place else []
    return whole + [split.share(assignment.phases[0]) for split in assignment.prepare if settings.in_place]


def other_phase_of(assignment: Assignment, settings: ServerArgs, ports: PortArgs) -> OtherPhase | None:
    """Whom to borrow from; None where nobody is, or nothing shall be borrowed."""
    phase, *others = assignment.phases
    if others or not settings.borrowing:
        return None
    return OtherPhase(BusyWords.open(ports.busy_words_path), phase, assignment.slot, assignment.epoch)


def steps_of(
    assignment: Assignment, runner: ModelRunner, page_size: int, settings: ServerArgs
) -> tuple[Steps, Prepare]:
    """The work of the assignment's phases, and what other parts need for it. Graphs are captured here, on the
    partition's stream."""
    grammars = Grammars.of_model(settings.model_path)
    prefill = PrefillSteps(Prefiller(grammars), runner, may_cut=not settings.deterministic)
    if assignment.phases == (Phase.PREFILL,):
        return prefill, partial(prefill_pieces, runner, page_size)
    assert settings.max_running_requests is not None, "settings are resolved for a device before any process starts"
    decoder = Decoder(assignment.epoch, page_size, grammars)
    decode_runner = decode_runner_for(runner, settings.max_running_requests, settings.deterministic)
    warm_up_decode(decode_runner, settings.max_running_requests)
    prepare = partial(decode_pieces, decode_runner, runner.model, settings.max_running_requests)
    if assignment.phases == (Phase.DECODE,):
        return DecodeSteps(decoder, decode_runner), prepare
    if settings.deterministic:
        return TakingTurns(prefill, DecodeSteps(decoder, decode_runner)), prepare
    return ColocatedSteps(Prefiller(grammars), decoder, runner, decode_runner), prepare


def prefill_pieces(runner: ModelRunner, page_size: int, partition: Partition) -> Iterator[None]:
    """A stream is all that prefill needs; libraries make a workspace for each, and choose kernels, at its first use."""
    warm_up(runner, page_size, WARM_TOKENS)
    yield


def decode_pieces(
    decode_runner: PartsRunner, model: Transformer, max_lanes: int, partition: Partition
) -> Iterator[None]:
    """Graphs keep the part in which they were captured, and torch keeps memory for each stream: what surrounds a graph
    asks the driver for it at its first use, which would then wait while another process ends."""
    yield from decode_runner.captures(model.of_part(partition.sm_count))
    warm_up_decode(decode_runner, max_lanes)
    yield


def map_model(memory: Attachment, device: Device, settings: ServerArgs, sm_count: int | None = None) -> ModelRunner:
    """The model over the resident's own bytes, to run on `sm_count` SMs, None for the whole device."""
    manifest = memory.manifest
    return build_runner(
        ModelConfig.load(settings.model_path),
        weights_of(memory.map_weights(device), manifest.weights, manifest.dtype),
        memory.map_kv(device),
        manifest.kv,
        manifest.device,
        device.torch_device,
        sm_count,
        settings.deterministic,
    )


def ready_message(assignment: Assignment, parts: Parts, used_bytes: int) -> WorkerReady:
    return WorkerReady(
        epoch=assignment.epoch,
        slot=assignment.slot,
        phases=assignment.phases,
        pid=os.getpid(),
        splitter=parts.in_force.splitter,
        share_percentage=parts.in_force.share_percentage,
        sm_count=parts.in_force.sm_count,
        prepared=parts.prepared,
        used_bytes=used_bytes,
    )


def largest_step(assignment: Assignment, settings: ServerArgs) -> int:
    """Tokens of the largest step to warm up with. A CPU has nothing to load, and decode's steps are graphs."""
    if settings.device == "cpu" or Phase.PREFILL not in assignment.phases:
        return 0
    return settings.prefill_token_budget or 0
