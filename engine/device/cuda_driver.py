"""Calls of the CUDA driver, each one's result checked. Imported only where CUDA is used."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from engine.errors import CannotStart, SemiPDError

try:
    driver: Any = import_module("cuda.bindings.driver")  # by name: where it is not installed nothing has to know it
except ImportError as error:
    raise CannotStart("The package cuda-bindings is not installed: install the extra `cuda`.") from error

__all__ = ["CudaError", "call", "driver"]


class CudaError(SemiPDError):
    """A call of the CUDA driver failed; the message has CUDA's own name of the error."""


def call(function: Callable[..., tuple[Any, ...]], *arguments: Any) -> Any:
    """Call the driver and return what comes after the status: nothing, one value or a tuple of several."""
    status, *values = function(*arguments)
    if status != driver.CUresult.CUDA_SUCCESS:
        raise CudaError(f"{function.__name__} failed with {status.name}.")
    return values[0] if len(values) == 1 else tuple(values) or None
