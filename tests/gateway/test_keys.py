"""Who may ask, and that a change of the key file holds from the next request on."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from engine.api_keys import ValidKey, parse_snapshot
from engine.errors import Unauthorized
from engine.gateway.keys import Keys


def sha256(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def test_a_key_that_is_listed(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text(f"{sha256('one')}\n{sha256('two').upper()}\n\n")
    keys = Keys(path)
    assert keys.check("Bearer one") == sha256("one")[:12]
    assert keys.check("bearer  two ") == sha256("two")[:12]


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer ", "Basic one", "one", "Bearer three", "Bearer öne"])
def test_a_key_that_is_not_listed(tmp_path: Path, header: str | None) -> None:
    path = tmp_path / "keys"
    path.write_text(sha256("one"))
    with pytest.raises(Unauthorized):
        Keys(path).check(header)


def test_the_file_is_read_again_when_it_changes(tmp_path: Path) -> None:
    path, replacement = tmp_path / "keys", tmp_path / "new"
    keys = Keys(path)
    with pytest.raises(Unauthorized):
        keys.check("Bearer one")
    path.write_text(sha256("one"))
    assert keys.check("Bearer one")
    replacement.write_text(sha256("two"))
    replacement.rename(path)
    assert keys.check("Bearer two")
    with pytest.raises(Unauthorized):
        keys.check("Bearer one")


@pytest.mark.parametrize("content", [None, "no key file", f"{'a' * 64} number=x", f"{'a' * 64} colour=1", "a" * 63])
def test_the_last_good_file_holds(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "keys"
    path.write_text(sha256("one"))
    keys = Keys(path)
    assert keys.check("Bearer one")
    path.unlink() if content is None else path.write_text(content)
    assert keys.check("Bearer one")
    path.write_text(sha256("two"))
    assert keys.check("Bearer two")
    with pytest.raises(Unauthorized):
        keys.check("Bearer one")


def test_a_line_says_of_a_key_what_was_written() -> None:
    for key in (ValidKey("a" * 64), ValidKey("0" * 64, 7, 1.7e9 + 0.1, 60)):
        assert parse_snapshot(f"{key.line}\n") == [key]
