"""Matrix products by cuBLASLt with the algorithm named. torch takes the library's first choice, which it makes for the
whole chip and by rules of thumb. The library is torch's own; its C interface is in NVIDIA's `cublasLt.h`."""

from __future__ import annotations

import ctypes
from functools import cache
from typing import NamedTuple

import torch

from engine.errors import SemiPDError

WORKSPACE_BYTES = 32 << 20
"""What an algorithm that divides the sums may put aside."""

_COMPUTE_FLOAT32 = 68
_FLOAT32 = 0
_ELEMENT = {torch.float16: 2, torch.bfloat16: 14}
_TRANSPOSED = 1
_TRANSPOSE_WEIGHT, _SM_COUNT = 3, 15
_MOST_WORKSPACE = 1
_CONFIGURATION_BYTES = 64


class Shape(NamedTuple):
    """x · weightᵀ with x [rows, columns] and weight [outputs, columns]."""

    rows: int
    outputs: int
    columns: int


class Algorithm(NamedTuple):
    """One way to compute a product. `configuration` means something to the same version of the library only."""

    configuration: bytes


class _Found(ctypes.Structure):
    """cublasLtMatmulHeuristicResult_t."""

    _fields_ = (
        ("configuration", ctypes.c_ubyte * _CONFIGURATION_BYTES),
        ("workspace_bytes", ctypes.c_size_t),
        ("status", ctypes.c_int),
        ("waves", ctypes.c_float),
        ("reserved", ctypes.c_int * 4),
    )


class _Descriptors(NamedTuple):
    """How the library is told of a shape. It counts in columns: weight and x are transposed to it, and so is out."""

    operation: ctypes.c_void_p
    weight: ctypes.c_void_p
    x: ctypes.c_void_p
    out: ctypes.c_void_p


class CublasLt:
    """Products of one element type on torch's current stream, in memory without gaps. Raises `SemiPDError`."""

    def __init__(self, dtype: torch.dtype):
        self._element = _ELEMENT[dtype]
        self._handle = ctypes.c_void_p()
        _call("cublasLtCreate", ctypes.byref(self._handle))
        self._described: dict[Shape, _Descriptors] = {}

    def algorithms(self, shape: Shape, sm_count: int, most: int) -> list[Algorithm]:
        """Up to `most`, the library's first choice first. `sm_count` 0: as for the whole chip."""
        operation = self._operation(sm_count)
        preference = ctypes.c_void_p()
        _call("cublasLtMatmulPreferenceCreate", ctypes.byref(preference))
        limit = ctypes.c_size_t(WORKSPACE_BYTES)
        size = ctypes.c_size_t(ctypes.sizeof(limit))
        _call("cublasLtMatmulPreferenceSetAttribute", preference, _MOST_WORKSPACE, ctypes.byref(limit), size)
        found, count, (_, weight, x, out) = (_Found * most)(), ctypes.c_int(), self._descriptors(shape)
        sought = (self._handle, operation, weight, x, out, out, preference, most, found, ctypes.byref(count))
        status = _function("cublasLtMatmulAlgoGetHeuristic")(*sought)
        _call("cublasLtMatmulPreferenceDestroy", preference)
        _call("cublasLtMatmulDescDestroy", operation)
        usable = found[: count.value] if status == 0 else []
        return [Algorithm(bytes(one.configuration)) for one in usable if one.status == 0]

    def can(self, shape: Shape, algorithm: Algorithm) -> bool:
        """True if the library computes the shape so."""
        operation, weight, x, out = self._descriptors(shape)
        configuration = ctypes.create_string_buffer(algorithm.configuration, _CONFIGURATION_BYTES)
        found = _Found()
        check = _function("cublasLtMatmulAlgoCheck")
        status = check(self._handle, operation, weight, x, out, out, configuration, ctypes.byref(found))
        return status == 0 and found.workspace_bytes <= WORKSPACE_BYTES

    def multiply(
        self, algorithm: Algorithm, x: torch.Tensor, weight: torch.Tensor, out: torch.Tensor, workspace: torch.Tensor
    ) -> None:
        """out = x · weightᵀ. `workspace`: uint8 [`WORKSPACE_BYTES`]."""
        operation, *layouts = self._descriptors(Shape(len(x), *weight.shape))
        weight_layout, x_layout, out_layout = layouts
        _call(
            "cublasLtMatmul",
            self._handle,
            operation,
            ctypes.byref(_ONE),
            ctypes.c_void_p(weight.data_ptr()),
            weight_layout,
            ctypes.c_void_p(x.data_ptr()),
            x_layout,
            ctypes.byref(_ZERO),
            ctypes.c_void_p(out.data_ptr()),
            out_layout,
            ctypes.c_void_p(out.data_ptr()),
            out_layout,
            algorithm.configuration,
            ctypes.c_void_p(workspace.data_ptr()),
            ctypes.c_size_t(workspace.numel()),
            ctypes.c_void_p(torch.cuda.current_stream(x.device).cuda_stream),
        )

    def _descriptors(self, shape: Shape) -> _Descriptors:
        if shape not in self._described:
            rows, outputs, columns = shape
            sides = ((columns, outputs), (columns, rows), (outputs, rows))
            self._described[shape] = _Descriptors(self._operation(), *(self._layout(*side) for side in sides))
        return self._described[shape]

    def _operation(self, sm_count: int = 0) -> ctypes.c_void_p:
        operation = ctypes.c_void_p()
        _call("cublasLtMatmulDescCreate", ctypes.byref(operation), _COMPUTE_FLOAT32, _FLOAT32)
        for attribute, value in ((_TRANSPOSE_WEIGHT, _TRANSPOSED), (_SM_COUNT, sm_count)):
            number = ctypes.c_int32(value)
            size = ctypes.c_size_t(ctypes.sizeof(number))
            _call("cublasLtMatmulDescSetAttribute", operation, attribute, ctypes.byref(number), size)
        return operation

    def _layout(self, rows: int, columns: int) -> ctypes.c_void_p:
        """A matrix in the library's order, its columns one behind the other."""
        layout = ctypes.c_void_p()
        sizes = (ctypes.c_uint64(rows), ctypes.c_uint64(columns), ctypes.c_int64(rows))
        _call("cublasLtMatrixLayoutCreate", ctypes.byref(layout), self._element, *sizes)
        return layout


_ONE, _ZERO = ctypes.c_float(1.0), ctypes.c_float(0.0)


def library_version() -> int:
    """Of cuBLASLt, as 130100."""
    return _function("cublasLtGetVersion", ctypes.c_size_t)()


@cache
def _function(name: str, result: type = ctypes.c_int):
    """Of the library that torch has loaded: the loader finds it by its name."""
    assert torch.version.cuda is not None, "a CUDA device was opened"
    function = getattr(ctypes.CDLL(f"libcublasLt.so.{torch.version.cuda.partition('.')[0]}"), name)
    function.restype = result
    return function


def _call(name: str, *arguments: object) -> None:
    if status := _function(name)(*arguments):
        raise SemiPDError(f"{name} failed with {status}.")
