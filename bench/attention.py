"""`python -m bench.attention`: decode attention alone, on the whole chip and on parts of it, beside its floor.

A CUDA graph of as many launches as a model has layers, each over K and V of its own, so that nothing is found in a
cache. The floor is the bytes of K and V over the bandwidth of a large copy, measured in the same run.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import NamedTuple

import numpy as np
import torch

from engine.kernels.decode_attention import DecodeAttention, LanesPlan
from engine.kernels.work_list import WorkList
from engine.resident.manifest import ITEM_BYTES, KVSpec

REPLAYS = 7
COPY_BYTES = 1 << 30
PAGE_SIZE = 16


class Load(NamedTuple):
    """Lanes behind so many tokens each."""

    lanes: int
    context: int

    @classmethod
    def of(cls, text: str) -> Load:
        lanes, _, context = text.partition("x")
        return cls(int(lanes), int(context))


def spec_of(load: Load, options: argparse.Namespace) -> KVSpec:
    """Just enough pages, and page 0."""
    return KVSpec(
        num_layers=options.layers,
        num_pages=load.lanes * pages_of(load) + 1,
        page_size=PAGE_SIZE,
        num_kv_heads=options.kv_heads,
        head_dim=options.head_dim,
        dtype=options.dtype,
    )


def pages_of(load: Load) -> int:
    """Of each lane, with its new token."""
    return load.context // PAGE_SIZE + 1


def tables_of(load: Load) -> np.ndarray:
    """int32 [lanes, pages]: pages in a random order, as they are after an hour of serving."""
    pages = np.random.default_rng(0).permutation(load.lanes * pages_of(load)) + 1
    return pages.reshape(load.lanes, -1).astype(np.int32)


def layers_of(load: Load, options: argparse.Namespace, device: torch.device) -> Callable[[], None]:
    """Attention of all layers, ready to be launched on torch's current stream."""
    kv = spec_of(load, options)
    dtype = getattr(torch, kv.dtype)
    attention = DecodeAttention(kv, options.heads)
    work = WorkList(load.lanes, kv.num_kv_heads, load.context + 1)
    pieces = attention.empty_pieces(work.pieces, torch.device("cpu"))
    work.fill(pieces.numpy(), np.full(load.lanes, load.context, dtype=np.int32))
    results = attention.results(work.pieces, load.lanes, device)
    plan = LanesPlan(pieces.to(device), torch.from_numpy(tables_of(load)).to(device), results)
    caches = torch.empty(kv.num_layers, *kv.layer_shape, dtype=dtype, device=device).normal_()
    heads = (options.heads, kv.num_kv_heads, kv.num_kv_heads)
    q, k, v = torch.randn(load.lanes, sum(heads), kv.head_dim, dtype=dtype, device=device).split(heads, dim=1)
    cos_sin = torch.rand(load.context + 1, kv.head_dim, device=device)
    out = torch.empty(q.shape, dtype=dtype, device=device)

    def launch() -> None:
        for cache in caches:
            attention.run(plan, cache, q, k, v, cos_sin, out)

    return launch


def milliseconds(launch: Callable[[], None], stream: torch.cuda.Stream) -> float:
    """The median of several replays."""
    with torch.cuda.stream(stream):
        launch()
        stream.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
            launch()
        graph.replay()
        return statistics.median(timed(graph.replay, stream) for _ in range(REPLAYS))


def timed(work: Callable[[], object], stream: torch.cuda.Stream) -> float:
    began, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    began.record(stream)
    work()
    ended.record(stream)
    ended.synchronize()
    return began.elapsed_time(ended)


def bandwidth(stream: torch.cuda.Stream, device: torch.device) -> float:
    """Bytes a second, read and written, of the best of several large copies."""
    source = torch.ones(COPY_BYTES, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    with torch.cuda.stream(stream):
        best = min(timed(lambda: target.copy_(source), stream) for _ in range(REPLAYS))
    return 2 * COPY_BYTES / best * 1000


def measure(loads: Sequence[Load], parts: Sequence[int], options: argparse.Namespace) -> None:
    green_stream = import_module("engine.device.green").green_stream  # a CPU box has not what it needs
    device = torch.device("cuda", 0)
    torch.cuda.synchronize(device)  # makes the context that parts are made in
    total = torch.cuda.get_device_properties(device).multi_processor_count
    streams = {
        sms: torch.cuda.Stream(device) if sms == total else green_stream(range(total - sms, total), device).stream
        for sms in (total, *parts)
    }
    speed = bandwidth(streams[total], device)
    print(f"A large copy: {speed / 1e12:.2f} TB/s. {options.layers} layers, {options.heads}/{options.kv_heads} heads.")
    print("lanes x tokens   SMs       ms     TB/s  floor ms")
    for load in loads:
        launch, kv = layers_of(load, options, device), spec_of(load, options)
        nbytes = load.lanes * load.context * 2 * kv.num_kv_heads * kv.head_dim * ITEM_BYTES[kv.dtype] * kv.num_layers
        for sms, stream in streams.items():
            taken = milliseconds(launch, stream)
            row = f"{taken:8.3f} {nbytes / taken / 1e9:8.2f} {nbytes / speed * 1000:9.3f}"
            print(f"{load.lanes:>5} x {load.context:<6} {sms:>6} {row}", flush=True)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--loads", default="1x2176,32x640,128x640,112x1500", help="lanes x tokens, several with commas")
    parser.add_argument("--parts", default="52,44,36", help="SMs of parts to try beside the whole chip")
    parser.add_argument("--layers", type=int, default=32)
    parser.add_argument("--heads", type=int, default=32)
    parser.add_argument("--kv-heads", type=int, default=8)
    parser.add_argument("--head-dim", type=int, default=128)
    parser.add_argument("--dtype", default="bfloat16", choices=["bfloat16", "float16"])
    return parser.parse_args()


if __name__ == "__main__":
    options = arguments()
    measure(
        [Load.of(text) for text in options.loads.split(",")], [int(sms) for sms in options.parts.split(",")], options
    )
