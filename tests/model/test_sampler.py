"""The sampler's draws: their distribution, and what they depend on."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch

from engine.model.history import History
from engine.model.sampler import Sampler
from engine.request import SamplingParams

SAMPLER = Sampler()
DRAWS = 4000


def frequencies(logits: torch.Tensor, params: SamplingParams, rounds: int = DRAWS) -> torch.Tensor:
    """How often each token comes in `rounds` draws of one seed."""
    batch = logits.expand(rounds, -1)
    drawn = SAMPLER.sample(batch, [params] * rounds, range(rounds))
    return torch.bincount(drawn, minlength=logits.shape[-1])


def chi_square_bound(degrees: int) -> float:
    """The value a chi-square statistic exceeds in one case of 10,000 (Wilson and Hilferty's approximation)."""
    spread = 2 / (9 * degrees)
    return degrees * (1 - spread + 3.719 * spread**0.5) ** 3


def assert_follows(counts: torch.Tensor, expected: torch.Tensor) -> None:
    """`counts` look like draws from the probabilities `expected`; what has none was never drawn."""
    possible = expected > 0
    assert counts[~possible].sum() == 0
    wanted = expected[possible].double() * counts.sum()
    statistic = ((counts[possible] - wanted) ** 2 / wanted).sum()
    assert statistic < chi_square_bound(max(int(possible.sum()) - 1, 1))


@pytest.fixture
def logits() -> torch.Tensor:
    return torch.randn(12, generator=torch.Generator().manual_seed(3)) * 1.5


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("seed", [0, 1, 2**63 + 5])
def test_draws_follow_softmax_at_the_temperature(logits: torch.Tensor, temperature: float, seed: int) -> None:
    counts = frequencies(logits, SamplingParams(max_tokens=1, seed=seed, temperature=temperature))
    assert_follows(counts, (logits / temperature).softmax(-1))


def test_different_seeds_at_one_index_follow_softmax_too(logits: torch.Tensor) -> None:
    params = [SamplingParams(max_tokens=1, seed=seed) for seed in range(DRAWS)]
    drawn = SAMPLER.sample(logits.expand(DRAWS, -1), params, [7] * DRAWS)
    assert_follows(torch.bincount(drawn, minlength=len(logits)), logits.softmax(-1))


@pytest.mark.parametrize("top_k", [2, 5, 12, 100])
def test_top_k_leaves_the_k_likeliest(logits: torch.Tensor, top_k: int) -> None:
    allowed = torch.zeros(12).scatter(0, logits.topk(min(top_k, 12)).indices, 1.0)
    expected = logits.softmax(-1) * allowed
    assert_follows(frequencies(logits, SamplingParams(max_tokens=1, top_k=top_k)), expected / expected.sum())


def test_top_k_of_one_is_greedy(logits: torch.Tensor) -> None:
    assert frequencies(logits, SamplingParams(max_tokens=1, top_k=1), 50)[logits.argmax()] == 50


def test_top_k_keeps_all_that_tie_with_the_kth() -> None:
    counts = frequencies(torch.tensor([0.0, 2.0, 2.0, 2.0, 1.0]), SamplingParams(max_tokens=1, top_k=2))
    assert_follows(counts, torch.tensor([0, 1 / 3, 1 / 3, 1 / 3, 0]))


@pytest.mark.parametrize(
    ("top_p", "kept"),
    [(0.05, [3]), (0.4, [3]), (0.41, [3, 1]), (0.7, [3, 1]), (0.71, [3, 1, 0]), (0.95, [3, 1, 0, 2])],
)
def test_top_p_leaves_the_fewest_that_reach_p(top_p: float, kept: list[int]) -> None:
    probabilities = torch.tensor([0.2, 0.3, 0.1, 0.4], dtype=torch.float64)
    expected = torch.zeros(4).index_put((torch.tensor(kept),), probabilities[kept].float())
    # A hair below p, so that the sums of these decimals do not hang on the last bit.
    params = SamplingParams(max_tokens=1, top_p=top_p - 1e-6)
    assert_follows(frequencies(probabilities.log().float(), params), expected / expected.sum())


@pytest.mark.parametrize(
    ("choices", "kept"),
    [
        ({"top_p": 0.65}, [3, 0, 1]),
        ({"top_p": 0.65, "top_k": 2}, [3, 0, 1]),
        ({"top_p": 0.95, "top_k": 2}, [3, 0, 1, 2]),
        ({"top_p": 0.1}, [3]),
        ({"top_p": 0.1, "top_k": 5}, [3]),
    ],
    ids=str,
)
def test_of_tokens_that_tie_top_p_keeps_the_first(choices: dict[str, Any], kept: list[int]) -> None:
    """Of 0.2, 0.2, 0.2, 0.4, which top-k 2 leaves as they are, 0.65 is reached by 0.4 and the first two."""
    probabilities = torch.tensor([0.2, 0.2, 0.2, 0.4])
    expected = torch.zeros(4).index_put((torch.tensor(kept),), probabilities[kept])
    counts = frequencies(probabilities.log(), SamplingParams(max_tokens=1, **choices))
    assert_follows(counts, expected / expected.sum())


def test_top_p_counts_after_top_k() -> None:
    """Of 0.4, 0.3, 0.2, 0.1 top-k leaves 4/7 and 3/7: 0.55 is reached by the first alone, which 0.4 of all is not."""
    logits = torch.tensor([0.4, 0.3, 0.2, 0.1]).log()
    assert frequencies(logits, SamplingParams(max_tokens=1, top_k=2, top_p=0.55), 50)[0] == 50
    assert frequencies(logits, SamplingParams(max_tokens=1, top_p=0.55), 200)[1] > 0


@pytest.mark.parametrize("temperature", [0.7, 1.0, 1.8])
@pytest.mark.parametrize("min_p", [0.05, 0.3, 1.0])
def test_min_p_leaves_what_is_likely_enough_beside_the_likeliest(
    logits: torch.Tensor, min_p: float, temperature: float
) -> None:
    probabilities = (logits / temperature).softmax(-1)
    expected = torch.where(probabilities >= min_p * probabilities.max(), probabilities, 0.0)
    params = SamplingParams(max_tokens=1, min_p=min_p, temperature=temperature)
    assert_follows(frequencies(logits, params), expected / expected.sum())


def test_top_p_counts_after_min_p() -> None:
    """Of 0.4, 0.3, 0.2, 0.1 min-p 0.6 leaves 4/7 and 3/7: 0.55 is then reached by the first alone."""
    logits = torch.tensor([0.4, 0.3, 0.2, 0.1]).log()
    assert frequencies(logits, SamplingParams(max_tokens=1, min_p=0.6, top_p=0.55), 50)[0] == 50
    assert frequencies(logits, SamplingParams(max_tokens=1, min_p=0.1, top_p=0.55), 200)[1] > 0


def test_min_p_of_one_row_is_nothing_to_another(logits: torch.Tensor) -> None:
    strict, free = SamplingParams(max_tokens=1, min_p=1.0), SamplingParams(max_tokens=1, temperature=5.0)
    drawn = SAMPLER.sample(logits.expand(60, -1), [strict, free] * 30, range(60)).tolist()
    assert set(drawn[::2]) == {int(logits.argmax())}
    assert len(set(drawn[1::2])) > 3


def test_a_draw_depends_on_seed_index_history_and_logits_alone() -> None:
    """The same row gives the same token alone, in any row of any batch, beside any other kind of request."""
    generator = torch.Generator().manual_seed(0)
    source = random.Random(0)
    batch = torch.randn(24, 97, generator=generator) * 2
    params = [
        SamplingParams(
            max_tokens=1,
            seed=source.getrandbits(64),
            temperature=source.choice([0.0, 0.7, 1.0, 1.6]),
            top_k=source.choice([0, 0, 5, 40]),
            top_p=source.choice([1.0, 1.0, 0.9, 0.5]),
            min_p=source.choice([0.0, 0.0, 0.1]),
            repetition_penalty=source.choice([1.0, 1.0, 1.7]),
            frequency_penalty=source.choice([0.0, 0.0, 0.9]),
            logit_bias=source.choice([{}, {}, {5: 4.0, 6: -3.0}]),
        )
        for _ in range(24)
    ]
    indices = [source.randrange(1000) for _ in range(24)]
    tokens = [[source.randrange(97) for _ in range(40)] for _ in range(24)]
    histories = [History.wanted_by(params[row], tokens[row], source.randrange(40)) for row in range(24)]

    def drawn(rows: list[int]) -> list[int]:
        return SAMPLER.sample(
            batch[rows],
            [params[row] for row in rows],
            [indices[row] for row in rows],
            [histories[row] for row in rows],
        ).tolist()

    alone = [drawn([row])[0] for row in range(24)]
    for _ in range(5):
        order = source.sample(range(24), k=source.randint(2, 24))
        assert drawn(order) == [alone[row] for row in order]


def test_seed_and_index_both_matter(logits: torch.Tensor) -> None:
    def drawn(seed: int, first: int) -> list[int]:
        params = [SamplingParams(max_tokens=1, seed=seed)] * 40
        return SAMPLER.sample(logits.expand(40, -1), params, range(first, first + 40)).tolist()

    assert drawn(1, 0) == drawn(1, 0)
    assert drawn(1, 0) != drawn(2, 0)
    assert drawn(1, 0) != drawn(1, 40)
    # Neighbouring seeds must not walk one sequence at different offsets.
    assert drawn(1, 1) != drawn(2, 0)


def test_greedy_rows_take_the_largest_logit_in_any_batch(logits: torch.Tensor) -> None:
    greedy, warm = SamplingParams(max_tokens=1, temperature=0.0), SamplingParams(max_tokens=1, temperature=5.0)
    largest = int(logits.argmax())
    batch = logits.expand(30, -1)
    assert SAMPLER.sample(batch, [greedy] * 30, range(30)).tolist() == [largest] * 30
    mixed = SAMPLER.sample(batch, [greedy, warm] * 15, range(30)).tolist()
    assert mixed[::2] == [largest] * 15
    assert set(mixed[1::2]) - {largest}


def test_stop_tokens_wait_for_min_tokens(logits: torch.Tensor) -> None:
    second, first = logits.topk(2).indices.flip(0).tolist()
    params = SamplingParams(max_tokens=9, temperature=0.0, min_tokens=3, stop_token_ids=(first, 10**6))
    drawn = SAMPLER.sample(logits.expand(5, -1), [params] * 5, range(5))
    assert drawn.tolist() == [second, second, second, first, first]


def test_stop_tokens_before_min_tokens_are_never_drawn_at_random(logits: torch.Tensor) -> None:
    first = int(logits.argmax())
    params = SamplingParams(max_tokens=DRAWS, min_tokens=DRAWS, stop_token_ids=(first,))
    expected = logits.softmax(-1).index_fill(0, torch.tensor([first]), 0.0)
    assert_follows(frequencies(logits, params), expected / expected.sum())


def test_the_logits_given_are_left_alone(logits: torch.Tensor) -> None:
    batch, before = logits[None].clone(), logits[None].clone()
    SAMPLER.sample(batch, [SamplingParams(max_tokens=1, min_tokens=1, stop_token_ids=(0,), top_k=3)], [0])
    assert torch.equal(batch, before)


@pytest.mark.parametrize("temperature", [1e-6, 1e-3, 50.0])
def test_extreme_logits_and_temperatures_stay_in_the_vocabulary(temperature: float) -> None:
    batch = torch.tensor([[1e30, -1e30, 0.0, -torch.inf], [-5e4, -5e4, -5e4, -5e4]])
    params = [SamplingParams(max_tokens=1, temperature=temperature)] * 2
    first, second = SAMPLER.sample(batch, params, [0, 1]).tolist()
    assert first == 0
    assert 0 <= second < 4


def test_logits_that_are_no_numbers_lead_to_no_token_outside_the_vocabulary() -> None:
    batch = torch.full((3, 7), torch.nan)
    params = [SamplingParams(max_tokens=1, top_k=top_k) for top_k in (0, 2, 5)]
    assert all(0 <= token_id < 7 for token_id in SAMPLER.sample(batch, params, [0, 1, 2]).tolist())


def test_an_empty_batch_is_no_fault() -> None:
    assert SAMPLER.sample(torch.empty(0, 12), [], []).tolist() == []
