"""Messages on a Unix socket: however they are cut, they arrive whole."""

from __future__ import annotations

import itertools
import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import CannotStart, ProtocolMismatch
from engine.storage.channel import Inbox, ask, connect, send
from engine.storage.messages import FROM_STORE, TO_STORE, Done, HandOver, Mappable, Refused, TakeStock
from engine.storage.refusals import NotEnoughBlocks, StoreGone


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    here, there = socket.socketpair()
    with here, there:
        yield here, there


@given(messages=st.lists(st.binary(max_size=20), max_size=5), cuts=st.lists(st.integers(0, 120)))
def test_however_a_stream_is_cut_the_messages_are_the_same(messages: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(struct.pack("!I", len(message)) + message for message in messages)
    ends = [0, *sorted(cut for cut in cuts if cut < len(stream)), len(stream)]
    inbox = Inbox()
    taken = [message for start, end in itertools.pairwise(ends) for message in inbox.take(stream[start:end])]
    assert taken == messages


def test_a_length_that_is_none_of_ours_is_refused() -> None:
    with pytest.raises(ProtocolMismatch, match="announced a message of 4294967295 bytes"):
        list(Inbox().take(b"\xff\xff\xff\xff"))


def test_an_answer_brings_its_descriptor(pair: tuple[socket.socket, socket.socket]) -> None:
    there = os.memfd_create("test")
    send(pair[1], FROM_STORE.encode(Mappable()), [there])
    _, fd = ask(pair[0], TakeStock(), Mappable)
    assert fd is not None
    assert os.fstat(fd).st_ino == os.fstat(there).st_ino
    assert not os.get_inheritable(fd)
    os.close(fd)
    os.close(there)


def test_the_question_arrives(pair: tuple[socket.socket, socket.socket]) -> None:
    send(pair[1], FROM_STORE.encode(Done(True)))
    assert ask(pair[0], HandOver("ä"), Done) == (Done(True), None)
    assert [TO_STORE.decode(message) for message in Inbox().take(pair[1].recv(100))] == [HandOver("ä")]


def test_a_refusal_is_raised_as_what_it_was(pair: tuple[socket.socket, socket.socket]) -> None:
    send(pair[1], FROM_STORE.encode(Refused("NotEnoughBlocks", "None are free.")))
    with pytest.raises(NotEnoughBlocks, match=r"None are free\."):
        ask(pair[0], TakeStock(), Done)


def test_last_words_are_heard_after_the_end(pair: tuple[socket.socket, socket.socket]) -> None:
    send(pair[1], FROM_STORE.encode(Refused("CannotStart", "No room.")))
    pair[1].close()
    with pytest.raises(CannotStart, match=r"No room\."):
        ask(pair[0], TakeStock(), Done)


@pytest.mark.parametrize("fragment", [b"", b"\0\0", b"\0\0\0\5abc"])
def test_an_answer_that_never_ends_is_the_end_of_the_store(
    pair: tuple[socket.socket, socket.socket], fragment: bytes
) -> None:
    pair[1].sendall(fragment)
    pair[1].close()
    with pytest.raises(StoreGone, match="has ended"):
        ask(pair[0], TakeStock(), Done)


def test_the_answer_to_another_question_is_no_answer(pair: tuple[socket.socket, socket.socket]) -> None:
    send(pair[1], FROM_STORE.encode(Mappable()))
    with pytest.raises(ProtocolMismatch, match="answered TakeStock with Mappable"):
        ask(pair[0], TakeStock(), Done)


def test_nobody_at_an_address_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(StoreGone, match="No block store answers at .*No such file"):
        connect(str(tmp_path / "nobody.sock"))
