"""A sum over memory that must not change: who maps it can write there, and a worker that has had a fault may have."""

from __future__ import annotations

import torch

WORD_BYTES = 8


def checksum(region: torch.Tensor) -> int:
    """Of uint8 [n], on its device: the sum of its 64-bit words, modulo 2⁶⁴, and of the bytes behind the last.

    It reads as fast as the device does and needs no memory. One word that is another always shows.
    """
    whole = len(region) // WORD_BYTES * WORD_BYTES
    words, rest = region[:whole].view(torch.int64), region[whole:]
    return (int(words.sum()) + int(rest.sum())) % 2**64
