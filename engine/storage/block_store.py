"""`python -m engine.storage.block_store SETTINGS LISTENER CREATOR`: owns the blocks' memory, answers one at a time.

The manager that starts it passes on two descriptors: a listening socket, and one end of the connection with which the
store lives and dies. Because there is one loop, every question is answered as if no other were asked.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import shutil
import socket
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import torch

from engine.device.device import Device, Region
from engine.device.open_device import open_device
from engine.errors import CANNOT_START, CannotStart, ProtocolMismatch, SemiPDError
from engine.process import run, set_up_logging
from engine.resident.handshake import peer_pid
from engine.storage.block_book import BlockBook
from engine.storage.channel import Inbox, send
from engine.storage.ledger import Ledger
from engine.storage.messages import (
    FROM_STORE,
    TO_STORE,
    Allocate,
    Answer,
    BlockIds,
    Commit,
    Deallocate,
    DescribeStore,
    Done,
    HandOver,
    Locate,
    Map,
    Mappable,
    Question,
    Refused,
    Share,
    Stock,
    StoreDescription,
    StoreSettings,
    TakeOver,
    TakeStock,
)

_SEND_SECONDS = 5.0
_READ_BYTES = 1 << 16
_MIB = 1 << 20


@dataclass(eq=False, slots=True)
class Client:
    """A connection and the process that made it.

    The process is watched too: children that have inherited the connection would keep it open after its end.
    """

    number: int
    connection: socket.socket
    pid: int
    pidfd: int
    inbox: Inbox = field(default_factory=Inbox)


class BlockStore:
    """The loop. It runs until its creator's connection ends, and owns the memory for as long."""

    def __init__(
        self,
        listener: socket.socket,
        creator: socket.socket,
        description: StoreDescription,
        book: BlockBook,
        region: Region,
        log: Any,
    ):
        self._listener = listener
        self._description = description
        self._book = book
        self._region = region  # held here: on the GPU the bytes go with it
        self._fds = [] if region.fd is None else [region.fd]
        self._log = log
        self._clients: dict[int, Client] = {}
        self._welcomed = 0
        self._selector = selectors.DefaultSelector()
        self._selector.register(listener, selectors.EVENT_READ)
        self._welcome(creator)

    def run(self) -> None:
        """Answer until the creator, who came first, ends."""
        while self._has_creator:
            self.turn()

    @property
    def _has_creator(self) -> bool:
        return 1 in self._clients

    def turn(self) -> None:
        """Wait until somebody comes, asks or ends.

        Ends come first: who has seen a process end and asks then finds what it held given back.
        """
        ready = [key for key, _ in self._selector.select()]
        heard = [(key.data, _hear(key.data, key.fd)) for key in ready if key.data]
        for client in [client for client, received in heard if not received]:
            self._part(client)
        if not self._has_creator:
            return
        for client, received in heard:
            if client.number in self._clients:
                self._answer_all(client, received)
        if any(key.fileobj is self._listener for key in ready):
            self._welcome(self._listener.accept()[0])

    def _welcome(self, connection: socket.socket) -> None:
        connection.settimeout(_SEND_SECONDS)  # one who does not read must not keep the others waiting
        self._welcomed += 1
        pid = peer_pid(connection)
        try:
            client = Client(self._welcomed, connection, pid, os.pidfd_open(pid))
        except OSError as error:
            self._log.warning("not attached", peer=pid, reason=str(error))
            connection.close()
            return
        self._clients[client.number] = client
        for end in (client.connection, client.pidfd):
            self._selector.register(end, selectors.EVENT_READ, client)
        self._log.debug("attached", peer=pid, connection=client.number)

    def _part(self, client: Client) -> None:
        """The client has ended; connection and process may both say so."""
        if self._clients.pop(client.number, None) is None:
            return
        for end in (client.connection, client.pidfd):
            self._selector.unregister(end)
        client.connection.close()
        os.close(client.pidfd)
        self._book.end(client.number)
        self._log.debug("detached", peer=client.pid, connection=client.number)

    def _answer_all(self, client: Client, received: bytes) -> None:
        try:
            for message in client.inbox.take(received):
                answer = self._answer(client.number, message)
                fds = self._fds if isinstance(answer, Mappable) else ()
                send(client.connection, FROM_STORE.encode(answer), fds)
        except (OSError, ProtocolMismatch) as error:
            self._log.warning("hung up", peer=client.pid, reason=str(error))
            self._part(client)

    def _answer(self, holder: int, message: bytes) -> Answer:
        try:
            return self._act(holder, TO_STORE.decode(message))
        except SemiPDError as error:
            return Refused(type(error).__name__, str(error))

    def _act(self, holder: int, question: Question) -> Answer:
        book = self._book
        match question:
            case Allocate(request_id, count, role):
                return BlockIds(book.allocate(holder, request_id, count, role))
            case Commit(request_id, count):
                return Done(book.commit(holder, request_id, count))
            case Deallocate(request_id):
                return Done(book.deallocate(holder, request_id))
            case Share(source, target):
                return Done(book.share(holder, source, target))
            case HandOver(request_id):
                book.hand_over(holder, request_id)
                return Done(True)
            case TakeOver(request_id):
                return BlockIds(book.take_over(holder, request_id))
            case Locate(request_id):
                return book.locate(holder, request_id)
            case Map(lease, term, block_ids, writing):
                book.check_mappable(lease, term, block_ids, writing)
                return Mappable()
            case TakeStock():
                return Stock(book.statistics(len(self._clients)))
            case DescribeStore():
                return self._description


def _hear(client: Client, fd: int) -> bytes:
    """What the client has sent; nothing if it has ended."""
    if fd == client.pidfd:
        return b""
    try:
        return client.connection.recv(_READ_BYTES)
    except OSError:
        return b""


def make_store(settings: StoreSettings, listener: socket.socket, creator: socket.socket, log: Any) -> BlockStore:
    """Allocate everything. Raises `CannotStart` where it does not fit."""
    device = open_device(settings.device, settings.gpu)
    nbytes = settings.total_blocks * settings.block_size
    if nbytes > device.usable_bytes():
        raise CannotStart(
            f"{settings.total_blocks} blocks of {settings.block_size} bytes need {nbytes / _MIB:.1f} MiB and "
            f"{device.usable_bytes() / _MIB:.1f} MiB are available."
        )
    region = device.allocate(nbytes, "semi-pd-blocks")
    num_pages = settings.total_blocks + 1
    ledger = Ledger.create(bytearray(Ledger.bytes_for(num_pages)), num_pages)
    book = BlockBook(
        ledger, decode_reserve_blocks=settings.decode_reserve_blocks, prefix_caching=settings.prefix_caching
    )
    description = StoreDescription(
        settings.total_blocks, settings.block_size, settings.device, _gpu_of(device), region.memory
    )
    return BlockStore(listener, creator, description, book, region, log)


def _gpu_of(device: Device) -> str:
    """The UUID, which means the same GPU in every process."""
    if device.torch_device.type == "cpu":
        return ""
    return f"GPU-{torch.cuda.get_device_properties(device.torch_device).uuid}"


def main() -> None:
    """Ends with 0 when the creator does; what cannot start is said to the creator, who is listening for it."""
    settings = msgspec.json.decode(sys.argv[1], type=StoreSettings)
    log = set_up_logging("block store", settings.log_level)
    with (
        socket.socket(fileno=int(sys.argv[2])) as listener,
        socket.socket(fileno=int(sys.argv[3])) as creator,
        contextlib.ExitStack() as stack,
    ):
        stack.callback(shutil.rmtree, Path(settings.address).parent, ignore_errors=True)
        try:
            store = make_store(settings, listener, creator, log)
        except SemiPDError as error:
            with contextlib.suppress(OSError):
                send(creator, FROM_STORE.encode(Refused("CannotStart", str(error))))
            sys.exit(CANNOT_START)
        store.run()


if __name__ == "__main__":
    run(main)
