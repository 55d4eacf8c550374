"""What a process takes: its own memory, and not what it maps of a file."""

from __future__ import annotations

import mmap
import os

from bench.faults.footprint import anonymous_bytes, footprints

MANY = 64 << 20
NOISE = 8 << 20


def test_memory_of_its_own_counts_and_a_shared_pool_does_not() -> None:
    before = anonymous_bytes(os.getpid())
    pool = os.memfd_create("pool")
    os.truncate(pool, MANY)
    with mmap.mmap(pool, MANY) as mapped:
        mapped[:: mmap.PAGESIZE] = bytes(MANY // mmap.PAGESIZE)
        assert anonymous_bytes(os.getpid()) < before + NOISE
        own = mmap.mmap(-1, MANY, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        own[:: mmap.PAGESIZE] = bytes(MANY // mmap.PAGESIZE)
        assert before + MANY - NOISE < anonymous_bytes(os.getpid()) < before + MANY + NOISE
        own.close()
    os.close(pool)


def test_the_first_process_goes_by_controller() -> None:
    found = footprints(os.getpid())
    assert found["controller"].processes == 1
    assert found["controller"].private_bytes > 0 < found["controller"].files
