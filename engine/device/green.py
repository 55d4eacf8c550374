"""Green contexts: a stream whose kernels run on some of the GPU's SMs only.

The driver divides the chip in a fixed order, so that two processes that ask for the same boundary and take one side
each hold parts that do not overlap. A green context and its stream live as long as the process: torch's allocator and
captured graphs may refer to the stream at any time, and a process outlives few splits.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

from engine.device.cuda_driver import call, driver
from engine.device.sm_range import SmGrid


class GreenStream(NamedTuple):
    """A stream and the number of SMs the driver has given it."""

    stream: torch.cuda.Stream
    sm_count: int


def sm_grid() -> SmGrid:
    """How the current context's GPU can be divided, asked of the driver by splitting it for a try."""
    chip = _all_sms()
    minimum = _split(chip, 1)[0].sm.smCount
    step = _split(chip, minimum + 1)[0].sm.smCount - minimum
    return SmGrid(chip.sm.smCount, minimum, step)


def green_stream(part: range, device: torch.device) -> GreenStream:
    """A stream on a part that starts with the chip's first SM or ends with its last (`SmGrid.part`)."""
    first, rest = _split(_all_sms(), part.stop if part.start == 0 else part.start)
    description = call(driver.cuDevResourceGenerateDesc, [first if part.start == 0 else rest], 1)
    flags = int(driver.CUgreenCtxCreate_flags.CU_GREEN_CTX_DEFAULT_STREAM)
    context = call(driver.cuGreenCtxCreate, description, call(driver.cuCtxGetDevice), flags)
    held = call(driver.cuGreenCtxGetDevResource, context, driver.CUdevResourceType.CU_DEV_RESOURCE_TYPE_SM)
    non_blocking = int(driver.CUstream_flags.CU_STREAM_NON_BLOCKING)
    stream = call(driver.cuGreenCtxStreamCreate, context, non_blocking, 0)
    return GreenStream(torch.cuda.ExternalStream(int(stream), device=device), held.sm.smCount)


def _all_sms() -> Any:
    return call(
        driver.cuDeviceGetDevResource,
        call(driver.cuCtxGetDevice),
        driver.CUdevResourceType.CU_DEV_RESOURCE_TYPE_SM,
    )


def _split(chip: Any, count: int) -> tuple[Any, Any]:
    """The first `count` SMs (rounded up by the driver) and the rest."""
    groups, _, rest = call(driver.cuDevSmResourceSplitByCount, 1, chip, 0, count)
    return groups[0], rest
