"""The distribution that is sampled: filters by brute force, gradients, and draws at every point."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from agents import sampling as sampling_module
from agents.sampling import Sampling, draw, log_probs

NONE = torch.zeros(50, dtype=torch.bool)


def logits_of(rows: int, size: int = 50, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 3.0 * torch.randn(rows, size, generator=generator)


def by_hand(logits: list[float], sampling: Sampling, illegal: set[int]) -> dict[int, float]:
    """Token -> probability, by sorting, in the order in which the filters are told to apply."""
    weights = {
        token: math.exp(logit / sampling.temperature)
        for token, logit in enumerate(logits)
        if token not in illegal
    }

    def normalized(kept: list[int]) -> dict[int, float]:
        total = sum(weights[token] for token in kept)
        return {token: weights[token] / total for token in kept}

    order = sorted(weights, key=weights.__getitem__, reverse=True)
    probabilities = normalized(order[: sampling.top_k or len(order)])
    kept, total = [], 0.0
    for token, probability in probabilities.items():
        if sampling.top_p == 1 or total < sampling.top_p:
            kept.append(token)
        total += probability
    return normalized([t for t in kept if weights[t] >= sampling.min_p * weights[kept[0]]])


FILTERS = [
    Sampling(),
    Sampling(temperature=0.5),
    Sampling(top_k=1),
    Sampling(top_k=7, temperature=2.0),
    Sampling(top_p=0.1),
    Sampling(top_p=0.9, temperature=3.0),
    Sampling(min_p=0.2),
    Sampling(min_p=1.0),
    Sampling(top_k=12, top_p=0.8),
    Sampling(temperature=4.0, top_k=20, top_p=0.9, min_p=0.3),
    Sampling(top_k=500, top_p=0.9999),
]


@pytest.mark.parametrize("sampling", FILTERS, ids=str)
def test_filtered_probabilities_equal_those_of_sorting(sampling: Sampling) -> None:
    logits, illegal = logits_of(40), NONE.clone()
    illegal[[3, 30]] = True
    found = log_probs(logits, illegal, sampling).exp()
    for row, given in zip(found.tolist(), logits.tolist(), strict=True):
        want = by_hand(given, sampling, {3, 30})
        assert {token for token, p in enumerate(row) if p > 0} == set(want)
        assert all(abs(row[token] - p) < 1e-5 for token, p in want.items())


@pytest.mark.parametrize("first_look", [1, 3, 49, 50, 1024])
def test_the_nucleus_does_not_depend_on_how_many_tokens_are_looked_at_first(
    first_look: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    sampling, logits = Sampling(top_p=0.95, temperature=5.0), logits_of(30)
    want = log_probs(logits, NONE, sampling)
    monkeypatch.setattr(sampling_module, "FIRST_LOOK", first_look)
    assert torch.equal(log_probs(logits, NONE, sampling), want)


def test_the_nucleus_of_a_flat_distribution_over_20000_tokens_is_found_in_the_second_look() -> None:
    logits = torch.arange(20_000.0)[None] * 1e-7
    found = log_probs(logits, torch.zeros(20_000, dtype=torch.bool), Sampling(top_p=0.3))
    assert abs(int((found > -torch.inf).sum()) - 6000) <= 10


def test_illegal_tokens_may_differ_from_row_to_row() -> None:
    illegal = torch.stack([NONE, NONE, NONE])
    illegal[1, :49], illegal[2, 1:] = True, True
    found = log_probs(logits_of(3), illegal, Sampling(top_p=0.5))
    assert found[1, 49] == 0 and found[2, 0] == 0
    assert (found[1, :49] == -torch.inf).all()


@pytest.mark.parametrize("sampling", FILTERS, ids=str)
def test_a_chosen_token_is_kept_and_changes_nothing_where_it_passes_anyway(
    sampling: Sampling,
) -> None:
    logits = logits_of(200)
    plain = log_probs(logits, NONE, sampling)
    chosen = torch.arange(200) % 50
    kept = log_probs(logits, NONE, sampling, chosen=chosen)
    assert kept.gather(1, chosen[:, None]).isfinite().all()
    passes = plain.gather(1, chosen[:, None])[:, 0] > -torch.inf
    assert torch.equal(kept[passes], plain[passes])
    torch.testing.assert_close(kept.exp().sum(1), torch.ones(200))


def test_gradients_are_those_of_the_softmax_over_the_kept_tokens() -> None:
    logits = logits_of(1).requires_grad_()
    sampling, token = Sampling(temperature=2.0, top_k=5), int(logits.argmax())
    log_probs(logits, NONE, sampling)[0, token].backward()
    probabilities = log_probs(logits.detach(), NONE, sampling).exp()
    want = -probabilities / 2.0
    want[0, token] += 0.5
    torch.testing.assert_close(logits.grad, want)


def test_half_precision_logits_give_float32() -> None:
    found = log_probs(logits_of(2).bfloat16(), NONE, Sampling())
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.exp().sum(1), torch.ones(2))


# ------------------------------------------------------------------------- draws


def test_a_draw_is_the_inverse_of_the_distribution_function() -> None:
    probabilities = torch.tensor([0.0, 0.25, 0.0, 0.5, 0.25, 0.0])
    points = torch.tensor([0.0, 0.2499, 0.25, 0.7499, 0.75, 1 - 2**-24])
    tokens = draw(probabilities.log().expand(6, 6), points)
    assert tokens.tolist() == [1, 1, 3, 3, 4, 4]


def test_no_token_of_probability_0_is_drawn_at_either_end_of_the_interval() -> None:
    logits = torch.zeros(1000, 50)
    logits[:, 40:] = -200.0  # underflows to 0
    illegal = NONE.clone()
    illegal[:3] = True
    found = log_probs(logits, illegal, Sampling())
    assert set(draw(found, torch.zeros(1000)).tolist()) == {3}
    assert set(draw(found, torch.full((1000,), 1 - 2**-24)).tolist()) == {39}


def test_where_a_rounded_sum_hits_an_impossible_token_the_most_probable_one_is_drawn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # As a parallel scan may round: the sum falls before the second token and rises again at it.
    sums = torch.tensor([[0.5 - 1e-7, 0.5, 1.0]])
    monkeypatch.setattr(torch.Tensor, "cumsum", lambda self, dim: sums)
    found = torch.tensor([[0.4, 0.0, 0.6]]).log()
    assert draw(found, torch.tensor([0.5 - 5e-8])).tolist() == [2]


def test_frequencies_of_draws_equal_the_probabilities_under_every_filter() -> None:
    sampling = Sampling(temperature=3.0, top_k=20, top_p=0.95, min_p=0.02)
    found = log_probs(logits_of(1), NONE, sampling)
    points = torch.rand(50_000, generator=torch.Generator().manual_seed(0))
    counts = torch.bincount(draw(found.expand(50_000, -1), points), minlength=50)
    expected = 50_000 * found[0].exp()
    kept = expected > 0
    assert (counts[~kept] == 0).all() and kept.sum() > 10
    statistic = float(((counts - expected)[kept] ** 2 / expected[kept]).sum())
    freedom = int(kept.sum()) - 1
    assert abs(statistic - freedom) / math.sqrt(2 * freedom) < 3


def test_a_row_that_is_not_finite_raises_nothing_here() -> None:
    for sampling in (Sampling(), Sampling(top_k=2), Sampling(top_p=0.5)):
        found = log_probs(torch.full((2, 50), torch.nan), NONE, sampling)
        assert found.isnan().all()
        assert draw(found, torch.rand(2)).max() < 50


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("temperature", 0.0, "a positive number"),
        ("temperature", math.nan, "a positive number"),
        ("temperature", "1", "a positive number"),
        ("top_k", -1, "an integer of at least 0"),
        ("top_k", 1.5, "an integer of at least 0"),
        ("top_p", 0.0, "a number over 0 and at most 1"),
        ("top_p", 1.1, "a number over 0 and at most 1"),
        ("min_p", -0.1, "a number from 0 to 1"),
        ("min_p", True, "a number from 0 to 1"),
    ],
)
def test_a_field_out_of_its_range_is_refused(field: str, value: object, expected: str) -> None:
    with pytest.raises(ValueError) as error:
        Sampling(**{field: value}).validate()
    assert str(error.value) == f"{field} is {value!r}, expected {expected}"
