"""KV pages: how many are free, how many are only kept, and whether their size fits. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from appliance.doctor.finding import Finding, advise, fine, trouble
from appliance.doctor.observations import Observations
from engine.config import ServerArgs

LEAST_FREE_BYTES = 256 << 20
SHORT_OF_PAGES = 0.05
"""Part of the pool; with less free, and requests waiting, it is memory that they wait for."""
MOST_WASTE = 0.05
"""Part of the pool that may be lost in pages that are half full."""


def memory_findings(seen: Observations) -> Iterator[Finding]:
    yield from _device_memory(seen)
    scheduler = seen.status["scheduler"] if seen.status else None
    if scheduler is None or seen.settings is None:
        return
    yield _pages(scheduler)
    yield _page_size(scheduler, seen.settings)
    yield _cached(scheduler)


def _device_memory(seen: Observations) -> Iterator[Finding]:
    free = seen.free_memory_bytes
    if free is None:
        return
    where = "the GPU" if seen.on_cuda else "this machine"
    if free < LEAST_FREE_BYTES:
        yield trouble(
            "free memory",
            f"Only {free >> 20} MiB are free on {where}: another group may not fit beside the one that serves.",
            "End what else uses it, or give the KV cache less with kv_memory_bytes or gpu_memory_fraction.",
        )
    else:
        yield fine("free memory", f"{free / (1 << 30):.1f} GiB are free on {where}.")


def _pages(scheduler: Mapping[str, Any]) -> Finding:
    total, free = scheduler["total_pages"], scheduler["free_pages"]
    seen = f"{free} of {total} KV pages are free"
    more_memory = "Raise kv_memory_bytes or gpu_memory_fraction, or lower max_running_requests or max_model_len."
    if scheduler["waiting"] and free < SHORT_OF_PAGES * total:
        return trouble("KV pages", f"{seen}, and {scheduler['waiting']} requests wait.", more_memory)
    if scheduler["preemptions"]:
        again = f"{scheduler['preemptions']} requests had to be computed again for want of pages since the start"
        return advise("KV pages", f"{seen}; {again}.", more_memory)
    return fine("KV pages", f"{seen}, and no request had to be computed again.")


def _page_size(scheduler: Mapping[str, Any], settings: ServerArgs) -> Finding:
    """The last page of each request is half full on average."""
    running = settings.max_running_requests or 0
    pool_tokens = scheduler["total_pages"] * settings.page_size
    waste = running * settings.page_size / 2 / max(pool_tokens, 1)
    seen = f"A page holds {settings.page_size} tokens"
    if settings.max_model_len is not None and pool_tokens < settings.max_model_len:
        longest = f"the pool's {pool_tokens} tokens are fewer than the longest request may have"
        advice = f"Raise kv_memory_bytes, or lower max_model_len to {pool_tokens}."
        return trouble("page size", f"{seen}, and {longest} ({settings.max_model_len}).", advice)
    if waste > MOST_WASTE:
        lost = f"{running} running requests leave about {waste:.0%} of the pool empty in their last pages"
        return advise("page size", f"{seen}: {lost}.", "Lower page_size, or raise kv_memory_bytes.")
    return fine("page size", f"{seen}; at most {waste:.1%} of the pool is lost in half-full ones.")


def _cached(scheduler: Mapping[str, Any]) -> Finding:
    count = scheduler["cached_pages"]
    kept = f"{count} pages that no request holds are kept for prompts that begin alike"
    if not count:
        return fine("cached pages", "No page is kept that no request holds.")
    return fine("cached pages", f"{kept}. They count as free; `semi-pd doctor --free-cached-pages` forgets them.")
