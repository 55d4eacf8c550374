"""Measures steps of a model on this machine, fits the simulator's step times to them, and writes a box.

    python bench/slo_step_times.py --out box.json
    python bench/slo_step_times.py --model DIR --device cuda --dtype bfloat16 --out box.json

The whole device is measured, by one process that has it for itself. What an appliance needs beyond its steps is taken
from a stream that it serves alone (`semi-pd bench streams --mix fixed:64/64 --streams 1`): `--lone 64 TTFT TPOT`, both
medians in milliseconds. `--slower PREFILL DECODE` is by how much steps are longer in serving, where other processes
have processors and caches too: to be fitted to one run, and seen in others (`bench/slo_measured.py`).

On the CPU the splitter `duty` makes every share a matter of arithmetic. On a GPU speeds at the splits must be measured
beside a busy other phase, and put into the box's `profile` afterwards.
"""

from __future__ import annotations

import json
import random
import statistics
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal, cast

import torch
import typer

from appliance.simulator.box import Box
from appliance.simulator.step_times import DecodeStep, PrefillStep, StepTimes, token_context
from appliance.slo.profile import Profile
from engine.config import DEMO_MODEL, ServerArgs
from engine.model.checkpoint import fill_dummy, load_checkpoint, weights_of
from engine.model.config import ModelConfig
from engine.model.layout import layout_of, pack
from engine.model.runner import ModelRunner, build_runner
from engine.model.segment import Segment
from engine.request import SamplingParams
from engine.resident.manifest import KVSpec

GREEDY = SamplingParams(max_tokens=1, temperature=0.0)


class Bench:
    """A runner and a pool; every segment has pages of its own, as requests have."""

    def __init__(
        self, model: Path, device: Literal["cpu", "cuda"], dtype: str, page_size: int, pages: int, dummy: bool
    ):
        torch_device = torch.device(device)
        self.config = ModelConfig.load(model)
        layout = layout_of(self.config)
        packed = pack(layout, dtype)
        region = torch.zeros(packed.nbytes, dtype=torch.uint8, device=torch_device)
        if dummy:
            fill_dummy(region, layout, 0, dtype)
        else:
            load_checkpoint(model, region, layout, dtype)
        self.kv = KVSpec(
            num_layers=self.config.num_layers,
            num_pages=pages,
            page_size=page_size,
            num_kv_heads=self.config.num_kv_heads,
            head_dim=self.config.head_dim,
            dtype=dtype,
        )
        pool = torch.zeros(self.kv.nbytes, dtype=torch.uint8, device=torch_device)
        weights = weights_of(region, packed.specs, dtype)
        self.runner: ModelRunner = build_runner(self.config, weights, pool, self.kv, device, torch_device)
        self._random = random.Random(0)

    def prefill(self, start: int, tokens: int, repeats: int) -> PrefillStep:
        segment = Segment(self._token_ids(tokens), start, self._pages(0, start + tokens), GREEDY, 0)
        return PrefillStep(tokens, token_context(start, tokens), self._seconds([segment], repeats))

    def decode(self, batch: int, context: int, repeats: int) -> DecodeStep:
        segments = [
            Segment(self._token_ids(1), context - 1, self._pages(lane, context), GREEDY, 1) for lane in range(batch)
        ]
        return DecodeStep(batch, batch * context, self._seconds(segments, repeats))

    def _seconds(self, segments: list[Segment], repeats: int) -> float:
        """The median: what other processes of the machine take is not the step's."""
        self.runner.step(segments)
        took = []
        for _ in range(repeats):
            began = time.perf_counter()
            self.runner.step(segments)
            took.append(time.perf_counter() - began)
        return statistics.median(took)

    def _pages(self, lane: int, tokens: int) -> list[int]:
        needed = -(-tokens // self.kv.page_size)
        usable = self.kv.num_pages - 1
        return [1 + (lane * needed + at) % usable for at in range(needed)]

    def _token_ids(self, count: int) -> list[int]:
        return [self._random.randrange(self.config.vocab_size) for _ in range(count)]


def prefill_sizes(budget: int, longest: int) -> Iterator[tuple[int, int]]:
    """(start, tokens) of chunks that a prompt of up to `longest` tokens is cut into."""
    for tokens in (1, budget // 8, budget // 4, budget // 2, budget):
        for start in (0, longest // 4, longest - budget):
            if tokens and start + tokens <= longest:
                yield start, tokens


def decode_sizes(most: int, longest: int) -> Iterator[tuple[int, int]]:
    """(batch, context of each)."""
    for batch in sorted({1, 2, max(1, most // 8), max(1, most // 2), most}):
        for context in (16, longest // 4, longest - 1):
            yield batch, context


def as_served(times: StepTimes, tokens: int, ttft_ms: float, tpot_ms: float) -> StepTimes:
    """With what a stream alone, of a prompt of `tokens`, waited for beyond steps: per prompt, and per step."""
    beyond_prefill = ttft_ms / 1000 - times.prefill(tokens, token_context(0, tokens))
    beyond_decode = tpot_ms / 1000 - times.decode(1, tokens)
    return replace(times, overhead=max(0.0, beyond_prefill), d0=times.d0 + max(0.0, beyond_decode))


def slowed(times: StepTimes, prefill: float, decode: float) -> StepTimes:
    """With longer steps, by these factors."""
    return replace(
        times,
        c0=times.c0 * prefill,
        c1=times.c1 * prefill,
        c2=times.c2 * prefill,
        d0=times.d0 * decode,
        d1=times.d1 * decode,
        d2=times.d2 * decode,
    )


def worst_error(times: StepTimes, prefill: list[PrefillStep], decode: list[DecodeStep]) -> float:
    errors = [abs(times.prefill(s.tokens, s.token_context) / s.seconds - 1) for s in prefill]
    return max(errors + [abs(times.decode(s.batch, s.context) / s.seconds - 1) for s in decode])


def main(
    out: Annotated[Path, typer.Option(help="Where to write the box.")],
    model: Annotated[Path, typer.Option(help="Hugging Face model directory.")] = DEMO_MODEL,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    dtype: Annotated[str, typer.Option(help="float32, bfloat16 or float16.")] = "float32",
    dummy: Annotated[bool, typer.Option(help="Random weights.")] = False,
    pages: Annotated[int, typer.Option(help="Pages of the KV pool.")] = 8192,
    repeats: Annotated[int, typer.Option(help="Times each step is measured.")] = 7,
    lone: Annotated[
        tuple[int, float, float] | None, typer.Option(help="Of a stream alone: prompt tokens, TTFT ms, TPOT ms.")
    ] = None,
    slower: Annotated[tuple[float, float], typer.Option(help="Steps in serving: prefill's and decode's, in times.")] = (
        1.0,
        1.0,
    ),
) -> None:
    torch.set_num_threads(1)
    kind = cast(Literal["cpu", "cuda"], device)
    settings = ServerArgs(model_path=model).for_device(kind)
    assert settings.prefill_token_budget and settings.max_running_requests
    bench = Bench(model, kind, dtype, settings.page_size, pages, dummy)
    longest = min(bench.config.max_position_embeddings, pages * settings.page_size)
    prefill = [bench.prefill(*size, repeats) for size in prefill_sizes(settings.prefill_token_budget, longest)]
    decode = [bench.decode(*size, repeats) for size in decode_sizes(settings.max_running_requests, longest)]
    times = StepTimes.fitted(prefill, decode)
    box = Box(
        times=slowed(as_served(times, *lone) if lone else times, *slower),
        profile=Profile({}, stretches_steps=kind == "cuda"),
        pages=pages - 1,
        page_size=settings.page_size,
        max_model_len=longest,
        max_running_requests=settings.max_running_requests,
        max_queued_requests=settings.max_queued_requests,
        prefill_token_budget=settings.prefill_token_budget,
    )
    box.save(out)
    typer.echo(json.dumps(box.as_dict()["times"]))
    typer.echo(f"Fitted to {len(prefill)} + {len(decode)} kinds of steps; the worst is off by", nl=False)
    typer.echo(f" {100 * worst_error(times, prefill, decode):.0f} %.")


if __name__ == "__main__":
    typer.run(main)
