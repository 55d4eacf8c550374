"""Mistral: Llama that looks no further back than a window. Served where that window hides nothing."""

from __future__ import annotations

from engine.model.fields import Fields
from engine.model.traits import Traits

_WINDOW_IF_ABSENT = 4096
"""What the reference implementation takes then; no window is written as null."""


def traits(fields: Fields) -> Traits:
    window, longest = fields.get("sliding_window", _WINDOW_IF_ABSENT), fields.count("max_position_embeddings")
    if window is not None and (not isinstance(window, int) or window < longest):
        right = f"null, or at least max_position_embeddings, which is {longest}: a shorter window is not supported yet"
        raise fields.problem("sliding_window", window, right)
    return Traits()
