"""`UnifiedStorageManager`: blocks of one memory for many processes. It starts the block store and is its first client.

No torch here: what a caller maps is mapped by the handles.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self, TypeVar

import msgspec

from engine.config import InstanceRole
from engine.errors import CannotStart
from engine.storage.channel import ask, connect
from engine.storage.handles import BlockHandles, BlockSpan
from engine.storage.messages import (
    Allocate,
    Answer,
    BlockIds,
    Commit,
    Deallocate,
    DescribeStore,
    Done,
    HandOver,
    Locate,
    Location,
    Question,
    Share,
    Stock,
    StorageStatistics,
    StoreDescription,
    StoreSettings,
    TakeOver,
    TakeStock,
)
from engine.storage.refusals import StoreGone

if TYPE_CHECKING:
    import torch

_END_SECONDS = 30.0
"""A store that is still importing and allocating hears of the end only when it is done."""

A = TypeVar("A", bound=Answer)


class UnifiedStorageManager:
    """`total_blocks` blocks of `block_size` bytes, numbered from 0, in a process of their own on `device`.

    The store ends with the manager that made it: on `close`, on leaving its `with`, when it is collected or when its
    process ends. `attach(address)` gives any other process the same calls. What was allocated through a manager comes
    back when that manager's connection ends, however it ends; blocks that others share stay theirs.

    All calls may come from many threads and processes at once; each happens wholly or not at all. Refusals are the
    exceptions of `engine.storage.refusals`, each one sentence.

    `decode_reserve_blocks` are out of PREFILL's reach, so that decode can grow; None is 1 % of the blocks.
    Raises `ValueError` for an argument that makes no sense, `CannotStart` where the memory cannot be had.
    """

    def __init__(
        self,
        total_blocks: int,
        block_size: int,
        device: torch.device | str,
        enable_prefix_caching: bool = True,
        *,
        decode_reserve_blocks: int | None = None,
        log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "WARNING",
    ):
        reserve = total_blocks // 100 if decode_reserve_blocks is None else decode_reserve_blocks
        _check(total_blocks > 0, f"total_blocks must be at least 1, not {total_blocks}.")
        _check(block_size > 0, f"block_size must be at least 1 byte, not {block_size}.")
        _check(
            0 <= reserve < total_blocks, f"decode_reserve_blocks must be from 0 to {total_blocks - 1}, not {reserve}."
        )
        kind, gpu = _device(device)
        directory = _private_directory()
        settings = StoreSettings(
            str(directory / "store.sock"),
            total_blocks,
            block_size,
            kind,
            gpu,
            enable_prefix_caching,
            reserve,
            log_level,
        )
        try:
            process, connection = _start(settings)
        except BaseException:
            shutil.rmtree(directory)
            raise
        self._open(settings.address, connection, process)

    @classmethod
    def attach(cls, address: str) -> Self:
        """A manager of the store at the `address` of another manager. Raises `StoreGone`."""
        manager = cls.__new__(cls)
        manager._open(address, connect(address), None)
        return manager

    def _open(self, address: str, connection: socket.socket, store: subprocess.Popen[bytes] | None) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._end = weakref.finalize(self, _end, self._pid, connection, store, Path(address).parent)
        try:
            self._store = self._ask(DescribeStore(), StoreDescription)
        except BaseException:
            self._end()
            raise
        self.address = address
        self.total_blocks = self._store.total_blocks
        self.block_size = self._store.block_size

    # ── blocks ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def allocate_blocks(self, request_id: str, num_blocks: int, requester_role: InstanceRole) -> list[int]:
        """Append `num_blocks` blocks to the request's and return their numbers; all, or `NotEnoughBlocks` and none."""
        _check(num_blocks >= 0, f"num_blocks must be at least 0, not {num_blocks}.")
        question = Allocate(request_id, num_blocks, InstanceRole(requester_role))
        return self._ask(question, BlockIds).block_ids

    def deallocate_blocks(self, request_id: str) -> bool:
        """Give back all blocks of the request; what others share stays theirs. False if it holds none."""
        return self._ask(Deallocate(request_id), Done).changed

    def commit_blocks(self, request_id: str, num_blocks: int | None = None) -> None:
        """The request's first `num_blocks` blocks, or all, are written: from now on they are read and never written.

        The store knows nothing of a GPU's streams: wait for the work that writes the blocks first.
        """
        _check(num_blocks is None or num_blocks >= 0, f"num_blocks must be at least 0, not {num_blocks}.")
        self._ask(Commit(request_id, num_blocks), Done)

    def share_blocks(self, source_request_id: str, target_request_id: str) -> bool:
        """The target, which holds nothing yet, begins with the source's blocks: the same ones, no copies.

        They stay until the last who shares them is gone. Those not committed yet can be read when they are. False for
        an unknown source; `SharingRefused` without prefix caching or for a target that holds blocks.
        """
        return self._ask(Share(source_request_id, target_request_id), Done).changed

    # ── prefill → decode ────────────────────────────────────────────────────────────────────────────────────────────

    def hand_over(self, request_id: str) -> None:
        """The writer stops: the request's blocks are decode's, and any process may `take_over` the request.

        A half-written block passes to the next writer as it is. Until it is taken over the request ends with this
        connection, like any other.
        """
        self._ask(HandOver(request_id), Done)

    def take_over(self, request_id: str) -> list[int]:
        """Hold a request that was handed over, write its uncommitted blocks, let it grow; returns its blocks."""
        return self._ask(TakeOver(request_id), BlockIds).block_ids

    # ── readers ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def get_block_handles(self, request_id: str) -> BlockHandles:
        """A value that can be pickled and from which any process maps the blocks: see `BlockHandles.map`.

        To write one needs handles that were made through the connection that holds the request.
        """
        found = self._ask(Locate(request_id), Location)
        size = self.block_size
        return BlockHandles(
            address=self.address,
            device=self._store.device,
            gpu=self._store.gpu,
            memory=self._store.memory,
            request_id=request_id,
            lease=found.lease,
            term=found.term,
            spans=tuple(
                BlockSpan(block_id, block_id * size, size, committed)
                for block_id, committed in zip(found.block_ids, found.committed, strict=True)
            ),
        )

    def get_statistics(self) -> StorageStatistics:
        """Counts of blocks, all of one instant."""
        return self._ask(TakeStock(), Stock).statistics

    # ── end ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    def close(self) -> None:
        """Give back what was allocated here, and end the store if this manager started it. May be called again."""
        with self._lock:
            self._end()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ask(self, question: Question, expected: type[A]) -> A:
        if os.getpid() != self._pid:
            raise StoreGone("This manager belongs to the process that forked this one: attach to its address instead.")
        with self._lock:
            if not self._end.alive:
                raise StoreGone("This manager is closed.")
            return ask(self._connection, question, expected)[0]


def _check(is_right: bool, sentence: str) -> None:
    if not is_right:
        raise ValueError(sentence)


def _device(device: torch.device | str) -> tuple[Literal["cpu", "cuda"], str]:
    """Kind, and index of the GPU: what `str(torch.device)` says, so that torch need not be there."""
    kind, _, index = str(device).partition(":")
    if kind == "cpu":
        return "cpu", ""
    if kind == "cuda":
        return "cuda", index or "0"
    raise ValueError(f"device must be cpu or cuda, not {device}.")


def _private_directory() -> Path:
    parent = os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()
    try:
        return Path(tempfile.mkdtemp(prefix="semi-pd-storage-", dir=parent))
    except OSError as error:
        raise CannotStart(f"No directory for the storage can be made under {parent}: {error.strerror}.") from error


def _start(settings: StoreSettings) -> tuple[subprocess.Popen[bytes], socket.socket]:
    """The store's process and this end of the connection it lives by. The store listens from now on."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        try:
            listener.bind(settings.address)
        except OSError as error:
            raise CannotStart(
                f"The storage cannot listen at {settings.address}: {error.strerror or error}; "
                "set XDG_RUNTIME_DIR to a shorter path of yours."
            ) from error
        listener.listen()
        here, there = socket.socketpair()
        with there:
            fds = (listener.fileno(), there.fileno())
            module = "engine.storage.block_store"
            command = [sys.executable, "-m", module, msgspec.json.encode(settings).decode(), *map(str, fds)]
            # Outside MPS, whose pipe directory is made to point nowhere: the blocks survive what ends its clients.
            environment = {**os.environ, "CUDA_MPS_PIPE_DIRECTORY": str(Path(settings.address).parent)}
            try:
                process = subprocess.Popen(
                    command, pass_fds=fds, stdin=subprocess.DEVNULL, env=environment, process_group=0
                )
            except BaseException:
                here.close()
                raise
    return process, here


def _end(owner_pid: int, connection: socket.socket, store: subprocess.Popen[bytes] | None, directory: Path) -> None:
    """Hang up, and wait for the store where it was ours. A forked child only drops its copy of the connection."""
    if os.getpid() == owner_pid:
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)  # children that have inherited the connection do not keep it open
    connection.close()
    if store is None or os.getpid() != owner_pid:
        return
    try:
        store.wait(_END_SECONDS)
    except subprocess.TimeoutExpired:
        store.kill()
        store.wait()
    shutil.rmtree(directory, ignore_errors=True)
