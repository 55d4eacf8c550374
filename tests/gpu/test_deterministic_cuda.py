"""The same bits of logits on any part of the chip, alone and among neighbours, once and again.

Prompts are computed as the scheduler cuts them, a chunk of one prompt a step, and decode in graphs of one size. Lengths
are those where something changes: one token, a page, a chunk, one token more than a chunk, several pieces of attention.
"""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.allocation import Phase, SMAllocation, Splitter
from engine.device.device import Device, Partition
from engine.device.open_device import open_device
from engine.kernels.cuda import CudaKernels
from engine.model.checkpoint import fill_dummy, weights_of
from engine.model.config import ModelConfig
from engine.model.decode_graphs import GraphDecodeRunner
from engine.model.decode_runner import decode_runner_for
from engine.model.lane import Lane
from engine.model.layout import layout_of, pack
from engine.model.runner import build_runner
from engine.model.segment import Segment
from engine.request import SamplingParams
from engine.resident.manifest import KVSpec
from tests.checkpoints import save_random_llama
from tests.system.appliance import Appliance, running_appliance

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(find_spec("flashinfer") is None, reason="FlashInfer is not installed"),
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
    pytest.mark.timeout(900),  # the first use of a kernel compiles it
    pytest.mark.filterwarnings("ignore:::(flashinfer|cutlass|tvm_ffi)"),  # theirs to mend
]

PAGE_SIZE, NUM_PAGES = 16, 2500
CHUNK, ROWS, STEPS = 256, 64, 24
LENGTHS = [1, 16, 100, 255, 256, 257, 513, 1000, 3000]
GREEDY = SamplingParams(max_tokens=10_000, temperature=0.0)
WHOLE = SMAllocation(100, 100)
PARTS = [WHOLE, SMAllocation(20, 80), SMAllocation(48, 52), SMAllocation(76, 24), SMAllocation(84, 16)]

Logits = list[torch.Tensor]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ModelConfig:
    """Wide enough for the matrix kernels of large models, and for query heads that share a KV head."""
    path: Path = tmp_path_factory.mktemp("llama")
    shape: dict[str, Any] = {"hidden_size": 2048, "intermediate_size": 5632, "num_hidden_layers": 3, "head_dim": 128}
    heads: dict[str, Any] = {"num_attention_heads": 16, "num_key_value_heads": 4, "max_position_embeddings": 4096}
    save_random_llama(path, vocab_size=8192, **shape, **heads)
    return ModelConfig.load(path)


@pytest.fixture(scope="module")
def device() -> Device:
    return open_device("cuda", "0")


@pytest.fixture(scope="module")
def weights(model: ModelConfig, device: Device) -> dict[str, torch.Tensor]:
    layout = layout_of(model)
    specs, nbytes = pack(layout, "bfloat16")
    region = torch.zeros(nbytes, dtype=torch.uint8, device=device.torch_device)
    fill_dummy(region, layout, 0, "bfloat16")
    return weights_of(region, specs, "bfloat16")


@pytest.fixture
def prompts() -> list[list[int]]:
    draw = random.Random(3)
    return [[draw.randrange(8192) for _ in range(length)] for length in LENGTHS]


class Server:
    """A prefill and a decode worker of one group, in one process: each phase in its part of the chip.

    Pages are given in no order, another one for every `seed`, and hold large numbers before they are written.
    """

    def __init__(
        self,
        config: ModelConfig,
        weights: dict[str, torch.Tensor],
        device: Device,
        split: SMAllocation = WHOLE,
        seed: int = 0,
    ):
        self._device = device
        self._parts = {phase: device.partition(phase, split, Splitter.GREEN) for phase in Phase}
        kv = KVSpec(config.num_layers, NUM_PAGES, PAGE_SIZE, config.num_kv_heads, config.head_dim, "bfloat16")
        numbers = torch.full((kv.nbytes // 2,), 77.0, dtype=torch.bfloat16, device=device.torch_device)
        where = (numbers.view(torch.uint8), kv, "cuda", device.torch_device)
        self._free = random.Random(seed).sample(range(1, NUM_PAGES), NUM_PAGES - 1)
        self._prefill_logits = torch.empty(0)
        with self._step(Phase.PREFILL):
            sm_count = self._parts[Phase.PREFILL].sm_count
            self._prefill = build_runner(config, weights, *where, sm_count, is_deterministic=True)
        with self._step(Phase.DECODE):
            sm_count = self._parts[Phase.DECODE].sm_count
            runner = build_runner(config, weights, *where, sm_count, is_deterministic=True)
            assert isinstance(runner.kernels, CudaKernels)
            graphs = decode_runner_for(runner, ROWS, is_deterministic=True)
            assert isinstance(graphs, GraphDecodeRunner)
            self.graphs, self.model = graphs, runner.model
        device.synchronize()
        self._watch_prefill()

    def _watch_prefill(self) -> None:
        forward = self._prefill.model.forward

        def kept(*arguments: Any) -> torch.Tensor:
            self._prefill_logits = forward(*arguments)
            return self._prefill_logits

        self._prefill.model.forward = kept  # type: ignore[method-assign]

    def _step(self, phase: Phase):
        return self._parts[phase].step()

    def prefill(self, prompt: list[int]) -> tuple[Lane, Logits]:
        """A lane ready to decode, and the logits of its first token."""
        pages = [self._free.pop() for _ in range(-(-(len(prompt) + STEPS + 1) // PAGE_SIZE))]
        drawn, logits = None, torch.empty(0)
        for start in range(0, len(prompt), CHUNK):
            tokens, is_last = prompt[start : start + CHUNK], start + CHUNK >= len(prompt)
            with self._step(Phase.PREFILL):
                (drawn,) = self._prefill.step([Segment(tokens, start, pages, GREEDY if is_last else None, 0)])
                logits = self._prefill_logits[-1:].clone()
        self._device.synchronize()
        assert drawn is not None
        return Lane(id(pages), drawn.token_id, len(prompt), 1, pages, GREEDY, None), list(logits)

    def decode(self, lanes: Sequence[Lane], part: Partition | None = None) -> Logits:
        """A step, in the phase's own part or in another that was prepared; the logits of each lane."""
        with (part or self._parts[Phase.DECODE]).step():
            step = self.graphs.launch(lanes)
            drawn = step.tokens()
            logits = step.logits[step.slots].clone()
        self._device.synchronize()
        for lane, choice in zip(lanes, drawn, strict=True):
            lane.token_id, lane.position, lane.output_index = choice.token_id, lane.position + 1, lane.output_index + 1
        return list(logits)

    def release(self, lane: Lane) -> None:
        """Its pages go to the next who comes."""
        self._free += lane.pages


Make = Callable[..., Server]


@pytest.fixture
def make(model: ModelConfig, weights: dict[str, torch.Tensor], device: Device) -> Make:
    return lambda *arguments, **named: Server(model, weights, device, *arguments, **named)


def one_by_one(server: Server, prompts: list[list[int]], steps: int = STEPS) -> list[Logits]:
    """What each prompt gives while nothing else is there."""
    answers = []
    for prompt in prompts:
        lane, logits = server.prefill(prompt)
        answers.append(logits)
        for _ in range(steps):
            logits += server.decode([lane])
        server.release(lane)
    return answers


def assert_same_bits(given: list[Logits], wanted: list[Logits]) -> None:
    for number, (some, others) in enumerate(zip(given, wanted, strict=True)):
        assert len(some) == len(others)
        for token, (one, other) in enumerate(zip(some, others, strict=True)):
            assert one.isfinite().all()
            assert torch.equal(one, other), f"prompt of {LENGTHS[number]} tokens, output {token}"


@pytest.mark.parametrize("split", PARTS[1:], ids=str)
def test_a_part_of_the_chip_gives_the_whole_chips_bits(
    make: Make, prompts: list[list[int]], split: SMAllocation
) -> None:
    assert_same_bits(one_by_one(make(split), prompts), one_by_one(make(WHOLE), prompts))


@pytest.mark.parametrize("split", [WHOLE, SMAllocation(48, 52)], ids=str)
def test_neighbours_change_no_bit(make: Make, prompts: list[list[int]], split: SMAllocation) -> None:
    """Sixty-four lanes join one by one and take part in some of the steps: in another row, beside others, each time."""
    draw, server = random.Random(7), make(split, seed=1)
    names = [number for number in range(len(prompts)) for _ in range(7)] + [0]
    draw.shuffle(names)
    lanes, seen = list[Lane](), list[Logits]()
    while any(len(logits) <= STEPS for logits in seen) or len(lanes) < len(names):
        if len(lanes) < len(names):
            lane, logits = server.prefill(prompts[names[len(lanes)]][:600])
            lanes.append(lane)
            seen.append(logits)
        unfinished = [at for at in range(len(lanes)) if len(seen[at]) <= STEPS]
        taking_part = draw.sample(unfinished, draw.randint(1, len(unfinished)))
        for at, logits in zip(taking_part, server.decode([lanes[at] for at in taking_part]), strict=True):
            seen[at].append(logits)
    alone = one_by_one(make(WHOLE), [prompt[:600] for prompt in prompts])
    assert_same_bits([seen[names.index(number)] for number in range(len(prompts))], alone)
    for at, name in enumerate(names):
        assert all(torch.equal(one, other) for one, other in zip(seen[at], alone[name], strict=True)), (at, name)


def test_what_was_preempted_draws_the_same_again(make: Make, prompts: list[list[int]]) -> None:
    """Half way its pages go to another; then it begins anew, in other pages and another part."""
    undisturbed = one_by_one(make(WHOLE), prompts)
    server = make(SMAllocation(48, 52), seed=2)
    half = one_by_one(server, prompts, steps=STEPS // 2)
    one_by_one(server, prompts[::-1], steps=3)
    again = one_by_one(server, prompts)
    assert_same_bits(half, [logits[: STEPS // 2 + 1] for logits in undisturbed])
    assert_same_bits(again, undisturbed)


def test_borrowing_and_changes_in_place_change_no_bit(make: Make, prompts: list[list[int]], device: Device) -> None:
    """Each step runs in another part than the one before it."""
    server = make(SMAllocation(48, 52))
    parts = [device.partition(Phase.DECODE, split, Splitter.GREEN) for split in PARTS]
    for part in parts:
        with part.step():
            for _ in server.graphs.captures(server.model):
                pass
    device.synchronize()
    prepared = [server.prefill(prompt) for prompt in prompts]
    for step in range(STEPS):
        found = server.decode([lane for lane, _ in prepared], parts[step % len(parts)])
        for (_, logits), each in zip(prepared, found, strict=True):
            logits.append(each)
    assert_same_bits([logits for _, logits in prepared], one_by_one(make(WHOLE), prompts))


# ── the whole appliance ─────────────────────────────────────────────────────────────────────────────────────────────

OPTIONS = ["--deterministic", "--prefill-token-budget", "64", "--max-running-requests", "12", "--max-model-len", "512"]
SMALL_POOL_BYTES = 45 * 57344
"""Pages of the demo model in bfloat16: not enough for twelve at a time."""


def ask(appliance: Appliance, prompt: list[int]) -> tuple[list[int], list[float]]:
    body: dict[str, Any] = {"temperature": 0, "max_tokens": 60, "ignore_eos": True, "logprobs": 1}
    answer = appliance.post("/v1/completions", prompt=prompt, return_token_ids=True, **body)["choices"][0]
    return answer["token_ids"], answer["logprobs"]["token_logprobs"]


@pytest.fixture(scope="module")
def texts() -> list[list[int]]:
    draw = random.Random(5)
    texts = [[draw.randrange(8192) for _ in range(length)] for length in (1, 16, 63, 64, 65, 129, 200, 300)]
    return texts + [[*draw.choice(texts), *range(1, draw.randint(2, 60))] for _ in range(8)]


@pytest.fixture(scope="module")
def alone(texts: list[list[int]], tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[tuple]]:
    home = tmp_path_factory.mktemp("alone")
    with running_appliance(home, *OPTIONS, "--kv-memory-bytes", str(2**30), device="cuda") as appliance:
        yield [ask(appliance, text) for text in texts]


@pytest.mark.system
def test_rotations_preemption_and_neighbours_change_no_token(
    texts: list[list[int]], alone: list[tuple], tmp_path: Path
) -> None:
    options = [*OPTIONS, "--kv-memory-bytes", str(SMALL_POOL_BYTES), "--prefill", "50", "--decode", "50"]
    with running_appliance(tmp_path, *options, device="cuda") as appliance, ThreadPoolExecutor(12) as clients:
        asked = [clients.submit(ask, appliance, text) for text in texts * 6]
        for prefill, *more in (["30"], ["70", "--new-group"], ["50"]):
            command = ["rotate", "--prefill", prefill, "--decode", str(100 - int(prefill)), *more]
            subprocess.run([sys.executable, "-m", "appliance", *command], env=appliance.serve.environment, check=True)
        answers = [each.result() for each in asked]
        assert appliance.status["scheduler"]["preemptions"] > 0
    for at, answer in enumerate(answers):
        assert answer == alone[at % len(texts)], at % len(texts)
