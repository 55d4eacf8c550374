"""`python -m engine.scheduler RUNTIME_DIR`: attaches to the resident for the ledger, then serves."""

from __future__ import annotations

import sys
from pathlib import Path

from engine.config import PortArgs, ServerArgs
from engine.fault_point import FaultPoint, reached
from engine.model.config import ModelConfig
from engine.process import follow_supervisor, run, set_up_logging
from engine.resident.attachment import attach
from engine.resident.manifest import Manifest
from engine.scheduler.limits import Limits
from engine.scheduler.load_table import LoadTable
from engine.scheduler.scheduler import Scheduler
from engine.scheduler.service import SchedulerService
from engine.scheduler.suspicion import Suspicion
from engine.storage.allocator import PageAllocator

ATTACH_SECONDS = 3600.0
"""A large checkpoint takes minutes to load; if the resident fails, the supervisor ends this process."""


def limits_of(settings: ServerArgs, manifest: Manifest) -> Limits:
    assert settings.max_running_requests and settings.prefill_token_budget, "settings are resolved for a device"
    return Limits(
        max_model_len=manifest.max_model_len,
        max_running_requests=settings.max_running_requests,
        max_queued_requests=settings.max_queued_requests,
        prefill_token_budget=settings.prefill_token_budget,
        grant_ahead_tokens=manifest.kv.page_size,
        max_requests_per_key=settings.max_requests_per_key,
        max_queue_seconds=settings.max_queue_seconds,
        chunk_tokens=settings.chunk_tokens,
        ttft_target_seconds=settings.ttft_target_ms / 1000,
        tpot_target_seconds=settings.tpot_target_ms / 1000,
        products=ModelConfig.load(settings.model_path).products,
    )


def main() -> None:
    follow_supervisor()
    ports = PortArgs(Path(sys.argv[1]))
    settings = ports.read_settings()
    log = set_up_logging("scheduler", settings.log_level)
    memory = attach(ports.resident_path, ATTACH_SECONDS)
    page_size = memory.manifest.kv.page_size
    ledger = memory.ledger()
    suspicion = Suspicion(ledger)
    # The workers of a former scheduler have ended: nobody starts this one before.
    allocator = PageAllocator.adopting(ledger, page_size, prefix_caching=settings.prefix_caching)
    reached(FaultPoint.SCHEDULER_ADOPTED)
    log.info("pages adopted", pages=allocator.cached_count)
    scheduler = Scheduler(limits_of(settings, memory.manifest), allocator)
    load_table = LoadTable.create(ports.load_table_path)
    SchedulerService(
        scheduler,
        ports,
        load_table,
        suspicion,
        settings.worker_patience_seconds,
        log,
        check_memory=memory.ask_for_check,
        device_lingers=settings.device == "cuda",
    ).run()


run(main)
