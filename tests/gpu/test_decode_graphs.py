"""Decode steps as CUDA graphs against the same steps computed one kernel at a time, on two KV caches that start equal.

Where lanes fill a bucket and each is one piece of work, both run the same kernels on the same numbers: bits are equal.
Elsewhere sums are added up in another order, in bfloat16, and the error's deviation stays below 2 % of the logits' own.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.allocation import Phase, SMAllocation, Splitter
from engine.device.open_device import open_device
from engine.kernels.cuda import CudaKernels
from engine.model.checkpoint import fill_dummy, weights_of
from engine.model.config import ModelConfig
from engine.model.decode_graphs import GraphDecodeRunner, buckets_up_to
from engine.model.history import History
from engine.model.lane import Lane
from engine.model.layout import layout_of, pack
from engine.model.runner import ModelRunner, build_runner
from engine.model.segment import Drawn
from engine.request import SamplingParams
from engine.resident.manifest import KVSpec
from tests.checkpoints import save_random_llama

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(find_spec("flashinfer") is None, reason="FlashInfer is not installed"),
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
    pytest.mark.timeout(900),  # the first use of a kernel compiles it
    pytest.mark.filterwarnings("ignore:::(flashinfer|cutlass|tvm_ffi)"),  # theirs to mend
]

CUDA = torch.device("cuda", 0)
PAGE_SIZE = 16
NUM_PAGES = 600
BUCKETS = buckets_up_to(12)
GREEDY = SamplingParams(max_tokens=1000, temperature=0.0)
CONTEXTS = [5, 16, 17, 200, 31, 400, 64, 1, 127, 90, 333]


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> ModelConfig:
    path: Path = tmp_path_factory.mktemp("llama")
    save_random_llama(
        path, hidden_size=256, intermediate_size=352, num_attention_heads=8, num_key_value_heads=2, head_dim=64
    )
    return ModelConfig.load(path)


@pytest.fixture(scope="module")
def weights(llama: ModelConfig) -> dict[str, torch.Tensor]:
    layout = layout_of(llama)
    specs, nbytes = pack(layout, "bfloat16")
    region = torch.zeros(nbytes, dtype=torch.uint8, device=CUDA)
    fill_dummy(region, layout, 0, "bfloat16")
    return weights_of(region, specs, "bfloat16")


@pytest.fixture(scope="module")
def side() -> Iterator[torch.cuda.Stream]:
    """Captures need a stream of their own; the tests' tensors are made on it too."""
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        yield stream


class Served:
    """A model over its own KV cache, with two ways to compute a decode step."""

    def __init__(self, config: ModelConfig, weights: dict[str, torch.Tensor]):
        self.kv = KVSpec(
            num_layers=config.num_layers,
            num_pages=NUM_PAGES,
            page_size=PAGE_SIZE,
            num_kv_heads=config.num_kv_heads,
            head_dim=config.head_dim,
            dtype="bfloat16",
        )
        # Numbers of earlier owners, large enough that a wrong read shows, but finite: page 0 is read.
        generator = torch.Generator(CUDA).manual_seed(0)
        values = torch.randn(self.kv.nbytes // 2, device=CUDA, dtype=torch.bfloat16, generator=generator) * 3
        self.region = values.view(torch.uint8)
        self.runner: ModelRunner = build_runner(config, weights, self.region, self.kv, "cuda", CUDA)
        kernels = self.runner.kernels
        assert isinstance(kernels, CudaKernels)
        self.graphs = GraphDecodeRunner(self.runner.model, kernels, self.runner.kv_layers, self.runner.sampler, BUCKETS)

    @property
    def pages(self) -> torch.Tensor:
        """[layers, pages, numbers of a page]."""
        return self.region.view(torch.bfloat16).view(self.kv.num_layers, NUM_PAGES, -1)

    @torch.inference_mode()
    def eager_logits(self, lanes: list[Lane]) -> torch.Tensor:
        """The logits of a step, computed without a graph; K and V are written."""
        plan = self.runner.kernels.plan(
            [lane.position for lane in lanes], [1] * len(lanes), [lane.pages for lane in lanes]
        )
        token_ids, rows = (
            torch.tensor(numbers, device=CUDA) for numbers in ([lane.token_id for lane in lanes], range(len(lanes)))
        )
        return self.runner.model.forward(token_ids, plan, self.runner.kv_layers, rows)

    @torch.inference_mode()
    def graph_logits(self, lanes: list[Lane]) -> torch.Tensor:
        """The logits of a step as a graph, in the rows of the lanes, from memory that held NaN."""
        self.graphs.logits.fill_(torch.nan)
        step = self.graphs.launch(lanes)
        drawn = step.tokens()
        logits = step.logits[step.slots].float()
        assert [choice.token_id for choice in drawn] == logits.argmax(-1).tolist()
        return logits


@pytest.fixture
def pair(llama: ModelConfig, weights: dict[str, torch.Tensor], side: torch.cuda.Stream) -> tuple[Served, Served]:
    return Served(llama, weights), Served(llama, weights)


class Pool:
    """Pages in no order, and lanes over them."""

    def __init__(self, seed: int = 0):
        self._random = random.Random(seed)
        self._free = self._random.sample(range(1, NUM_PAGES), NUM_PAGES - 1)
        self._made = 0

    def lane(self, context: int, sampling: SamplingParams = GREEDY, history: History | None = None) -> Lane:
        """Its next token stands at position `context`; everything before it is in the cache."""
        self._made += 1
        pages = [self._free.pop() for _ in range(context // PAGE_SIZE + 1)]
        return Lane(self._made, self._random.randrange(100), context, 0, pages, sampling, history)

    def advance(self, lane: Lane, drawn: int) -> None:
        """Feed what was drawn next, with a page more where it is needed."""
        lane.token_id = drawn
        lane.position += 1
        lane.output_index += 1
        self.grow(lane)

    def grow(self, lane: Lane) -> None:
        if not lane.has_page(PAGE_SIZE):
            lane.pages.append(self._free.pop())

    def release(self, lane: Lane) -> None:
        self._free += lane.pages


def assert_near(given: torch.Tensor, wanted: torch.Tensor) -> None:
    assert not given.isnan().any()
    assert (given - wanted).std() < 0.02 * wanted.std()


def test_a_full_bucket_of_short_lanes_gives_the_same_bits(pair: tuple[Served, Served]) -> None:
    with_graphs, eager = pair
    pool = Pool()
    lanes = [pool.lane(context) for context in (3, 60, 15, 47)]
    for _ in range(40):
        logits = with_graphs.graph_logits(lanes)
        assert torch.equal(logits, eager.eager_logits(lanes))
        for lane, token_id in zip(lanes, logits.argmax(-1).tolist(), strict=True):
            pool.advance(lane, token_id)
    assert torch.equal(with_graphs.region, eager.region)


@pytest.mark.parametrize("count", [1, 2, 3, 7, 11])
def test_long_lanes_and_padded_buckets_agree(pair: tuple[Served, Served], count: int) -> None:
    with_graphs, eager = pair
    pool = Pool()
    lanes = [pool.lane(context) for context in CONTEXTS[-count:]]
    for _ in range(20):
        logits = with_graphs.graph_logits(lanes)
        assert_near(logits, eager.eager_logits(lanes))
        for lane, token_id in zip(lanes, logits.argmax(-1).tolist(), strict=True):
            pool.advance(lane, token_id)


def test_lanes_join_leave_and_move(pair: tuple[Served, Served]) -> None:
    """Pages of those who left are used again at once by those who join."""
    with_graphs, eager = pair
    source, pool = random.Random(1), Pool(1)
    lanes: list[Lane] = [pool.lane(20)]
    for step in range(120):
        wanted = (1, 9, 3, 12, 2, 6)[step // 20]
        while len(lanes) > wanted or (len(lanes) > 1 and source.random() < 0.3):
            pool.release(lanes.pop(source.randrange(len(lanes))))
        while len(lanes) < wanted:
            lanes.insert(source.randrange(len(lanes) + 1), pool.lane(source.choice(CONTEXTS)))
        logits = with_graphs.graph_logits(lanes)
        assert_near(logits, eager.eager_logits(lanes))
        for lane, token_id in zip(lanes, logits.argmax(-1).tolist(), strict=True):
            pool.advance(lane, token_id)


def test_only_the_lanes_own_slots_and_page_0_are_written(pair: tuple[Served, Served]) -> None:
    with_graphs, _ = pair
    pool = Pool()
    lanes = [pool.lane(context) for context in (33, 80, 200)]
    before = with_graphs.pages.clone()
    with_graphs.graph_logits(lanes)
    changed = {page for _, page in (with_graphs.pages != before).any(-1).nonzero().tolist()}
    assert changed <= {0, *(lane.pages[lane.position // PAGE_SIZE] for lane in lanes)}
    assert len(changed - {0}) == 3
    first, second = (1, 2)  # a lane leaves: its row is one of nobody, until another has it
    before = with_graphs.pages.clone()
    pool.advance(lanes[first], 5)
    pool.advance(lanes[second], 5)
    with_graphs.graph_logits([lanes[first], lanes[second]])
    changed = {page for _, page in (with_graphs.pages != before).any(-1).nonzero().tolist()}
    assert changed <= {0, *(lane.pages[lane.position // PAGE_SIZE] for lane in lanes[first:])}


def run(served: Served, lanes: list[Lane], pool: Pool, steps: int, ahead: bool) -> list[list[int]]:
    """Tokens of each step; with `ahead`, each step but the first is launched before the one before it is seen."""
    seen, flight = [], []
    for _ in range(steps):
        flight.append(served.graphs.launch(lanes))
        for lane in lanes:
            pool.advance(lane, -1)  # the device knows the token
        if not ahead or len(flight) > 1:
            seen.append([choice.token_id for choice in flight.pop(0).tokens()])
    return seen + [[choice.token_id for choice in step.tokens()] for step in flight]


def test_running_ahead_changes_no_token(pair: tuple[Served, Served]) -> None:
    in_turn, ahead = pair
    tokens = []
    for served, runs_ahead in ((in_turn, False), (ahead, True)):
        pool = Pool()
        tokens.append(run(served, [pool.lane(context) for context in CONTEXTS], pool, 50, runs_ahead))
    assert tokens[0] == tokens[1]
    assert torch.equal(in_turn.region, ahead.region)


def test_lanes_that_draw_are_drawn_for_and_the_others_take_the_likeliest(pair: tuple[Served, Served]) -> None:
    served, _ = pair
    pool = Pool()
    drawing = SamplingParams(max_tokens=100, seed=7, temperature=0.9, top_p=0.95)
    lanes = [pool.lane(40), pool.lane(70, drawing), pool.lane(10, replace_seed(drawing, 8))]
    for _ in range(10):
        step = served.graphs.launch(lanes)
        tokens = [choice.token_id for choice in step.tokens()]
        logits = step.logits[step.slots].float()
        params, indices = [lane.sampling for lane in lanes], [lane.output_index for lane in lanes]
        assert tokens == served.runner.sampler.sample(logits, params, indices).tolist()
        assert tokens[0] == logits[0].argmax().item()
        for lane, token_id in zip(lanes, tokens, strict=True):
            pool.advance(lane, token_id)


def replace_seed(params: SamplingParams, seed: int) -> SamplingParams:
    return SamplingParams(params.max_tokens, seed=seed, temperature=params.temperature, top_p=params.top_p)


def test_penalties_and_logprobs_are_those_of_a_plain_step(pair: tuple[Served, Served]) -> None:
    with_graphs, eager = pair
    pool = Pool()
    penalised = SamplingParams(max_tokens=100, temperature=0.0, repetition_penalty=1.3, logprobs=2)
    lanes = [pool.lane(40, penalised, History([1, 2, 3, 4], 2)), pool.lane(70)]
    for _ in range(6):
        given: list[Drawn] = with_graphs.graphs.launch(lanes).tokens()
        wanted = eager.runner.step([lane.segment for lane in lanes])
        assert given == wanted
        assert given[0].logprob is not None and len(given[0].top_logprobs) == 2 and given[1].logprob is None
        for lane, choice in zip(lanes, given, strict=True):
            if lane.history is not None:
                lane.history.append(choice.token_id)
            pool.advance(lane, choice.token_id)


def test_a_part_of_the_chip_gives_the_whole_chips_bits(llama: ModelConfig, weights: dict[str, torch.Tensor]) -> None:
    device: Any = open_device("cuda", "0")
    tokens, regions = [], []
    for allocation in (SMAllocation(100, 100), SMAllocation(48, 52), SMAllocation(76, 24)):
        partition = device.partition(Phase.DECODE, allocation, Splitter.GREEN)
        with partition.step():
            served, pool = Served(llama, weights), Pool()
            tokens.append(run(served, [pool.lane(context) for context in CONTEXTS], pool, 30, ahead=True))
            regions.append(served.region)
        device.synchronize()
    assert tokens[0] == tokens[1] == tokens[2]
    assert torch.equal(regions[0], regions[1]) and torch.equal(regions[0], regions[2])
