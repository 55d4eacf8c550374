"""How many SMs cuBLAS divides a matrix product among. It does not ask the stream: it takes the whole chip's number."""

from __future__ import annotations

import ctypes
from functools import cache

import torch

from engine.errors import SemiPDError

WHOLE_CHIP = 0


def divide_products_among(sm_count: int) -> None:
    """This thread's products, from the next one on, are made for `sm_count` SMs, or for `WHOLE_CHIP`.

    Another number of SMs can mean another kernel, and with it other last bits.
    """
    handle = ctypes.c_void_p(torch.cuda.current_blas_handle())
    status = _cublas().cublasSetSmCountTarget(handle, ctypes.c_int(sm_count))
    if status:
        raise SemiPDError(f"cuBLAS cannot be told to use {sm_count} SMs: cublasSetSmCountTarget failed with {status}.")


@cache
def _cublas() -> ctypes.CDLL:
    """The library that torch has loaded: the loader finds it by its name."""
    assert torch.version.cuda is not None, "a CUDA device was opened"
    return ctypes.CDLL(f"libcublas.so.{torch.version.cuda.partition('.')[0]}")
