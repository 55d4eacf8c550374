"""Who may ask, and that a change of the key file holds from the next request on."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

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
    path.unlink()
    with pytest.raises(Unauthorized):
        keys.check("Bearer two")
