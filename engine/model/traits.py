"""In what the families of models differ, as far as the transformer can be told. No torch."""

from __future__ import annotations

import msgspec


class Traits(msgspec.Struct, frozen=True):
    """`qkv_bias`: q, k and v have a bias. `output_bias`: attention's output has one.

    `qk_norm`: every head's q and k are normalised over its dimension before they are rotated.
    """

    qkv_bias: bool = False
    output_bias: bool = False
    qk_norm: bool = False
