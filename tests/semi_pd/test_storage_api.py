"""The storage snippet of the documented Python API, as it is written there, on the CPU."""

from __future__ import annotations

import torch

from engine.config import InstanceRole
from engine.storage import UnifiedStorageManager


def test_the_documented_snippet_runs_as_it_is_written() -> None:
    storage_manager = UnifiedStorageManager(
        total_blocks=10000, block_size=4096, device=torch.device("cpu"), enable_prefix_caching=True
    )
    block_ids = storage_manager.allocate_blocks(
        request_id="req_123", num_blocks=10, requester_role=InstanceRole.PREFILL
    )
    handles = storage_manager.get_block_handles("req_123")
    storage_manager.deallocate_blocks("req_123")
    known = storage_manager.share_blocks("source_req", "target_req")

    assert block_ids == list(range(10))
    assert [(span.offset, span.nbytes) for span in handles.spans] == [(4096 * block, 4096) for block in block_ids]
    assert known is False
    assert storage_manager.get_statistics().free_blocks == 10000


def test_a_known_source_is_shared() -> None:
    with UnifiedStorageManager(100, 4096, device=torch.device("cpu")) as storage_manager:
        block_ids = storage_manager.allocate_blocks("source_req", 10, InstanceRole.PREFILL)
        assert storage_manager.share_blocks("source_req", "target_req") is True
        assert [span.block_id for span in storage_manager.get_block_handles("target_req").spans] == block_ids
        assert storage_manager.get_statistics().used_blocks == 10
