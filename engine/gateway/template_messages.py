"""What the gateway and its template process say to each other, as JSON."""

from __future__ import annotations

from typing import Any

import msgspec


class Render(msgspec.Struct, frozen=True):
    """The arguments of `ChatTemplate.render`."""

    messages: list[dict[str, Any]]
    tools: list[dict[str, Any]]
    more: dict[str, Any]
    is_open: bool
    most_characters: int


class Rendered(msgspec.Struct, frozen=True):
    """The text, or the sentence that says why there is none."""

    text: str = ""
    problem: str = ""
