"""Parts of a real GPU that a worker changes among: the same tokens from each set of graphs, and steps that wait for the
last wherever it ran.

Sums do not depend on the part, but for steps of one row (`engine.kernels.thin_linear`), of which there are none here.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

import pytest
import torch

from engine.allocation import Phase, SMAllocation, Splitter
from engine.device.open_device import open_device
from engine.model.config import ModelConfig
from engine.model.lane import Lane
from engine.worker.parts import Parts
from engine.worker.preparation import Preparation
from tests.gpu.test_decode_graphs import CONTEXTS, Pool, Served, llama, weights

__all__ = ["llama", "weights"]  # fixtures

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(find_spec("flashinfer") is None, reason="FlashInfer is not installed"),
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
    pytest.mark.timeout(900),  # the first use of a kernel compiles it
    pytest.mark.filterwarnings("ignore:::(flashinfer|cutlass|tvm_ffi)"),  # theirs to mend
]

SHARES = [52, 24, 100]


@pytest.fixture(scope="module")
def device() -> Any:
    return open_device("cuda", "0")


class InParts:
    """A decode runner with graphs in every part of `SHARES`, the first in force when it was made."""

    def __init__(self, device: Any, llama: ModelConfig, weights: dict[str, torch.Tensor]):
        self.parts = Parts(device, Phase.DECODE, Splitter.GREEN, SHARES[0], may_change=True)
        with self.parts.step(self.parts.in_force):
            self.served = Served(llama, weights)
        model = self.served.runner.model
        self.preparation = Preparation(self.parts, SHARES[1:], lambda part: self.served.graphs.captures(model))
        self.pool = Pool()

    def prepared(self) -> InParts:
        self.preparation.advance_while(lambda: True)
        return self

    def lanes(self) -> list[Lane]:
        return [self.pool.lane(context) for context in CONTEXTS]

    def run(self, lanes: list[Lane], shares: Sequence[int], ahead: bool) -> list[list[int]]:
        """Tokens of each step; step i runs in the part of `shares[i]`."""
        seen, flight = [], []
        for share in shares:
            with self.parts.step(self.parts.of_share(share)):
                flight.append(self.served.graphs.launch(lanes))
                for lane in lanes:
                    self.pool.advance(lane, -1)  # the device knows the token
                while len(flight) > int(ahead):
                    seen.append([choice.token_id for choice in flight.pop(0).tokens()])
        return seen + [[choice.token_id for choice in step.tokens()] for step in flight]


@pytest.fixture
def one_part(device: Any, llama: ModelConfig, weights: dict[str, torch.Tensor]) -> InParts:
    return InParts(device, llama, weights)


@pytest.fixture
def several(device: Any, llama: ModelConfig, weights: dict[str, torch.Tensor]) -> InParts:
    return InParts(device, llama, weights).prepared()


def test_parts_that_come_out_as_the_same_sms_share_a_stream(device: Any) -> None:
    def stream_of(prefill: int, decode: int) -> torch.cuda.Stream:
        return device.partition(Phase.DECODE, SMAllocation(prefill, decode), Splitter.GREEN).stream

    assert stream_of(48, 52) == stream_of(49, 51)
    assert stream_of(48, 52) != stream_of(76, 24)
    assert stream_of(100, 100) == stream_of(80, 100)


@pytest.mark.parametrize("share", SHARES)
def test_each_set_of_graphs_gives_the_same_tokens(one_part: InParts, several: InParts, share: int) -> None:
    steps = 30
    wanted = one_part.run(one_part.lanes(), [SHARES[0]] * steps, ahead=True)
    assert several.run(several.lanes(), [share] * steps, ahead=True) == wanted
    several.parts._device.synchronize()
    one_part.parts._device.synchronize()
    assert torch.equal(several.served.region, one_part.served.region)


@pytest.mark.parametrize("ahead", [False, True])
def test_a_change_of_part_at_any_step_changes_no_token(one_part: InParts, several: InParts, ahead: bool) -> None:
    """Launched ahead, each step reads what the one before it draws, on another stream, while that one is in flight."""
    steps = 60  # as far as the longest lane may go
    wanted = one_part.run(one_part.lanes(), [SHARES[0]] * steps, ahead)
    given = several.run(several.lanes(), [SHARES[step % len(SHARES)] for step in range(steps)], ahead)
    assert given == wanted
    torch.cuda.synchronize()
    assert torch.equal(several.served.region, one_part.served.region)


def test_a_step_waits_for_a_long_one_on_another_stream(device: Any) -> None:
    """Without the event between them the second would read the number before the first has written it."""
    parts = Parts(device, Phase.DECODE, Splitter.GREEN, 24, may_change=True)
    number = torch.zeros(1, dtype=torch.int64, device="cuda")
    torch.cuda.synchronize()
    for turn in range(20):
        with parts.step(parts.in_force if turn % 2 else parts.whole):
            torch.cuda._sleep(20_000_000)
            number.mul_(3).add_(turn)
    torch.cuda.synchronize()
    wanted = 0
    for turn in range(20):
        wanted = 3 * wanted + turn
    assert number.item() == wanted


def test_preparing_another_part_while_lanes_stand_touches_none_of_their_pages(
    one_part: InParts, llama: ModelConfig, weights: dict[str, torch.Tensor]
) -> None:
    """It is done when the worker has nothing to do, and rows then still name pages, which may be others' by now."""
    lanes = one_part.lanes()
    before = one_part.run(lanes, [SHARES[0]] * 5, ahead=False)
    torch.cuda.synchronize()
    pages = one_part.served.pages.clone()
    one_part.prepared()
    torch.cuda.synchronize()
    assert torch.equal(one_part.served.pages[:, 1:], pages[:, 1:]), "only page 0 is written"
    after = one_part.run(lanes, [SHARES[1], SHARES[2], SHARES[0]] * 3, ahead=True)
    undisturbed = InParts(one_part.parts._device, llama, weights)
    assert undisturbed.run(undisturbed.lanes(), [SHARES[0]] * 14, ahead=False) == before + after


def test_a_stream_without_graphs_is_no_place_to_launch(one_part: InParts) -> None:
    with pytest.raises(KeyError), one_part.parts.step(one_part.parts.whole):
        one_part.served.graphs.launch(one_part.lanes())
