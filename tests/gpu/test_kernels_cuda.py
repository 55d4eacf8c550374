"""The CUDA kernels, in bfloat16, against the CPU kernels in float32 on the same (rounded) numbers.

A bfloat16 has 8 significant bits: rounding a result costs up to 2⁻⁹ of it, and attention rounds its weights as well.
Outputs are taken from memory that holds NaN, so that an element no kernel wrote shows.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.kernels.cpu import CpuKernels
from engine.kernels.cuda import CudaKernels, PackedPlan, PromptPlan
from engine.kernels.kernels import Kernels
from engine.model.checkpoint import fill_dummy, weights_of
from engine.model.config import ModelConfig
from engine.model.history import History
from engine.model.launched_step import Fed
from engine.model.layout import layout_of, pack
from engine.model.logprobs import with_logprobs
from engine.model.rope import cos_sin_table
from engine.model.runner import build_runner
from engine.model.sampler import Sampler
from engine.model.segment import Segment
from engine.model.transformer import Transformer
from engine.request import SamplingParams
from engine.resident.manifest import KVSpec
from tests.checkpoints import save_random_model
from tests.kernels.attention import Case, Tensors, attended, case, tensors, written

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(find_spec("flashinfer") is None, reason="FlashInfer is not installed"),
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
    pytest.mark.timeout(900),  # the first use of a kernel compiles it
    pytest.mark.filterwarnings("ignore:::(flashinfer|cutlass|tvm_ffi)"),  # theirs to mend
]

CUDA = torch.device("cuda", 0)
BF16 = torch.bfloat16
ELEMENTWISE = 1e-2
ATTENTION = 2e-2
"""Tolerances, absolute and relative."""

STEPS = {
    "decode": ([0, 3, 15, 16, 200, 77], [1, 1, 1, 1, 1, 1]),
    "one long lane": ([1500], [1]),
    "lanes in pieces": ([1500, 20, 700, 2047, 0], [1, 1, 1, 1, 1]),
    "prefill from the start": ([0, 0, 0], [130, 1, 64]),
    "prefill chunks": ([50, 129, 16], [70, 33, 16]),
    "mixed": ([60, 0, 4, 111, 2], [1, 90, 1, 50, 1]),
    "lanes behind prompts": ([0, 50, 700, 20, 0, 15], [70, 17, 1, 1, 1, 1]),
    "one lane behind a prompt": ([3, 300], [17, 1]),
}
HEADS = {
    "group 1": (4, 4),
    "group 3": (6, 2),
    "group 4": (8, 2),
    "group 5": (10, 2),
    "one kv head": (8, 1),
    "group 12": (24, 2),
}


def assert_near(given: torch.Tensor, wanted: torch.Tensor, tolerance: float) -> None:
    torch.testing.assert_close(given.float().cpu(), wanted, rtol=tolerance, atol=tolerance)


def kernels_for_case(
    step: Case, heads: int, kv_heads: int, head_dim: int, is_deterministic: bool = False
) -> CudaKernels:
    kv = KVSpec(
        num_layers=1,
        num_pages=step.num_pages,
        page_size=step.page_size,
        num_kv_heads=kv_heads,
        head_dim=head_dim,
        dtype="bfloat16",
    )
    return CudaKernels(kv, heads, CUDA, is_deterministic=is_deterministic)


def rounded(given: Tensors) -> Tensors:
    """The same numbers as float32 that a bfloat16 can hold."""
    return Tensors(*(tensor.to(BF16).float() for tensor in given))


def poison(shape: tuple[int, ...]) -> None:
    """Leave NaN in the block of memory that the next tensor of this size gets from torch's allocator."""
    torch.full(shape, torch.nan, dtype=BF16, device=CUDA)


def unturned(step: Case, head_dim: int) -> torch.Tensor:
    """A rotary table that leaves every position as it is."""
    positions = max(start + length for start, length in zip(step.starts, step.lengths, strict=True))
    return torch.tensor([1.0, 0.0], device=CUDA).repeat_interleave(head_dim // 2).repeat(positions, 1)


def attend(kernels: CudaKernels, step: Case, given: Tensors) -> tuple[torch.Tensor, torch.Tensor]:
    """(attention's output, the cache afterwards), float32 on the CPU; q, k and v are views of one tensor."""
    heads, kv_heads = given.q.shape[1], given.k.shape[1]
    fused = torch.cat((given.q, given.k, given.v), dim=1).to(CUDA, BF16)
    q, k, v = fused.split((heads, kv_heads, kv_heads), dim=1)
    kv = given.kv.to(CUDA, BF16)
    plan = kernels.plan(step.starts, step.lengths, step.page_tables)
    poison(tuple(q.shape))
    out = kernels.rotate_and_attend(plan, kv, q, k, v, unturned(step, given.q.shape[-1]))
    return out.float().cpu(), kv.float().cpu()


def assert_attends(kernels: CudaKernels, step: Case, given: Tensors) -> None:
    given = rounded(given)
    out, kv = attend(kernels, step, given)
    assert_near(out, attended(step, given), ATTENTION)
    torch.testing.assert_close(kv, written(step, given), rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
@pytest.mark.parametrize("heads", HEADS.values(), ids=HEADS)
def test_attention_for_every_group_size(step: tuple[list[int], list[int]], heads: tuple[int, int]) -> None:
    this = case(*step, page_size=16)
    assert_attends(kernels_for_case(this, *heads, head_dim=64), this, tensors(this, *heads, head_dim=64))


@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
@pytest.mark.parametrize("page_size", [1, 16, 64])
def test_attention_with_large_heads_for_every_page_size(step: tuple[list[int], list[int]], page_size: int) -> None:
    this = case(*step, page_size=page_size)
    assert_attends(kernels_for_case(this, 8, 2, head_dim=128), this, tensors(this, 8, 2, head_dim=128))


def test_attention_agrees_with_the_cpu_kernels() -> None:
    this = case(*STEPS["mixed"], page_size=16)
    given = rounded(tensors(this, 8, 2, head_dim=64))
    out, _ = attend(kernels_for_case(this, 8, 2, head_dim=64), this, given)
    cpu = CpuKernels(16)
    plan = cpu.plan(this.starts, this.lengths, this.page_tables)
    assert_near(out, cpu.attend(plan, given.kv.clone(), given.q, given.k, given.v), ATTENTION)


def test_steps_of_all_kinds_alternate_on_one_workspace() -> None:
    names = ("decode", "lanes behind prompts", "decode", "prefill chunks", "lanes behind prompts", "mixed")
    steps = [case(*STEPS[name], page_size=16) for name in names]
    most_pages = max(steps, key=lambda step: step.num_pages)
    kernels = kernels_for_case(most_pages, 8, 2, head_dim=64)
    for seed, step in enumerate(steps):
        assert_attends(kernels, step, tensors(step, 8, 2, head_dim=64, seed=seed))


def test_lanes_behind_prompts_have_the_bits_of_a_step_of_their_own() -> None:
    this = case(*STEPS["lanes behind prompts"], page_size=16)
    prompts, rows = 2, sum(this.lengths[:2])
    starts, lengths, page_tables = (each[prompts:] for each in (this.starts, this.lengths, this.page_tables))
    given = rounded(tensors(this, 8, 2, head_dim=128))
    kernels = kernels_for_case(this, 8, 2, head_dim=128)
    assert isinstance(kernels.plan(this.starts, this.lengths, this.page_tables), PackedPlan)
    packed, _ = attend(kernels, this, given)
    lanes = this._replace(starts=starts, lengths=lengths, page_tables=page_tables)
    alone, _ = attend(kernels, lanes, Tensors(given.kv, given.q[rows:], given.k[rows:], given.v[rows:]))
    torch.testing.assert_close(packed[rows:], alone, rtol=0, atol=0)


def test_a_packed_step_is_not_divided_where_bits_may_not_depend_on_the_company() -> None:
    this = case(*STEPS["lanes behind prompts"], page_size=16)
    kernels = kernels_for_case(this, 8, 2, head_dim=128, is_deterministic=True)
    assert isinstance(kernels.plan(this.starts, this.lengths, this.page_tables), PromptPlan)


@pytest.mark.parametrize("name", ["decode", "mixed", "lanes behind prompts"])
def test_one_plan_serves_every_layer(name: str) -> None:
    this = case(*STEPS[name], page_size=16)
    kernels = kernels_for_case(this, 8, 2, head_dim=64)
    plan = kernels.plan(this.starts, this.lengths, this.page_tables)
    for seed in (1, 2, 3):
        given = rounded(tensors(this, 8, 2, head_dim=64, seed=seed))
        kv, q, k, v = (tensor.to(CUDA, BF16) for tensor in given)
        out = kernels.rotate_and_attend(plan, kv, q, k, v, unturned(this, 64))
        assert_near(out, attended(this, given), ATTENTION)


@pytest.fixture(scope="module")
def kernels() -> CudaKernels:
    """For the operations that have nothing to do with pages."""
    return kernels_for_case(case([0], [1], page_size=16), 8, 2, head_dim=64)


@pytest.mark.parametrize("rows", [1, 7, 300])
@pytest.mark.parametrize("hidden", [64, 384, 4096])
def test_rms_norm(kernels: CudaKernels, rows: int, hidden: int) -> None:
    x, weight = torch.randn(rows, hidden).to(BF16), torch.randn(hidden).to(BF16)
    on_gpu = x.to(CUDA), weight.to(CUDA)
    poison((rows, hidden))
    out = kernels.rms_norm(*on_gpu, 1e-5)
    assert_near(out, CpuKernels(16).rms_norm(x.float(), weight.float(), 1e-5), ELEMENTWISE)
    assert torch.equal(on_gpu[0].cpu(), x)


@pytest.mark.parametrize("rows", [1, 7, 300])
@pytest.mark.parametrize("head_dim", [64, 128])
def test_rms_norm_of_each_head_of_a_view(kernels: CudaKernels, rows: int, head_dim: int) -> None:
    fused, weight = torch.randn(rows, 12, head_dim).to(BF16), torch.randn(head_dim).to(BF16)
    on_gpu = fused.to(CUDA)
    poison((rows, 8, head_dim))
    out = kernels.rms_norm(on_gpu[:, :8], weight.to(CUDA), 1e-5)
    assert_near(out, CpuKernels(16).rms_norm(fused[:, :8].float(), weight.float(), 1e-5), ELEMENTWISE)
    assert torch.equal(on_gpu.cpu(), fused)


@pytest.mark.parametrize("rows", [1, 7, 300])
@pytest.mark.parametrize("hidden", [64, 384, 4096])
def test_add_rms_norm(kernels: CudaKernels, rows: int, hidden: int) -> None:
    x, residual = torch.randn(rows, hidden).to(BF16), torch.randn(rows, hidden).to(BF16)
    weight = torch.randn(hidden).to(BF16)
    normed, total = kernels.add_rms_norm(x.to(CUDA), residual.to(CUDA), weight.to(CUDA), 1e-5)
    expected = CpuKernels(16).add_rms_norm(x.float(), residual.float(), weight.float(), 1e-5)
    assert_near(normed, expected[0], ELEMENTWISE)
    assert_near(total, expected[1], ELEMENTWISE)


@pytest.mark.parametrize("rows", [1, 7, 300])
@pytest.mark.parametrize("size", [40, 352, 14336])
def test_silu_and_mul(kernels: CudaKernels, rows: int, size: int) -> None:
    gate_up = torch.randn(rows, 2 * size).to(BF16)
    on_gpu = gate_up.to(CUDA)
    poison((rows, size))
    out = kernels.silu_and_mul(on_gpu)
    assert_near(out, CpuKernels(16).silu_and_mul(gate_up.float()), ELEMENTWISE)


@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
def test_positions_are_given_as_on_the_cpu(step: tuple[list[int], list[int]], llama: ModelConfig) -> None:
    this = case(*step, page_size=16)
    given = rounded(tensors(this, 8, 2, head_dim=64))
    cos_sin = cos_sin_table(llama, 4096, torch.device("cpu"))
    kernels, cpu = kernels_for_case(this, 8, 2, head_dim=64), CpuKernels(16)
    kv, q, k, v = (tensor.to(CUDA, BF16) for tensor in given)
    out = kernels.rotate_and_attend(
        kernels.plan(this.starts, this.lengths, this.page_tables), kv, q, k, v, cos_sin.to(CUDA)
    )
    cpu_kv = given.kv.clone()
    plan = cpu.plan(this.starts, this.lengths, this.page_tables)
    assert_near(out, cpu.rotate_and_attend(plan, cpu_kv, given.q, given.k, given.v, cos_sin), ATTENTION)
    torch.testing.assert_close(kv.float().cpu(), cpu_kv, rtol=ELEMENTWISE, atol=ELEMENTWISE, equal_nan=True)


@pytest.mark.parametrize("name", ["decode", "mixed", "lanes behind prompts"])
def test_everything_runs_on_the_current_stream(name: str) -> None:
    """A capture fails on work for another stream that would wait for it, and a replay runs only what was captured."""
    this = case(*STEPS[name], page_size=16)
    kernels = kernels_for_case(this, 8, 2, head_dim=64)
    given = rounded(tensors(this, 8, 2, head_dim=64))
    kv, q, k, v = (tensor.to(CUDA, BF16) for tensor in given)
    weight, cos_sin = torch.ones(512, dtype=BF16, device=CUDA), unturned(this, 64)

    def step() -> tuple[torch.Tensor, torch.Tensor]:
        attention = kernels.rotate_and_attend(plan, kv, q, k, v, cos_sin)
        normed, _ = kernels.add_rms_norm(
            kernels.rms_norm(attention.flatten(1), weight, 1e-5), zeros.clone(), weight, 1e-5
        )
        return attention, kernels.silu_and_mul(torch.cat((normed, torch.ones_like(normed)), dim=-1))

    zeros = torch.zeros(len(q), 512, dtype=BF16, device=CUDA)
    graph, side = torch.cuda.CUDAGraph(), torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        plan = kernels.plan(this.starts, this.lengths, this.page_tables)
        warm = [tensor.clone() for tensor in step()]
        side.synchronize()
        with torch.cuda.graph(graph, stream=side):
            captured = step()
        for tensor in captured:
            tensor.fill_(torch.nan)
        graph.replay()
        side.synchronize()
    for again, first in zip(captured, warm, strict=True):
        torch.testing.assert_close(again, first, rtol=0, atol=0)
    assert_near(captured[0], attended(this, given), ATTENTION)


# ── a whole model ───────────────────────────────────────────────────────────────────────────────────────────────────


SHAPE: dict[str, Any] = {
    "hidden_size": 256,
    "intermediate_size": 352,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "head_dim": 64,
}


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> ModelConfig:
    return ModelConfig.load(save_random_model(tmp_path_factory.mktemp("llama"), "llama", **SHAPE))


def kv_spec(config: ModelConfig, dtype: str) -> KVSpec:
    return KVSpec(
        num_layers=config.num_layers,
        num_pages=40,
        page_size=16,
        num_kv_heads=config.num_kv_heads,
        head_dim=config.head_dim,
        dtype=dtype,
    )


def both_weights(config: ModelConfig) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """The same numbers: bfloat16 on the GPU, float32 on the CPU."""
    layout = layout_of(config)
    specs, nbytes = pack(layout, "bfloat16")
    region = torch.zeros(nbytes, dtype=torch.uint8, device=CUDA)
    fill_dummy(region, layout, 0, "bfloat16")
    on_gpu = weights_of(region, specs, "bfloat16")
    return on_gpu, {name: weight.float().cpu() for name, weight in on_gpu.items()}


@torch.inference_mode()
def logits_of(
    config: ModelConfig, weights: dict[str, torch.Tensor], kernels: Kernels, kv: KVSpec, device: torch.device
) -> list[torch.Tensor]:
    """Logits, on the CPU, after a prefill step of two prompts and after a decode step of both."""
    model = Transformer(config, weights, kernels, max_positions=512)
    layers = torch.zeros(kv.num_layers, *kv.layer_shape, dtype=getattr(torch, kv.dtype), device=device).unbind(0)
    source = torch.Generator().manual_seed(0)
    logits = []
    for starts, lengths in (([0, 0], [50, 21]), ([50, 21], [1, 1])):
        token_ids = torch.randint(0, config.vocab_size, (sum(lengths),), generator=source)
        last_rows = torch.tensor(lengths).cumsum(0) - 1
        plan = kernels.plan(starts, lengths, [[7, 3, 9, 1], [12, 30, 2]])
        logits.append(model.forward(token_ids.to(device), plan, layers, last_rows.to(device)).cpu())
    return logits


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3"])
def test_logits_of_a_model_agree_with_the_cpu(family: str, tmp_path: Path) -> None:
    """The error's deviation is below 5 % of the logits' own."""
    config = ModelConfig.load(save_random_model(tmp_path, family, **SHAPE))
    gpu_weights, cpu_weights = both_weights(config)
    gpu_kv, cpu_kv = kv_spec(config, "bfloat16"), kv_spec(config, "float32")
    given = logits_of(config, gpu_weights, CudaKernels(gpu_kv, config.num_heads, CUDA), gpu_kv, CUDA)
    wanted = logits_of(config, cpu_weights, CpuKernels(cpu_kv.page_size), cpu_kv, torch.device("cpu"))
    for on_gpu, on_cpu in zip(given, wanted, strict=True):
        assert on_gpu.dtype is torch.float32
        assert (on_gpu - on_cpu).std() < 0.05 * on_cpu.std()


def test_a_runner_serves_chunks_and_lanes_alike_on_another_stream(llama: ModelConfig) -> None:
    """The prompt in one chunk, or in pieces beside a decode lane: the same greedy token."""
    on_gpu, _ = both_weights(llama)
    kv = kv_spec(llama, "bfloat16")
    region = torch.zeros(kv.nbytes, dtype=torch.uint8, device=CUDA)
    runner = build_runner(llama, on_gpu, region, kv, "cuda", CUDA)
    greedy = SamplingParams(max_tokens=1, temperature=0.0)
    prompt = torch.randint(0, llama.vocab_size, (60,), generator=torch.Generator().manual_seed(1)).tolist()
    with torch.cuda.stream(torch.cuda.Stream()):
        (whole,) = runner.step([Segment(prompt, 0, [5, 4, 3, 2], greedy, 0)])
        lane = Segment(prompt[:1], 0, [30], greedy, 0)
        pages = [9, 20, 8, 21]
        assert runner.step([lane, Segment(prompt[:20], 0, pages, None, 0)])[1] is None
        assert runner.step([Segment(prompt[20:40], 20, pages, None, 0)]) == [None]
        assert runner.step([Segment(prompt[40:], 40, pages, greedy, 0), lane])[0] == whole


def test_steps_launched_ahead_draw_what_they_draw_one_by_one(llama: ModelConfig) -> None:
    """Chunks of a prompt beside two lanes, the steps one behind the other without a look at what they draw."""
    on_gpu, _ = both_weights(llama)
    kv = kv_spec(llama, "bfloat16")
    region = torch.zeros(kv.nbytes, dtype=torch.uint8, device=CUDA)
    runner = build_runner(llama, on_gpu, region, kv, "cuda", CUDA)
    greedy = SamplingParams(max_tokens=9, temperature=0.0)
    drawing = SamplingParams(max_tokens=9, temperature=0.8, seed=7)
    prompt = torch.randint(0, llama.vocab_size, (192,), generator=torch.Generator().manual_seed(1)).tolist()

    def segments(step: int, first: int, last_tokens: list[int]) -> list[Segment]:
        chunk = Segment(prompt[32 * step : 32 * step + 32], 32 * step, [*range(first, first + 12)], None, 0)
        lanes = zip(last_tokens, ([first + 13], [first + 14]), (greedy, drawing), strict=True)
        return [chunk, *(Segment([token], step, pages, params, step) for token, pages, params in lanes)]

    with torch.cuda.stream(torch.cuda.Stream()):
        one_by_one, last_tokens = [], [3, 4]
        for step in range(6):
            _, *drawn = runner.step(segments(step, 1, last_tokens))
            last_tokens = [choice.token_id for choice in drawn if choice]
            one_by_one.append(last_tokens)
        steps = [runner.launch(segments(0, 20, [3, 4]))]
        for step in range(1, 6):
            steps.append(runner.launch(segments(step, 20, [0, 0]), Fed(steps[-1], {1: 1, 2: 2})))
        ahead = [[choice.token_id for choice in step.tokens() if choice] for step in steps]
    assert ahead == one_by_one


@pytest.mark.parametrize(
    "choice",
    [
        {},
        {"top_k": 20},
        {"top_p": 0.8},
        {"top_k": 300, "top_p": 0.9, "min_p": 0.01},
        {"temperature": 0.0},
        {"temperature": 0.0, "logit_bias": {7: 50.0, 10**6: 1.0}},
        {"repetition_penalty": 1.5, "frequency_penalty": 0.5, "presence_penalty": 0.5},
        {"min_tokens": 40, "stop_token_ids": (1, 2, 3)},
    ],
    ids=str,
)
def test_the_sampler_draws_the_cpus_tokens(choice: dict[str, Any]) -> None:
    logits = torch.randn(64, 5000, generator=torch.Generator().manual_seed(0)) * 3
    params = [SamplingParams(max_tokens=1, seed=row, **choice) for row in range(64)]
    histories = [History.wanted_by(each, list(range(row, 5000, 3)), 500) for row, each in enumerate(params)]
    on_gpu = Sampler().sample(logits.to(CUDA), params, range(64), histories)
    assert on_gpu.tolist() == Sampler().sample(logits, params, range(64), histories).tolist()


def test_logprobs_are_the_cpus() -> None:
    logits = torch.randn(8, 5000, generator=torch.Generator().manual_seed(0)) * 3
    params = [SamplingParams(max_tokens=1, logprobs=row or None) for row in range(8)]
    on_gpu = with_logprobs(torch.arange(8, device=CUDA), logits.to(CUDA), params)
    for given, wanted in zip(on_gpu, with_logprobs(torch.arange(8), logits, params), strict=True):
        assert given.token_id == wanted.token_id
        assert given.logprob == pytest.approx(wanted.logprob, abs=1e-4)
        assert [token_id for token_id, _ in given.top_logprobs] == [token_id for token_id, _ in wanted.top_logprobs]
