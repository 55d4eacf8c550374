"""Small host arrays to the device, without waiting for it."""

from __future__ import annotations

import numpy as np
import torch

LEAST_POWER, MOST_POWER = 3, 20
"""Of two: bytes of the smallest and the largest block that is held ready."""
BLOCKS = 4
"""Of each size: as many arrays as are on their way at once, and some."""


def hold_ready() -> None:
    """Have page-locked memory at hand for arrays up to a MiB, in the sizes in which torch keeps it: powers of two.

    What is not at hand torch asks of the driver in the middle of a step, and that waits for whatever else the driver
    does: when another process ends, up to half a second.
    """
    sizes = [1 << power for power in range(LEAST_POWER, MOST_POWER + 1)]
    _ = [torch.empty(size, dtype=torch.uint8, pin_memory=True) for size in sizes for _ in range(BLOCKS)]


def upload(array: np.ndarray, device: torch.device) -> torch.Tensor:
    """The array as a tensor on `device`. Only page-locked memory can be copied while the host goes on."""
    tensor = torch.from_numpy(array)
    if device.type == "cpu":
        return tensor
    return tensor.pin_memory().to(device, non_blocking=True)
