"""The device of a kind. CUDA's module is imported only where it is asked for."""

from __future__ import annotations

from typing import Literal

from engine.device.cpu import CpuDevice
from engine.device.device import Device


def open_device(kind: Literal["cpu", "cuda"], gpu: str = "0", *, fits_products: bool = False) -> Device:
    """The CPU, or the GPU that `gpu` names: an index among those this process sees, or a UUID.

    `fits_products` is as for `CudaDevice`.

    Raises `CannotStart` where there is no such GPU.
    """
    if kind == "cpu":
        return CpuDevice()
    from engine.device.cuda import CudaDevice  # noqa: PLC0415  needs packages that a CPU box has not

    return CudaDevice(gpu, fits_products=fits_products)
