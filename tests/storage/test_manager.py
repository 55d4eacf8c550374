"""The manager over a real block store: many processes, many threads, and ends of every kind."""

from __future__ import annotations

import gc
import itertools
import json
import os
import pickle
import select
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from engine.config import InstanceRole
from engine.errors import CannotStart, ProtocolMismatch
from engine.storage import UnifiedStorageManager
from engine.storage.channel import Inbox, ask, connect, send
from engine.storage.messages import FROM_STORE, Refused, Stock, TakeStock
from engine.storage.refusals import (
    HeldElsewhere,
    NotCommitted,
    NotEnoughBlocks,
    NotWritable,
    SharingRefused,
    StoreGone,
    UnknownRequest,
)
from tests.storage.conftest import BLOCK_SIZE, BLOCKS

PREFILL, DECODE = InstanceRole
Play = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def play() -> Iterator[Play]:
    """Plays a scene of `tests.storage.client_process`; its standard input and output are pipes."""
    players: list[subprocess.Popen[bytes]] = []

    def start(scene: str, address: str, *arguments: object) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "tests.storage.client_process", scene, address, *map(str, arguments)]
        players.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
        return players[-1]

    yield start
    for player in players:
        player.kill()
        with player:
            pass


def line(player: subprocess.Popen[bytes]) -> str:
    """What it says next."""
    assert player.stdout is not None
    said = player.stdout.readline().decode().strip()
    assert said, f"it ended with {player.wait()}"
    return said


def finish(player: subprocess.Popen[bytes]) -> int:
    assert player.stdin is not None
    player.stdin.close()
    return player.wait()


# ── allocation ──────────────────────────────────────────────────────────────────────────────────────────────────────


def held(manager: UnifiedStorageManager, request_id: str) -> list[int]:
    return [span.block_id for span in manager.get_block_handles(request_id).spans]


def test_blocks_are_numbered_from_0_and_appended() -> None:
    with UnifiedStorageManager(7, 64, torch.device("cpu")) as manager:
        assert manager.allocate_blocks("a", 3, PREFILL) == [0, 1, 2]
        assert manager.allocate_blocks("b", 1, PREFILL) == [3]
        assert manager.allocate_blocks("a", 2, DECODE) == [4, 5]
        assert held(manager, "a") == [0, 1, 2, 4, 5]
        handles = manager.get_block_handles("a")
        assert [span.offset for span in handles] == [0, 64, 128, 256, 320]
        assert list(handles[3:]) == [handles[3], handles[4]]
        assert len(handles[3:]) == 2
        assert manager.allocate_blocks("c", 0, PREFILL) == []
        seen = manager.get_statistics()
        assert (seen.total_blocks, seen.free_blocks, seen.prefill_blocks, seen.decode_blocks) == (7, 1, 4, 2)
        assert manager.allocate_blocks("d", 1, DECODE) == [6]


def test_all_or_none(manager: UnifiedStorageManager) -> None:
    manager.allocate_blocks("a", 30, PREFILL)
    with pytest.raises(NotEnoughBlocks, match=r"asked for 7 blocks and 10 of 40 are free, 4 of them kept for decode"):
        manager.allocate_blocks("b", 7, PREFILL)
    with pytest.raises(NotEnoughBlocks, match=r"asked for 11 blocks and 10 of 40 are free\.$"):
        manager.allocate_blocks("b", 11, DECODE)
    assert manager.get_statistics().free_blocks == 10
    assert len(manager.allocate_blocks("b", 10, DECODE)) == 10


def test_the_reserve_is_one_percent_unless_it_is_given() -> None:
    with UnifiedStorageManager(200, 8, "cpu") as manager:
        with pytest.raises(NotEnoughBlocks, match="2 of them kept for decode"):
            manager.allocate_blocks("a", 199, PREFILL)
        assert len(manager.allocate_blocks("a", 198, PREFILL)) == 198


def test_deallocating_an_unknown_request_says_so(manager: UnifiedStorageManager) -> None:
    assert not manager.deallocate_blocks("nobody")
    manager.allocate_blocks("a", 1, PREFILL)
    assert manager.deallocate_blocks("a")
    assert not manager.deallocate_blocks("a")


def test_what_another_connection_holds_is_left_alone(
    manager: UnifiedStorageManager, store: UnifiedStorageManager
) -> None:
    manager.allocate_blocks("a", 1, PREFILL)
    for act in (store.deallocate_blocks, store.commit_blocks, store.hand_over):
        with pytest.raises(HeldElsewhere, match="'a' is held through another connection"):
            act("a")
    with pytest.raises(HeldElsewhere):
        store.allocate_blocks("a", 1, DECODE)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((0, 8, "cpu"), "total_blocks must be at least 1"),
        ((8, 0, "cpu"), "block_size must be at least 1 byte"),
        ((8, 8, "tpu"), "device must be cpu or cuda, not tpu"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(arguments: tuple[int, int, str], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        UnifiedStorageManager(*arguments)


def test_a_reserve_of_everything_is_refused() -> None:
    with pytest.raises(ValueError, match="decode_reserve_blocks must be from 0 to 7, not 8"):
        UnifiedStorageManager(8, 8, "cpu", decode_reserve_blocks=8)


def test_negative_numbers_of_blocks_are_refused(manager: UnifiedStorageManager) -> None:
    with pytest.raises(ValueError, match="num_blocks must be at least 0, not -1"):
        manager.allocate_blocks("a", -1, PREFILL)
    with pytest.raises(ValueError, match="num_blocks must be at least 0, not -1"):
        manager.commit_blocks("a", -1)


# ── bytes ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_blocks_are_read_only_when_they_are_committed_and_written_only_before(manager: UnifiedStorageManager) -> None:
    first, second = manager.allocate_blocks("a", 2, PREFILL)
    handles = manager.get_block_handles("a")
    with pytest.raises(NotCommitted, match=f"Block {first} of request 'a' cannot be read"):
        handles.map()
    for number, block in enumerate(handles.map(writing=True)):
        assert block.shape == (BLOCK_SIZE,)
        assert block.dtype == torch.uint8
        block.fill_(number + 1)
    manager.commit_blocks("a", 1)
    assert [span.committed for span in manager.get_block_handles("a").spans] == [True, False]
    assert handles[:1].map()[0].unique().tolist() == [1]
    with pytest.raises(NotCommitted, match=f"Block {second} of"):
        handles.map()
    with pytest.raises(NotWritable, match=f"Block {first} of request 'a' is committed"):
        handles.map(writing=True)
    manager.commit_blocks("a")
    assert [block.unique().tolist() for block in handles.map()] == [[1], [2]]


def test_only_the_holders_handles_let_write(manager: UnifiedStorageManager, store: UnifiedStorageManager) -> None:
    manager.allocate_blocks("a", 1, PREFILL)
    with pytest.raises(NotWritable, match="another's to write"):
        store.get_block_handles("a").map(writing=True)
    delegated = pickle.loads(pickle.dumps(manager.get_block_handles("a")))
    assert delegated == manager.get_block_handles("a")
    delegated.map(writing=True)[0].fill_(9)
    assert manager.get_block_handles("a").map(writing=True)[0].unique().tolist() == [9]


def test_handles_of_what_was_deallocated_map_nothing(manager: UnifiedStorageManager) -> None:
    manager.allocate_blocks("a", 1, PREFILL)
    handles = manager.get_block_handles("a")
    manager.deallocate_blocks("a")
    manager.allocate_blocks("a", 1, PREFILL)
    with pytest.raises(UnknownRequest, match="have been deallocated"):
        handles.map(writing=True)
    with pytest.raises(UnknownRequest, match="'b' holds no blocks"):
        manager.get_block_handles("b")


def test_mapping_leaves_no_descriptor_behind(manager: UnifiedStorageManager) -> None:
    manager.allocate_blocks("a", 1, PREFILL)
    handles = manager.get_block_handles("a")
    before = len(os.listdir("/proc/self/fd"))
    blocks = handles.map(writing=True)
    with pytest.raises(NotCommitted):
        handles.map()
    blocks[0][0] = 1
    del blocks
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_second_process_reads_the_very_bytes_and_writes_on_after_the_hand_over(
    manager: UnifiedStorageManager, play: Play
) -> None:
    manager.allocate_blocks("a", 3, PREFILL)
    handles = manager.get_block_handles("a")
    mine = handles.map(writing=True)
    for number, block in enumerate(mine):
        block.copy_(torch.arange(number, number + BLOCK_SIZE) % 251)
    manager.commit_blocks("a", 2)
    manager.hand_over("a")
    decode = play("read_and_decode", manager.address)
    assert decode.stdin is not None
    pickle.dump(handles, decode.stdin)
    decode.stdin.flush()
    assert line(decode) == str([block.tolist() for block in mine[:2]])
    [grown] = json.loads(line(decode))
    assert grown not in [span.block_id for span in handles.spans]
    assert mine[2][1] == mine[2][0] + 1 == 3
    with pytest.raises(HeldElsewhere):
        manager.deallocate_blocks("a")
    assert manager.get_statistics().decode_blocks == 4
    assert finish(decode) == 0
    assert manager.get_statistics().used_blocks == 0


# ── sharing ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_shared_blocks_are_the_same_and_outlive_their_source(
    manager: UnifiedStorageManager, store: UnifiedStorageManager
) -> None:
    manager.allocate_blocks("source", 2, PREFILL)
    manager.get_block_handles("source").map(writing=True)[1].fill_(5)
    with UnifiedStorageManager.attach(store.address) as other:
        assert other.share_blocks("source", "target")
        target = other.get_block_handles("target")
        with pytest.raises(NotCommitted):
            target.map()
        manager.commit_blocks("source")
        assert manager.get_statistics().shared_blocks == manager.get_statistics().used_blocks == 2
        manager.deallocate_blocks("source")
        assert manager.get_statistics().shared_blocks == 0
        assert manager.get_statistics().used_blocks == 2
        assert target.map()[1].unique().tolist() == [5]
        grown = other.allocate_blocks("target", 1, DECODE)
        assert held(other, "target") == [span.block_id for span in target.spans] + grown
    assert manager.get_statistics().used_blocks == 0


def test_an_unknown_source_shares_nothing(manager: UnifiedStorageManager) -> None:
    assert manager.share_blocks("nobody", "target") is False
    assert manager.get_statistics().requests == 0


def test_without_prefix_caching_nothing_is_shared() -> None:
    with UnifiedStorageManager(4, 8, torch.device("cpu"), enable_prefix_caching=False) as manager:
        manager.allocate_blocks("a", 1, PREFILL)
        with pytest.raises(SharingRefused, match="enable_prefix_caching=False"):
            manager.share_blocks("a", "b")


# ── many at once ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_eight_processes_at_once_and_half_of_them_killed(manager: UnifiedStorageManager, play: Play) -> None:
    clients = [play("churn", manager.address, number) for number in range(1, 9)]
    for _ in range(4):  # the first line says that all are at work, the others that they were so together
        for client in clients:
            line(client)
    for client in clients[:4]:
        client.kill()
    for client in clients[:4]:
        client.wait()
    for client in clients[4:]:
        line(client)
    assert [finish(client) for client in clients[4:]] == [0, 0, 0, 0]
    seen = manager.get_statistics()
    assert (seen.free_blocks, seen.requests, seen.connections) == (BLOCKS, 0, 2)


def test_threads_share_one_manager(manager: UnifiedStorageManager) -> None:
    def work(thread: int) -> list[list[int]]:
        taken = []
        for turn in range(30):
            taken.append(manager.allocate_blocks(f"{thread}-{turn}", 3, DECODE))
            handles = manager.get_block_handles(f"{thread}-{turn}")
            assert [span.block_id for span in handles.spans] == taken[-1], "another thread's answer"
            if turn < 29:
                assert manager.deallocate_blocks(f"{thread}-{turn}")
        return taken

    with ThreadPoolExecutor(8) as pool:
        taken = list(pool.map(work, range(8)))
    last = list(itertools.chain(*(blocks[-1] for blocks in taken)))
    assert len(last) == len(set(last)) == manager.get_statistics().used_blocks == 24


# ── ends ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("scene", ["hold", "hold_with_heir"])
def test_what_a_killed_process_held_comes_back(manager: UnifiedStorageManager, play: Play, scene: str) -> None:
    holder = play(scene, manager.address, "a", 9)
    heir = int(line(holder)) if scene == "hold_with_heir" else None
    assert len(json.loads(line(holder))) == 9
    assert manager.get_statistics().used_blocks == 9
    holder.kill()
    holder.wait()
    if heir is not None:
        os.kill(heir, 0)  # still there, with the connection
    assert manager.get_statistics().used_blocks == 0
    assert manager.allocate_blocks("a", 40, DECODE)
    if heir is not None:
        os.kill(heir, signal.SIGKILL)


def test_what_a_killed_process_shared_stays_with_the_others(manager: UnifiedStorageManager, play: Play) -> None:
    holder = play("hold", manager.address, "a", 3)
    blocks = json.loads(line(holder))
    assert manager.share_blocks("a", "mine")
    holder.kill()
    holder.wait()
    assert held(manager, "mine") == blocks
    assert manager.get_statistics().used_blocks == 3
    with pytest.raises(UnknownRequest):
        manager.get_block_handles("a")


def test_a_forked_child_neither_uses_nor_ends_its_parents_connection(
    manager: UnifiedStorageManager, play: Play
) -> None:
    parent = play("fork", manager.address)
    assert line(parent) == "This manager belongs to the process that forked this one: attach to its address instead."
    assert line(parent) == "3"
    assert finish(parent) == 0


def test_closing_ends_the_store() -> None:
    manager = UnifiedStorageManager(4, 64, "cpu")
    manager.allocate_blocks("a", 1, PREFILL)
    [block] = manager.get_block_handles("a").map(writing=True)
    other = UnifiedStorageManager.attach(manager.address)
    manager.close()
    manager.close()
    block.fill_(3)  # what is mapped stays mapped
    with pytest.raises(StoreGone, match="This manager is closed"):
        manager.get_statistics()
    with pytest.raises(StoreGone, match="The block store has ended"):
        other.get_statistics()
    other.close()
    with pytest.raises(StoreGone, match="No block store answers"):
        UnifiedStorageManager.attach(manager.address)
    assert not Path(manager.address).parent.exists()


def test_a_manager_that_is_dropped_ends_the_store() -> None:
    manager = UnifiedStorageManager(4, 64, "cpu")
    address = manager.address
    del manager
    gc.collect()
    assert not Path(address).parent.exists()


def test_the_store_follows_its_creators_death(play: Play) -> None:
    creator = play("abandon", "")
    address = line(creator)
    with UnifiedStorageManager.attach(address) as manager:
        creator.kill()
        creator.wait()
        with pytest.raises(StoreGone, match="The block store has ended"):
            manager.get_statistics()
        assert not Path(address).parent.exists()


def test_too_much_memory_is_one_sentence() -> None:
    with pytest.raises(
        CannotStart, match=r"1048576 blocks of 1073741824 bytes need 1073741824\.0 MiB and .* available"
    ):
        UnifiedStorageManager(1 << 20, 1 << 30, "cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_a_gpu_that_is_not_there_is_one_sentence() -> None:
    with pytest.raises(CannotStart, match="cuda"):
        UnifiedStorageManager(4, 64, torch.device("cuda"))


def test_a_path_too_long_for_sockets_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = tmp_path / ("long" * 30)
    deep.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(deep))
    with pytest.raises(CannotStart, match="set XDG_RUNTIME_DIR to a shorter path"):
        UnifiedStorageManager(4, 64, "cpu")
    assert list(deep.iterdir()) == []


# ── strangers ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_bytes_that_are_no_message_are_answered_with_one_sentence(manager: UnifiedStorageManager) -> None:
    with connect(manager.address) as stranger:
        send(stranger, b"\x63hello")
        [answer] = Inbox().take(stranger.recv(1000))
        refused = FROM_STORE.decode(answer)
        assert isinstance(refused, Refused)
        assert refused.sentence.startswith("A peer speaks wire protocol 99")
        assert ask(stranger, TakeStock(), Stock)[0].statistics.connections == 3
    with pytest.raises(ProtocolMismatch, match="not understood"):
        manager.deallocate_blocks(5)  # pyright: ignore[reportArgumentType]


def test_one_who_announces_too_much_is_hung_up_on(manager: UnifiedStorageManager) -> None:
    with connect(manager.address) as stranger:
        stranger.sendall(struct.pack("!I", 1 << 31))
        assert select.select([stranger], [], [])[0]
        assert stranger.recv(1) == b""
    assert manager.get_statistics().connections == 2


def test_half_a_question_keeps_nobody_waiting(manager: UnifiedStorageManager) -> None:
    with connect(manager.address) as slow:
        slow.sendall(b"\0\0")
        assert len(manager.allocate_blocks("a", 1, PREFILL)) == 1
        slow.shutdown(socket.SHUT_WR)
        assert slow.recv(1) == b""


def test_only_this_user_may_enter(manager: UnifiedStorageManager) -> None:
    assert Path(manager.address).parent.stat().st_mode & 0o777 == 0o700
