"""The bytes of an answer become times of tokens, however they are cut; what is not whole says why."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.answer_reader import AnswerReader
from bench.record import Record
from tests.bench.answers import DONE, HEAD, chunked, event, text_event, usage_event


def read(*pieces: bytes, output_tokens: int = 2) -> Record:
    """What a record says after these pieces, of which the n-th arrives at time n."""
    record = Record(due=0.0, input_tokens=5, output_tokens=output_tokens)
    reader = AnswerReader(record)
    for now, piece in enumerate(pieces):
        reader.feed(piece, float(now))
    reader.end()
    return record


def test_every_event_with_text_has_the_time_of_its_arrival() -> None:
    record = read(HEAD, *chunked(text_event("a"), text_event(""), usage_event(5, 2), DONE))

    assert record.failure is None
    assert record.events == [1.0, 2.0]
    assert (record.prompt_tokens, record.completion_tokens) == (5, 2)


def test_events_may_carry_several_tokens_which_are_counted_by_their_ids() -> None:
    first = text_event("abc", token_ids=[1, 2, 3], prompt_token_ids=[9, 9, 9, 9, 9])
    record = read(HEAD, *chunked(first, text_event("d", token_ids=[4]), usage_event(5, 4), DONE), output_tokens=4)

    assert record.failure is None
    assert record.event_tokens == [3, 1]


def test_usage_in_the_last_event_with_text_is_seen() -> None:
    used = {"prompt_tokens": 5, "completion_tokens": 1}
    last = event(choices=[{"index": 0, "text": "a", "finish_reason": "length"}], usage=used)

    assert read(HEAD, *chunked(last, DONE), output_tokens=1).failure is None


def test_text_that_looks_like_protocol_is_text() -> None:
    odd = text_event('"text" "completion_tokens":9 [DONE] data: {"error"')
    record = read(HEAD, *chunked(odd, text_event("b"), usage_event(5, 2), DONE))

    assert record.failure is None
    assert len(record.events) == 2


def test_lines_may_end_in_two_characters_and_comments_are_passed_over() -> None:
    body = (text_event("a") + text_event("b") + usage_event(5, 2) + DONE).replace(b"\n", b"\r\n")

    assert read(HEAD, *chunked(b": keep-alive\r\n\r\n" + body)).failure is None


@given(st.data())
def test_how_the_bytes_are_cut_does_not_matter(data: st.DataObject) -> None:
    whole = HEAD + b"".join(chunked(text_event("grüße"), text_event("b"), usage_event(5, 2) + DONE))
    cuts = sorted(data.draw(st.sets(st.integers(1, len(whole) - 1), max_size=12)))
    pieces = [whole[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    record = read(*pieces)

    assert record.failure is None
    assert len(record.events) == 2


@pytest.mark.parametrize(
    ("pieces", "failure"),
    [
        ([b"HTTP/1.1 503 Busy\r\ncontent-length: 2\r\n\r\n{}"], "HTTP 503"),
        ([HEAD, *chunked(text_event("a"), event(error={"message": "lost"}))], "error event"),
        ([HEAD, *chunked(text_event("a"))[:-1]], "cut off"),
        ([HEAD], "cut off"),
        ([], "cut off"),
        ([HEAD, *chunked(text_event("a"), text_event("b"), DONE)], "no usage"),
        ([HEAD, *chunked(text_event("a"), usage_event(5, 1), DONE)], "wrong length"),
        ([HEAD, *chunked(text_event("a"), usage_event(6, 2), DONE)], "wrong length"),
        ([HEAD, *chunked(text_event("a", token_ids=[1]), usage_event(5, 2), DONE)], "miscounted"),
        ([HEAD, *chunked(usage_event(5, 2), DONE)], "miscounted"),
        ([HEAD, *chunked(b"data: nonsense\n\n", DONE)], "error event"),
        ([b"SSH-2.0-OpenSSH\r\n"], "no HTTP"),
    ],
)
def test_what_is_not_whole_says_why(pieces: list[bytes], failure: str) -> None:
    assert read(*pieces).failure == failure
