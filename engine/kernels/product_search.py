"""Finds the fastest of cuBLASLt's algorithms for each matrix product of decode, on each part of the GPU it may have.

The library chooses by rules that were made for the whole chip. On a part of it, its choice takes up to twice as long as
the best of those it names further down.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import import_module
from typing import NamedTuple

import torch

from engine.errors import SemiPDError
from engine.kernels.cublas_lt import WORKSPACE_BYTES, Algorithm, CublasLt, Shape
from engine.kernels.product_choices import Choice, ProductChoices
from engine.model.config import ModelConfig

ROWS = (8, 16, 32, 48, 64, 96, 128, 160, 192, 224, 256, 320, 384, 448, 512)
"""Of the graphs of decode. For fewer, and for numbers between, the choice of the next larger one is taken."""
LEAST_SMS = 20
"""On fewer, products fail, and decode is offered no such part."""
CANDIDATES = 10
"""Of the algorithms made for the part, and as many of those made for the whole chip."""
FINALISTS, REPEATS = 3, 3
LEAST_GAIN = 1.02
"""The library's choice stays where another is hardly faster."""
POOL_BYTES = 256 << 20
"""More than a GPU's cache holds: weights that a step reads are not in it."""
MOST_COPIES = 8
ROUNDINGS = 4
"""By so many roundings of the element type two ways to add up may differ."""


class Part(NamedTuple):
    sm_count: int
    stream: torch.cuda.Stream


def shapes_of(config: ModelConfig) -> list[tuple[int, int]]:
    """(outputs, columns) of the model's matrices, each once."""
    return list(dict.fromkeys([*config.products, (config.vocab_size, config.hidden_size)]))


def decode_parts(device: torch.device) -> Iterator[Part]:
    """The whole chip, and every part that decode can be given."""
    green = import_module("engine.device.green")  # needs the driver's bindings, which a CPU box has not
    grid = green.sm_grid()
    yield Part(grid.total, torch.cuda.Stream(device))
    for boundary in range(grid.minimum, grid.total - LEAST_SMS + 1, grid.step):
        stream, sm_count = green.green_stream(range(boundary, grid.total), device)
        yield Part(sm_count, stream)


def search(config: ModelConfig, dtype: torch.dtype, device: torch.device) -> ProductChoices:
    """Of what is faster than the library's own choice, for all parts and shapes. It takes the GPU for half a minute.

    Raises `SemiPDError` where there is not enough free memory.
    """
    shapes = shapes_of(config)
    element_bytes = torch.finfo(dtype).bits // 8
    needed = max(POOL_BYTES, max(outputs * columns for outputs, columns in shapes) * element_bytes)
    if (free := torch.cuda.mem_get_info(device)[0]) < 2 * needed:
        raise SemiPDError(
            f"Algorithms are not compared: that needs {2 * needed >> 20:,} MiB, and {free >> 20:,} are free."
        )
    pool = torch.randn(needed // element_bytes, dtype=dtype, device=device).mul_(0.02)
    comparison = Comparison(pool)
    torch.cuda.synchronize(device)  # parts have streams of their own, which do not wait for this one
    return ProductChoices(
        tuple(
            choice
            for part in decode_parts(device)
            for outputs, columns in shapes
            for rows in ROWS
            if (choice := comparison.best(Shape(rows, outputs, columns), part))
        )
    )


class Comparison:
    """`pool`: numbers of which weights and x are made, one behind the other."""

    def __init__(self, pool: torch.Tensor):
        self._pool = pool
        self._library = CublasLt(pool.dtype)
        self._workspace = torch.empty(WORKSPACE_BYTES, dtype=torch.uint8, device=pool.device)

    @torch.inference_mode()
    def best(self, shape: Shape, part: Part) -> Choice | None:
        """The fastest that computes right; None where the library's own choice is as good."""
        with torch.cuda.stream(part.stream):
            product = _Product(self._pool, shape)
            ways = [way for way in self._ways(shape, part.sm_count) if self._is_right(product, way)]
            quickest = sorted(ways, key=lambda way: self._microseconds(product, way, 1))[:FINALISTS]
            timed = [(self._microseconds(product, way, REPEATS), way) for way in quickest]
            usual = seconds_of(product.by_library, part.stream, REPEATS) * 1e6 / len(product.weights)
        if not timed:
            return None
        microseconds, best = min(timed)
        if microseconds * LEAST_GAIN > usual:
            return None
        return Choice(part.sm_count, *shape, *best, round(microseconds, 2), round(usual, 2))

    def _ways(self, shape: Shape, sm_count: int) -> list[Algorithm]:
        """Those made for the whole chip, and those made for the part."""
        named = [way for target in (0, sm_count) for way in self._library.algorithms(shape, target, CANDIDATES)]
        return [way for way in dict.fromkeys(named) if self._library.can(shape, way)]

    def _is_right(self, product: _Product, way: Algorithm) -> bool:
        """It is computed into NaN: what is left unwritten shows."""
        wanted = torch.mm(product.x, product.weights[0].t())
        product.out.fill_(torch.nan)
        try:
            self._compute(product, way, product.weights[0])
            torch.cuda.current_stream(product.x.device).synchronize()
        except (SemiPDError, RuntimeError):
            return False
        allowed = ROUNDINGS * torch.finfo(wanted.dtype).eps
        size = float(wanted.float().square().mean().sqrt())
        return torch.allclose(product.out.float(), wanted.float(), rtol=allowed, atol=allowed * size)

    def _compute(self, product: _Product, way: Algorithm, weight: torch.Tensor) -> None:
        self._library.multiply(way, product.x, weight, product.out, self._workspace)

    def _microseconds(self, product: _Product, way: Algorithm, repeats: int) -> float:
        def once_each() -> None:
            for weight in product.weights:
                self._compute(product, way, weight)

        stream = torch.cuda.current_stream(product.x.device)
        return seconds_of(once_each, stream, repeats) * 1e6 / len(product.weights)


class _Product:
    """One shape's tensors: as many weights as keep the first out of the cache when it comes again."""

    def __init__(self, pool: torch.Tensor, shape: Shape):
        rows, outputs, columns = shape
        copies = min(MOST_COPIES, pool.numel() // (outputs * columns))
        self.weights = [part.view(outputs, columns) for part in pool.split(outputs * columns)[:copies]]
        self.x = torch.randn(rows, columns, dtype=pool.dtype, device=pool.device)
        self.out = self.x.new_empty(rows, outputs)

    def by_library(self) -> None:
        for weight in self.weights:
            torch.mm(self.x, weight.t(), out=self.out)


def seconds_of(work: Callable[[], None], stream: torch.cuda.Stream, repeats: int) -> float:
    """The shortest of `repeats` runs on torch's current stream, without what the host takes to launch it."""
    work()
    stream.synchronize()
    graph = torch.cuda.CUDAGraph()
    graph.capture_begin(capture_error_mode="thread_local")
    work()
    graph.capture_end()
    graph.replay()
    return min(_replayed(graph, stream) for _ in range(repeats))


def _replayed(graph: torch.cuda.CUDAGraph, stream: torch.cuda.Stream) -> float:
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record(stream)
    graph.replay()
    end.record(stream)
    end.synchronize()
    return begin.elapsed_time(end) / 1000
