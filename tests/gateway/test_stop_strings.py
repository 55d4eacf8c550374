"""Stop strings against the plain definition, for any way to cut the text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.gateway.stop_strings import StopStrings

ALPHABET = "ab🙂"


def expected(text: str, stops: list[str]) -> tuple[str, bool]:
    """The definition: the stop string complete first ends the text, of several the longest."""
    for end in range(1, len(text) + 1):
        found = [len(stop) for stop in stops if text[:end].endswith(stop)]
        if found:
            return text[: end - max(found)], True
    return text, False


def fed(pieces: list[str], stops: list[str]) -> tuple[str, bool]:
    strings = StopStrings(stops)
    out = ""
    for piece in pieces:
        out += strings.feed(piece)
        if strings.is_found:
            return out, True
    return out + strings.flush(), False


@given(
    pieces=st.lists(st.text(ALPHABET, max_size=4), max_size=12),
    stops=st.lists(st.text(ALPHABET, min_size=1, max_size=5), max_size=4),
)
def test_any_cut_gives_the_same_text(pieces: list[str], stops: list[str]) -> None:
    assert fed(pieces, stops) == expected("".join(pieces), stops)


@given(
    text=st.text(ALPHABET, max_size=20),
    stops=st.lists(st.text(ALPHABET, min_size=1, max_size=5), min_size=1, max_size=4),
)
def test_nothing_is_shown_that_has_to_be_taken_back_and_nothing_is_held_without_need(
    text: str, stops: list[str]
) -> None:
    strings = StopStrings(stops)
    shown = ""
    for end, character in enumerate(text, start=1):
        shown += strings.feed(character)
        if strings.is_found:
            return
        held = text[len(shown) : end]
        assert not held or any(stop.startswith(held) for stop in stops)
        assert not any(text[:end].endswith(stop[:n]) for stop in stops for n in range(len(held) + 1, len(stop) + 1))


@pytest.mark.parametrize(
    ("pieces", "stops", "shown"),
    [
        (["a", "aab"], ["aab"], ["", "a"]),
        (["aabaab", "aac"], ["aabaac"], ["aab", ""]),
        (["Hel", "lo\n", "\nUser:"], ["\n\nUser"], ["Hel", "lo", ""]),
        (["plain"], [], ["plain"]),
    ],
)
def test_pieces_as_they_are_shown(pieces: list[str], stops: list[str], shown: list[str]) -> None:
    strings = StopStrings(stops)
    assert [strings.feed(piece) for piece in pieces] == shown
