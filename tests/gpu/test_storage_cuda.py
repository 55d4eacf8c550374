"""The block store on a real GPU: another process maps a handle and reads the very bytes."""

from __future__ import annotations

import gc
import pickle
import subprocess
import sys
from collections.abc import Iterator

import pytest
import torch

from engine.config import InstanceRole
from engine.errors import CannotStart
from engine.storage import UnifiedStorageManager
from engine.storage.refusals import NotCommitted, NotWritable

pytestmark = pytest.mark.gpu

PREFILL, DECODE = InstanceRole
BLOCK_SIZE = 4096

READER = """
import pickle, sys
import torch
from engine.config import InstanceRole
from engine.storage import UnifiedStorageManager

handles = pickle.load(sys.stdin.buffer)
first, second = handles[:2].map()
assert first.is_cuda and first.shape == (4096,) and first.dtype == torch.uint8
assert first.unique().tolist() == [1] and second.unique().tolist() == [2]
with UnifiedStorageManager.attach(handles.address) as manager:
    manager.take_over(handles.request_id)
    [last] = manager.get_block_handles(handles.request_id)[2:].map(writing=True)
    assert last.unique().tolist() == [3]
    last.fill_(99)
    torch.cuda.synchronize()
    manager.commit_blocks(handles.request_id)
    print(manager.allocate_blocks(handles.request_id, 1, InstanceRole.DECODE))
"""


@pytest.fixture(scope="module")
def manager() -> Iterator[UnifiedStorageManager]:
    with UnifiedStorageManager(total_blocks=10000, block_size=BLOCK_SIZE, device=torch.device("cuda")) as manager:
        yield manager


def test_the_documented_snippet_runs_on_the_gpu(manager: UnifiedStorageManager) -> None:
    block_ids = manager.allocate_blocks(request_id="req_123", num_blocks=10, requester_role=InstanceRole.PREFILL)
    handles = manager.get_block_handles("req_123")
    assert handles.memory.kind == "cuda_ipc"
    assert [span.block_id for span in handles.spans] == block_ids
    assert manager.share_blocks("req_123", "target_req")
    assert manager.deallocate_blocks("req_123")
    assert manager.deallocate_blocks("target_req")
    assert manager.get_statistics().used_blocks == 0


def test_another_process_reads_the_very_bytes_and_writes_on_after_the_hand_over(manager: UnifiedStorageManager) -> None:
    manager.allocate_blocks("a", 3, PREFILL)
    handles = manager.get_block_handles("a")
    blocks = handles.map(writing=True)
    for number, block in enumerate(blocks):
        block.fill_(number + 1)
    with pytest.raises(NotCommitted):
        handles.map()
    torch.cuda.synchronize()
    manager.commit_blocks("a", 2)
    with pytest.raises(NotWritable):
        handles.map(writing=True)
    manager.hand_over("a")
    reader = [sys.executable, "-c", READER]
    said = subprocess.run(reader, input=pickle.dumps(handles), stdout=subprocess.PIPE, check=True).stdout
    assert said.startswith(b"[")
    assert blocks[2].unique().tolist() == [99]
    assert manager.get_statistics().used_blocks == 0


def test_mapping_twice_is_one_memory_and_each_ends_by_itself(manager: UnifiedStorageManager) -> None:
    manager.allocate_blocks("a", 1, PREFILL)
    handles = manager.get_block_handles("a")
    [first], [second] = handles.map(writing=True), handles.map(writing=True)
    first.fill_(41)
    del first
    gc.collect()
    second.add_(1)
    assert second.unique().tolist() == [42]
    manager.deallocate_blocks("a")


def test_too_much_memory_is_one_sentence() -> None:
    with pytest.raises(CannotStart, match="MiB are available"):
        UnifiedStorageManager(1 << 20, 1 << 30, torch.device("cuda"))
