"""What a full page holds, in 16 bytes: its tokens, after all tokens before them, of one API key. Pure."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from hashlib import blake2b

BYTES = 16


def contents(
    salt: str, token_ids: Sequence[int], page_size: int, after: Sequence[bytes] = (), end: int | None = None
) -> Iterator[bytes]:
    """The content of each full page of `token_ids[:end]` but the first ones, whose contents are `after`.

    Each is a digest of the one before it and its own tokens: equal contents are equal beginnings.
    """
    content = after[-1] if after else blake2b(salt.encode(), digest_size=BYTES).digest()
    last = (len(token_ids) if end is None else end) - page_size
    for at in range(len(after) * page_size, last + 1, page_size):
        content = blake2b(content + array("Q", token_ids[at : at + page_size]).tobytes(), digest_size=BYTES).digest()
        yield content
