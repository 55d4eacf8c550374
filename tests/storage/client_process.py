"""A client of the block store in a process of its own: `python -m tests.storage.client_process SCENE ADDRESS …`."""

from __future__ import annotations

import os
import pickle
import random
import select
import sys
from collections.abc import Callable

from engine.config import InstanceRole
from engine.storage import UnifiedStorageManager
from engine.storage.handles import BlockHandles
from engine.storage.refusals import NotEnoughBlocks, StoreGone


def say(words: object) -> None:
    print(words, flush=True)


def hold(address: str, request_id: str, count: str) -> None:
    """Allocate, say so, and wait to be killed."""
    manager = UnifiedStorageManager.attach(address)
    say(manager.allocate_blocks(request_id, int(count), InstanceRole.PREFILL))
    sys.stdin.read()


def hold_with_heir(address: str, request_id: str, count: str) -> None:
    """The same, with a child that has inherited the connection and outlives this process."""
    manager = UnifiedStorageManager.attach(address)
    blocks = manager.allocate_blocks(request_id, int(count), InstanceRole.PREFILL)
    heir = os.fork()
    if heir:
        say(heir)
        say(blocks)
    sys.stdin.read()
    os._exit(0)


def fork(address: str) -> None:
    """A forked child uses its parent's manager, and ends; the parent's still works."""
    manager = UnifiedStorageManager.attach(address)
    child = os.fork()
    if not child:
        try:
            manager.get_statistics()
        except StoreGone as error:
            say(error)
        sys.exit()  # the finalizers run
    os.waitpid(child, 0)
    say(manager.get_statistics().connections)


def read_and_decode(address: str) -> None:
    """Read the blocks of handles from standard input; then decode's part: take over, write on, commit."""
    handles = pickle.load(sys.stdin.buffer)
    assert isinstance(handles, BlockHandles)
    say([block.tolist() for block in handles[:-1].map()])
    with UnifiedStorageManager.attach(address) as manager:
        manager.take_over(handles.request_id)
        [last] = manager.get_block_handles(handles.request_id)[-1:].map(writing=True)
        last[1] = last[0] + 1
        manager.commit_blocks(handles.request_id)
        say(manager.allocate_blocks(handles.request_id, 1, InstanceRole.DECODE))
        select.select([sys.stdin], [], [])


def churn(address: str, number: str) -> None:
    """Allocate, stamp, look at the stamps, share, and deallocate at random until standard input ends."""
    draw = random.Random(int(number))
    manager = UnifiedStorageManager.attach(address)
    held: list[str] = []
    rounds = 0
    while not select.select([sys.stdin], [], [], 0)[0]:
        rounds += 1
        if draw.random() < 0.6:
            take(manager, f"{number}-{rounds}", int(number), draw, held)
        elif held:
            give_back(manager, held.pop(draw.randrange(len(held))), int(number))
        seen = manager.get_statistics()
        assert seen.free_blocks + seen.used_blocks == seen.total_blocks, seen
        assert seen.prefill_blocks + seen.decode_blocks == seen.used_blocks, seen
        if rounds % 10 == 0:
            say(rounds)


def take(manager: UnifiedStorageManager, request_id: str, stamp: int, draw: random.Random, held: list[str]) -> None:
    try:
        manager.allocate_blocks(request_id, draw.randint(1, 6), draw.choice(list(InstanceRole)))
    except NotEnoughBlocks:
        return
    held.append(request_id)
    for block in manager.get_block_handles(request_id).map(writing=True):
        block.fill_(stamp)
    manager.commit_blocks(request_id)
    if draw.random() < 0.3 and manager.share_blocks(request_id, f"{request_id}-shared"):
        held.append(f"{request_id}-shared")


def give_back(manager: UnifiedStorageManager, request_id: str, stamp: int) -> None:
    for block in manager.get_block_handles(request_id).map():
        assert bool((block == stamp).all()), "somebody else has written here"
    assert manager.deallocate_blocks(request_id)


def abandon(_address: str) -> None:
    """Make a store, tell its address, and wait to be killed."""
    manager = UnifiedStorageManager(4, 64, "cpu")
    say(manager.address)
    sys.stdin.read()


SCENES: dict[str, Callable[..., None]] = {
    scene.__name__: scene for scene in (hold, hold_with_heir, fork, read_and_decode, churn, abandon)
}

if __name__ == "__main__":
    SCENES[sys.argv[1]](*sys.argv[2:])
