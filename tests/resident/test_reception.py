"""The resident's door and the handshake behind it, over real Unix sockets."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import structlog
from structlog.testing import CapturingLogger

from engine.errors import CannotStart, ProtocolMismatch
from engine.resident.handshake import peer_pid, receive_manifest, send_manifest
from engine.resident.manifest import KVSpec, Manifest, MemorySpec, TensorSpec
from engine.resident.reception import Reception

MANIFEST = Manifest(
    model_path="/models/tiny",
    device="cpu",
    dtype="float32",
    max_model_len=64,
    weights={"embed": TensorSpec(offset=0, shape=(4, 8))},
    weights_memory=MemorySpec("memfd", 128),
    kv=KVSpec(num_layers=1, num_pages=3, page_size=4, num_kv_heads=1, head_dim=2, dtype="float32"),
    kv_memory=MemorySpec("memfd", 192),
    ledger_bytes=112,
)
ON_CUDA = msgspec.structs.replace(
    MANIFEST, weights_memory=MemorySpec("cuda_ipc", 128, b"w"), kv_memory=MemorySpec("cuda_ipc", 192, b"k")
)


@pytest.fixture
def memfds() -> Iterator[list[int]]:
    fds = [os.memfd_create(name) for name in ("ledger", "weights", "kv")]
    yield fds
    for fd in fds:
        os.close(fd)


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    here, there = socket.socketpair()
    with here, there:
        yield here, there


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "door.sock")


def open_fds() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_manifest_and_descriptors_arrive_in_order(memfds: list[int], pair: tuple[socket.socket, socket.socket]) -> None:
    send_manifest(pair[0], MANIFEST, memfds)
    manifest, fds = receive_manifest(pair[1])
    assert manifest == MANIFEST
    assert [os.fstat(fd).st_ino for fd in fds] == [os.fstat(fd).st_ino for fd in memfds]
    assert not any(os.get_inheritable(fd) for fd in fds)
    for fd in fds:
        os.close(fd)


def test_on_a_gpu_only_the_ledgers_descriptor_travels(
    memfds: list[int], pair: tuple[socket.socket, socket.socket]
) -> None:
    send_manifest(pair[0], ON_CUDA, memfds[:1])
    manifest, fds = receive_manifest(pair[1])
    assert manifest.weights_memory.handle == b"w"
    assert len(fds) == 1
    os.close(fds[0])


def test_descriptors_that_do_not_match_the_manifest_are_refused_and_closed(
    memfds: list[int], pair: tuple[socket.socket, socket.socket]
) -> None:
    before = open_fds()
    send_manifest(pair[0], ON_CUDA, memfds)
    with pytest.raises(ProtocolMismatch, match="needs 1 descriptors and 3 came"):
        receive_manifest(pair[1])
    assert open_fds() == before


def test_an_answer_cut_off_is_a_lost_connection_and_nothing_stays_open(
    memfds: list[int], pair: tuple[socket.socket, socket.socket]
) -> None:
    before = open_fds()
    socket.send_fds(pair[0], [b"\x00\x00\x01\x00" + b"half"], memfds)
    pair[0].shutdown(socket.SHUT_WR)
    with pytest.raises(ConnectionError):
        receive_manifest(pair[1])
    assert open_fds() == before


def test_bytes_that_are_no_manifest_are_refused(pair: tuple[socket.socket, socket.socket]) -> None:
    pair[0].sendall(b"\x00\x00\x00\x02\xc1\xc1")
    with pytest.raises(ProtocolMismatch, match="not understood"):
        receive_manifest(pair[1])


def test_everyone_is_answered_and_remembered_until_he_leaves(path: str, memfds: list[int]) -> None:
    with Reception(path, MANIFEST, memfds, structlog.wrap_logger(CapturingLogger())) as reception:
        visitors = [socket.socket(socket.AF_UNIX) for _ in range(2)]
        for visitor in visitors:
            visitor.connect(path)  # the kernel completes it; the answer waits for the reception's turn
            reception.turn()
            manifest, fds = receive_manifest(visitor)
            assert manifest == MANIFEST
            for fd in fds:
                os.close(fd)
        assert reception.attached_pids == [os.getpid()] * 2
        visitors[0].close()
        reception.turn()
        assert reception.attached_pids == [os.getpid()]
        visitors[1].sendall(b"nothing the resident wants to know")
        reception.turn()
        assert reception.attached_pids == [os.getpid()]
        visitors[1].close()
        reception.turn()
        assert reception.attached_pids == []


def test_one_who_leaves_before_the_answer_disturbs_nobody(path: str, memfds: list[int]) -> None:
    with Reception(path, MANIFEST, memfds, structlog.wrap_logger(CapturingLogger())) as reception:
        with socket.socket(socket.AF_UNIX) as hasty:
            hasty.connect(path)
        reception.turn()
        with socket.socket(socket.AF_UNIX) as visitor:
            visitor.connect(path)
            while len(reception.attached_pids) != 1 or not _has_answer(visitor):
                reception.turn()
            manifest, fds = receive_manifest(visitor)
        assert manifest == MANIFEST
        for fd in fds:
            os.close(fd)


def _has_answer(visitor: socket.socket) -> bool:
    try:
        return bool(visitor.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
    except BlockingIOError:
        return False


def test_the_door_is_only_this_users_and_goes_with_the_reception(path: str, memfds: list[int]) -> None:
    with Reception(path, MANIFEST, memfds, structlog.wrap_logger(CapturingLogger())):
        assert stat.S_IMODE(Path(path).stat().st_mode) == 0o600
    assert not Path(path).exists()


def test_a_second_resident_is_refused_and_the_first_goes_on(path: str, memfds: list[int]) -> None:
    with Reception(path, MANIFEST, memfds, structlog.wrap_logger(CapturingLogger())):
        with pytest.raises(CannotStart, match="Another resident"):
            Reception(path, MANIFEST, memfds, structlog.wrap_logger(CapturingLogger()))
        assert Path(path).exists()


def test_what_a_killed_resident_left_is_replaced(path: str, memfds: list[int]) -> None:
    leftover = socket.socket(socket.AF_UNIX)
    leftover.bind(path)
    leftover.close()
    with (
        Reception(path, MANIFEST, memfds, structlog.wrap_logger(CapturingLogger())),
        socket.socket(socket.AF_UNIX) as visitor,
    ):
        visitor.connect(path)


def test_the_peer_is_the_process_that_connected(pair: tuple[socket.socket, socket.socket]) -> None:
    assert peer_pid(pair[0]) == os.getpid()
