"""Losses against numbers by hand, exact expectations by enumeration, and invariants."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from agents.losses import (
    cispo_loss,
    clipped_surrogate_loss,
    entropy_loss,
    kl_estimate,
    kl_loss,
    policy_gradient_loss,
    token_weights,
    value_loss,
)

ONE = torch.tensor([[True]])
Loss = Callable[..., tuple[Tensor, dict[str, Tensor]]]


def surrogate_at(
    ratio: float, advantage: float, **options: float
) -> tuple[float, float, dict[str, Tensor]]:
    """Loss, d loss / d log_prob and metrics of a single token; clip_param 0.2 unless told."""
    log_prob = torch.tensor([[math.log(ratio)]], dtype=torch.float64, requires_grad=True)
    old = torch.zeros(1, 1, dtype=torch.float64)
    advantages = torch.tensor([[advantage]], dtype=torch.float64)
    options = {"clip_param": 0.2} | options
    loss, metrics = clipped_surrogate_loss(log_prob, old, advantages, ONE, **options)
    loss.backward()
    return loss.item(), log_prob.grad.item(), metrics


def test_policy_gradient_by_hand() -> None:
    log_probs = torch.tensor([[-1.0, -2.0, -4.0]], requires_grad=True)
    advantages = torch.tensor([[3.0, -1.0, 9.0]])
    mask = torch.tensor([[True, True, False]])
    loss, metrics = policy_gradient_loss(log_probs, advantages, mask)
    loss.backward()
    # -(3 * -1 + -1 * -2) / 2 = .5;  gradient -A / 2
    assert loss.item() == metrics["policy_loss"].item() == 0.5
    assert log_probs.grad.tolist() == [[-1.5, 0.5, 0.0]]


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "gradient"),
    [
        (1.1, 2.0, -2.2, -2.2),  # inside: -r A, and d(-r A)/d log pi = -r A
        (0.9, -2.0, 1.8, 1.8),  # inside
        (1.5, 2.0, -2.4, 0.0),  # good token, raised enough: -1.2 A, nothing more to gain
        (0.5, -2.0, 1.6, 0.0),  # bad token, lowered enough: -.8 A
        (0.5, 2.0, -1.0, -1.0),  # good token that became rarer: min keeps r A, pulls it back
        (1.5, -2.0, 3.0, 3.0),  # bad token that became likelier: likewise
    ],
)
def test_clipped_surrogate_by_hand(
    ratio: float, advantage: float, loss: float, gradient: float
) -> None:
    got_loss, got_gradient, metrics = surrogate_at(ratio, advantage)
    assert got_loss == pytest.approx(loss)
    assert got_gradient == pytest.approx(gradient)
    assert metrics["clip_fraction"].item() == float(gradient == 0.0)


def test_clip_param_high_moves_the_upper_end_only() -> None:
    assert surrogate_at(1.3, 1.0, clip_param_high=0.28)[0] == pytest.approx(-1.28)
    assert surrogate_at(0.7, -1.0, clip_param_high=0.28)[0] == pytest.approx(0.8)


def test_equal_policies_have_ratio_one_and_the_policy_gradient() -> None:
    old = torch.tensor([[-0.1, -2.3, -7.7], [-0.7, -1.9, -0.3]])
    advantages = torch.tensor([[1.0, -2.0, 0.5], [-0.25, 3.0, 1.0]])
    mask = torch.tensor([[False, True, True], [True, True, False]])
    log_probs = old.clone().requires_grad_()
    loss, metrics = clipped_surrogate_loss(log_probs, old, advantages, mask, clip_param=0.2)
    (gradient,) = torch.autograd.grad(loss, log_probs)
    plain, _ = policy_gradient_loss(log_probs, advantages, mask)
    assert metrics["ratio"].item() == 1.0
    assert metrics["clip_fraction"].item() == metrics["approx_kl"].item() == 0.0
    assert torch.equal(gradient, torch.autograd.grad(plain, log_probs)[0])


def test_ratio_and_approx_kl_by_hand() -> None:
    _, _, metrics = surrogate_at(1.5, 1.0)
    assert metrics["ratio"].item() == pytest.approx(1.5)
    assert metrics["approx_kl"].item() == pytest.approx(0.5 - math.log(1.5))


@pytest.mark.parametrize("shift", [1e3, -1e3])
def test_a_stale_token_leaves_loss_gradient_and_metrics_finite(shift: float) -> None:
    log_probs = torch.tensor([[shift, -1.0]], requires_grad=True)
    old, advantages = torch.tensor([[0.0, -1.0]]), torch.tensor([[-1.0, 1.0]])
    mask = torch.ones(1, 2, dtype=torch.bool)
    loss, metrics = clipped_surrogate_loss(log_probs, old, advantages, mask, clip_param=0.2)
    loss.backward()
    numbers = torch.stack([loss.detach(), *log_probs.grad[0], *metrics.values()])
    assert numbers.isfinite().all()


def test_the_ratio_of_a_sequence_is_the_geometric_mean_of_its_tokens_ratios() -> None:
    # Ratios 2 and 8, so 4 at each token; the second row's token stands alone with 1/2.
    log_probs = torch.tensor([[2.0, 8.0, 9.0], [0.5, 9.0, 9.0]]).log().double().requires_grad_()
    mask = torch.tensor([[True, True, False], [True, False, False]])
    loss, metrics = clipped_surrogate_loss(
        log_probs, torch.zeros_like(log_probs), -mask.double(), mask, clip_param=9, ratio="sequence"
    )
    (gradient,) = torch.autograd.grad(loss, log_probs)
    # A = -1: (4 + 4 + 1/2) / 3;  d/d log pi_t = 2 * 4 * 1/2 / 3 in the first row
    assert loss.item() == pytest.approx(8.5 / 3)
    assert metrics["ratio"].item() == pytest.approx(8.5 / 3)
    expected = torch.tensor([[4 / 3, 4 / 3, 0], [0.5 / 3, 0, 0]], dtype=torch.float64)
    torch.testing.assert_close(gradient, expected)


@pytest.mark.parametrize(
    ("ratio", "advantage", "weight"),
    [(1.1, 2.0, 1.1), (3.0, 2.0, 1.2), (3.0, -2.0, 1.2), (0.1, 2.0, 0.1), (0.1, -2.0, 0.1)],
)
def test_cispo_cuts_the_weight_and_keeps_the_gradient(
    ratio: float, advantage: float, weight: float
) -> None:
    log_prob = torch.tensor([[math.log(ratio)]], dtype=torch.float64, requires_grad=True)
    advantages = torch.tensor([[advantage]], dtype=torch.float64)
    old = torch.zeros(1, 1, dtype=torch.float64)
    loss, metrics = cispo_loss(log_prob, old, advantages, ONE, clip_param_high=0.2)
    loss.backward()
    # -sg(min(r, 1.2)) A log pi, whose gradient is -min(r, 1.2) A
    assert loss.item() == pytest.approx(-weight * advantage * math.log(ratio))
    assert log_prob.grad.item() == pytest.approx(-weight * advantage)
    assert metrics["clip_fraction"].item() == float(ratio > 1.2)


LENGTHS = torch.tensor([4, 1, 0, 3])
"""Of four rows, one of which has no token."""


@pytest.mark.parametrize(
    ("normalization", "expected"),
    [
        ("token", lambda x: sum(sum(row) for row in x) / 8),
        ("sequence", lambda x: (sum(x[0]) / 4 + sum(x[1]) / 1 + sum(x[3]) / 3) / 3),
        ("constant", lambda x: (sum(x[0]) + sum(x[1]) + sum(x[3])) / (3 * 5)),
    ],
)
def test_weights_make_a_mean_over_tokens_of_each_normalization(
    normalization: str, expected: Callable[[list[list[float]]], float]
) -> None:
    mask = torch.arange(6) < LENGTHS[:, None]
    x = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
    weights = token_weights(mask, normalization, budget=5)
    assert weights.shape == (4, 1)
    rows = [row[: int(length)].tolist() for row, length in zip(x, LENGTHS, strict=True)]
    # At ratio 1 the surrogate is the advantage.
    loss, metrics = clipped_surrogate_loss(x, x, x, mask, clip_param=0.2, weights=weights)
    assert loss.item() == pytest.approx(-expected(rows), abs=1e-6)
    assert metrics["ratio"].item() == 1.0  # the metrics stay means over tokens
    entropy, seen = entropy_loss(x, mask, weights=weights)
    assert entropy.item() == pytest.approx(-expected(rows), abs=1e-6)
    assert seen["entropy"].item() == pytest.approx(sum(map(sum, rows)) / 8, abs=1e-6)
    kl, _ = kl_loss(torch.zeros_like(x), x, mask, kind="k2", weights=weights)
    halves = [[0.5 * number**2 for number in row] for row in rows]
    assert kl.item() == pytest.approx(expected(halves), abs=1e-6)


def test_a_mean_of_row_means_favours_the_tokens_of_short_rows_and_the_others_do_not() -> None:
    mask = torch.arange(6) < LENGTHS[:, None]
    by_row = {
        name: token_weights(mask, name, budget=6)[:, 0].tolist()
        for name in ("token", "sequence", "constant")
    }
    assert by_row["token"] == [1.0] * 4
    assert by_row["sequence"] == pytest.approx([8 / 12, 8 / 3, 8 / 3, 8 / 9])
    assert by_row["constant"] == pytest.approx([8 / 18] * 4)


def test_weights_of_parts_are_those_of_the_whole() -> None:
    mask = torch.arange(6) < LENGTHS[:, None]
    whole = token_weights(mask, "sequence")
    totals = torch.tensor([8.0, 3.0])
    parts = [token_weights(part, "sequence", add=lambda x: totals) for part in mask.split(2)]
    assert torch.equal(torch.cat(parts), whole)


@pytest.mark.parametrize("normalization", ["mean", "constant"])
def test_an_unknown_normalization_or_a_constant_without_a_budget_is_refused(
    normalization: str,
) -> None:
    with pytest.raises(ValueError, match=f"^normalization is '{normalization}' and budget is None"):
        token_weights(ONE, normalization)


def test_value_loss_by_hand() -> None:
    values = torch.tensor([[1.0, 2.0, 7.0]], requires_grad=True)
    returns = torch.tensor([[3.0, 1.0, 0.0]])
    loss, metrics = value_loss(values, returns, torch.tensor([[True, True, False]]))
    loss.backward()
    # .5 * (2^2 + 1^2) / 2 = 1.25;  gradient (v - G) / 2
    assert loss.item() == metrics["value_loss"].item() == 1.25
    assert values.grad.tolist() == [[-1.0, 0.5, 0.0]]


@pytest.mark.parametrize(
    ("value", "target", "loss", "gradient", "clipped"),
    [
        (1.25, 3.0, 1.53125, -1.75, 0.0),  # inside: .5 * 1.75^2
        (2.0, 3.0, 1.125, 0.0, 1.0),  # moved past 1.5 towards G: .5 * (1.5 - 3)^2, no gradient
        (2.0, 0.0, 2.0, 2.0, 0.0),  # moved past 1.5 away from G: the true error is the greater
        (0.0, -1.0, 1.125, 0.0, 1.0),  # moved past .5 towards G: .5 * (.5 + 1)^2
    ],
)
def test_clipped_value_loss_by_hand(
    value: float, target: float, loss: float, gradient: float, clipped: float
) -> None:
    values = torch.tensor([[value]], requires_grad=True)
    got, metrics = value_loss(
        values, torch.tensor([[target]]), ONE, old_values=torch.tensor([[1.0]]), clip_param=0.5
    )
    got.backward()
    assert got.item() == loss
    assert values.grad.item() == gradient
    assert metrics["value_clip_fraction"].item() == clipped


def test_unmoved_values_have_the_gradient_of_the_unclipped_loss() -> None:
    old, returns = torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, -1.0]])
    values = old.clone().requires_grad_()
    loss, _ = value_loss(values, returns, torch.ones(1, 2).bool(), old_values=old, clip_param=0.5)
    loss.backward()
    assert values.grad.tolist() == [[-1.0, 1.5]]


def test_entropy_loss_is_the_negative_mean_entropy() -> None:
    entropies = torch.tensor([[0.5, 1.0], [2.0, 9.0]])
    loss, metrics = entropy_loss(entropies, torch.tensor([[True, True], [False, False]]))
    assert loss.item() == -0.75
    assert metrics["entropy"].item() == 0.75


# Exact expectations over a categorical policy: sum over actions of pi(a) f(a), in float64.
LOGITS = torch.tensor([0.3, -1.2, 0.9, 0.1], dtype=torch.float64)
REFERENCE = torch.tensor([-0.4, 0.2, 0.5, -0.1], dtype=torch.float64).log_softmax(-1)


def exact_kl(log_p: Tensor, log_q: Tensor) -> Tensor:
    """KL(p || q) in nats."""
    return (log_p.exp() * (log_p - log_q)).sum()


def exact_gradient(divergence: Callable[[Tensor], Tensor]) -> Tensor:
    """Gradient of a function of the policy's log-probabilities with respect to its logits."""
    logits = LOGITS.clone().requires_grad_()
    return torch.autograd.grad(divergence(logits.log_softmax(-1)), logits)[0]


def expected_loss_gradient(kind: str) -> Tensor:
    """E[grad k(a)], a sampled from the policy: what training on the loss follows."""
    return exact_gradient(
        lambda log_p: (log_p.exp().detach() * kl_estimate(log_p, REFERENCE, kind=kind)).sum()
    )


def expected_reward_gradient(kind: str) -> Tensor:
    """E[k(a) grad log pi(a)], a sampled from the policy: what training on the reward follows."""
    return exact_gradient(
        lambda log_p: (
            log_p.exp().detach() * kl_estimate(log_p, REFERENCE, kind=kind).detach() * log_p
        ).sum()
    )


def reverse_kl_gradient() -> Tensor:
    """Gradient of KL(pi || pi_ref)."""
    return exact_gradient(lambda log_p: exact_kl(log_p, REFERENCE))


def forward_kl_gradient() -> Tensor:
    """Gradient of KL(pi_ref || pi)."""
    return exact_gradient(lambda log_p: exact_kl(REFERENCE, log_p))


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("k1", -math.log(2)), ("k2", 0.5 * math.log(2) ** 2), ("k3", 1 - math.log(2))],
)
def test_kl_estimates_by_hand(kind: str, expected: float) -> None:
    # pi = 1/4 and pi_ref = 1/2: r = 2
    estimate = kl_estimate(torch.tensor(0.25).log(), torch.tensor(0.5).log(), kind=kind)
    assert estimate.item() == pytest.approx(expected)


@pytest.mark.parametrize("kind", ["k1", "k3"])
def test_k1_and_k3_are_unbiased(kind: str) -> None:
    log_p = LOGITS.log_softmax(-1)
    expectation = (log_p.exp() * kl_estimate(log_p, REFERENCE, kind=kind)).sum()
    torch.testing.assert_close(expectation, exact_kl(log_p, REFERENCE))


def test_k2_is_biased_by_the_third_order() -> None:
    # pi = (1 + s) / 2, (1 - s) / 2 against pi_ref at .3, .7, closer and closer
    reference = torch.tensor([0.3, 0.7], dtype=torch.float64)
    biases = []
    for shift in (0.04, 0.02):
        log_p = (reference + torch.tensor([shift, -shift], dtype=torch.float64)).log()
        estimate = (log_p.exp() * kl_estimate(log_p, reference.log(), kind="k2")).sum()
        biases.append((estimate - exact_kl(log_p, reference.log())).item())
    assert biases[0] / biases[1] == pytest.approx(2**3, rel=0.1)


def test_k3_is_never_negative() -> None:
    log_p = LOGITS.log_softmax(-1)
    assert (kl_estimate(log_p, REFERENCE, kind="k3") >= 0).all()
    assert (kl_estimate(log_p, REFERENCE, kind="k1") < 0).any()


def test_k1_as_a_loss_has_no_gradient_in_expectation() -> None:
    torch.testing.assert_close(expected_loss_gradient("k1"), torch.zeros_like(LOGITS))


def test_k2_as_a_loss_has_the_gradient_of_the_kl() -> None:
    torch.testing.assert_close(expected_loss_gradient("k2"), reverse_kl_gradient())


def test_k3_as_a_loss_has_the_gradient_of_the_other_direction() -> None:
    torch.testing.assert_close(expected_loss_gradient("k3"), forward_kl_gradient())


def test_k1_in_the_reward_has_the_gradient_of_the_kl() -> None:
    torch.testing.assert_close(expected_reward_gradient("k1"), reverse_kl_gradient())


def test_k3_in_the_reward_has_the_difference_of_both_directions() -> None:
    expected = reverse_kl_gradient() - forward_kl_gradient()
    torch.testing.assert_close(expected_reward_gradient("k3"), expected)


def test_kl_estimate_of_a_stale_token_is_finite() -> None:
    log_prob = torch.tensor([-1e3], requires_grad=True)
    estimate = kl_estimate(log_prob, torch.tensor([0.0]), kind="k3")
    estimate.sum().backward()
    assert math.isfinite(estimate.item()) and math.isfinite(log_prob.grad.item())


@pytest.mark.parametrize(
    ("kind", "loss"), [("k2", 0.5 * math.log(2) ** 2), ("k3", 1 - math.log(2))]
)
def test_kl_loss_by_hand(kind: str, loss: float) -> None:
    log_probs = torch.tensor([[0.25, 0.5]]).log()
    reference = torch.tensor([[0.5, 0.5]]).log()
    got, metrics = kl_loss(log_probs, reference, torch.ones(1, 2).bool(), kind=kind)
    assert got.item() == pytest.approx(loss / 2)
    assert metrics["kl"].item() == pytest.approx((1 - math.log(2)) / 2)


# Every loss as a function of (parameter, data, mask), for the invariants that all of them share.
LOSSES: dict[str, Loss] = {
    "policy_gradient": lambda x, data, mask, **kw: policy_gradient_loss(x, data, mask, **kw),
    "clipped_surrogate": lambda x, data, mask, **kw: clipped_surrogate_loss(
        x, x.detach() + 0.3 * data.cos(), data, mask, clip_param=0.2, **kw
    ),
    "sequence_surrogate": lambda x, data, mask, **kw: clipped_surrogate_loss(
        x, x.detach() + 0.3 * data.cos(), data, mask, clip_param=0.1, ratio="sequence", **kw
    ),
    "cispo": lambda x, data, mask, **kw: cispo_loss(
        x, x.detach() + 0.3 * data.cos(), data, mask, clip_param_high=0.2, **kw
    ),
    "weighted": lambda x, data, mask, **kw: clipped_surrogate_loss(
        x, x.detach() + 0.3 * data, data, mask, clip_param=0.2, weights=2 + data.cos(), **kw
    ),
    "value": lambda x, data, mask, **kw: value_loss(x, data, mask, **kw),
    "clipped_value": lambda x, data, mask, **kw: value_loss(
        x, data, mask, old_values=x.detach() + 0.3 * data.cos(), clip_param=0.2, **kw
    ),
    "entropy": lambda x, data, mask, **kw: entropy_loss(x, mask, **kw),
    "kl_k2": lambda x, data, mask, **kw: kl_loss(x, data, mask, kind="k2", **kw),
    "kl_k3": lambda x, data, mask, **kw: kl_loss(x, data, mask, kind="k3", **kw),
}
each_loss = pytest.mark.parametrize("loss_fn", LOSSES.values(), ids=LOSSES)


def example() -> tuple[Tensor, Tensor, Tensor]:
    """A parameter, data and a mask [8, 9], rows of very different length, one without a token."""
    generator = torch.Generator().manual_seed(0)
    x, data = torch.randn(2, 8, 9, generator=generator, dtype=torch.float64)
    mask = torch.arange(9) < torch.tensor([9, 1, 2, 0, 5, 8, 1, 3])[:, None]
    return x.requires_grad_(), data, mask


@each_loss
def test_accumulation_over_micro_batches_equals_one_batch(loss_fn: Loss) -> None:
    x, data, mask = example()
    whole, whole_metrics = loss_fn(x, data, mask)
    (whole_gradient,) = torch.autograd.grad(whole, x)
    parts = [slice(0, 1), slice(1, 4), slice(4, 8)]
    pieces = [loss_fn(x[p], data[p], mask[p], count=mask.sum()) for p in parts]
    total = sum(loss for loss, _ in pieces)
    torch.testing.assert_close(total, whole, rtol=1e-12, atol=0)
    gradient = torch.autograd.grad(total, x)[0]
    torch.testing.assert_close(gradient, whole_gradient, rtol=1e-12, atol=0)
    for name, metric in whole_metrics.items():
        summed = sum(metrics[name] for _, metrics in pieces)
        torch.testing.assert_close(summed, metric, rtol=1e-12, atol=1e-15)


@each_loss
@pytest.mark.parametrize("garbage", [1e9, float("inf"), float("nan")])
def test_what_lies_outside_the_mask_has_no_influence(loss_fn: Loss, garbage: float) -> None:
    x, data, mask = example()
    loss, metrics = loss_fn(x, data, mask)
    (gradient,) = torch.autograd.grad(loss, x)
    dirty = x.detach().masked_fill(~mask, garbage).requires_grad_()
    dirty_loss, dirty_metrics = loss_fn(dirty, data.masked_fill(~mask, garbage), mask)
    (dirty_gradient,) = torch.autograd.grad(dirty_loss, dirty)
    assert torch.equal(loss, dirty_loss)
    assert metrics == dirty_metrics
    assert torch.equal(gradient, dirty_gradient)
    assert not gradient[~mask].any()


@each_loss
def test_a_batch_without_tokens_costs_nothing(loss_fn: Loss) -> None:
    x, data, mask = example()
    loss, metrics = loss_fn(x, data, torch.zeros_like(mask))
    assert loss.item() == 0.0
    assert all(metric.item() == 0.0 for metric in metrics.values())


@each_loss
def test_loss_and_metrics_are_scalars_and_metrics_carry_no_graph(loss_fn: Loss) -> None:
    loss, metrics = loss_fn(*example())
    assert loss.ndim == 0 and loss.requires_grad
    assert metrics
    assert all(metric.ndim == 0 and not metric.requires_grad for metric in metrics.values())


@each_loss
def test_a_shape_that_would_broadcast_is_refused(loss_fn: Loss) -> None:
    x, data, mask = example()
    with pytest.raises(ValueError, match=r"has shape \[8, 9\], expected \[8, 1\] as mask has"):
        loss_fn(x, data, mask[:, :1])


def test_a_wrong_shape_names_its_tensor() -> None:
    square = torch.zeros(2, 2)
    with pytest.raises(ValueError) as error:
        policy_gradient_loss(square, torch.zeros(2), square.bool())
    assert str(error.value) == "advantages has shape [2], expected [2, 2] as mask has"


@pytest.mark.parametrize("given", [{"clip_param": 0.2}, {"old_values": torch.zeros(1, 1)}])
def test_value_clipping_needs_both_of_its_arguments(given: dict[str, Tensor | float]) -> None:
    zeros = torch.zeros(1, 1)
    with pytest.raises(ValueError) as error:
        value_loss(zeros, zeros, ONE, **given)
    assert str(error.value) == "old_values and clip_param must be given together or not at all"


def test_an_unknown_kl_estimate_is_refused() -> None:
    with pytest.raises(ValueError) as error:
        kl_estimate(torch.zeros(1), torch.zeros(1), kind="k4")
    assert str(error.value) == "kind is 'k4', expected 'k1', 'k2' or 'k3'"


def test_k1_is_refused_as_a_loss() -> None:
    zeros = torch.zeros(1, 1)
    with pytest.raises(ValueError) as error:
        kl_loss(zeros, zeros, ONE, kind="k1")
    expected = "kind is 'k1', whose expected gradient is 0; expected 'k2' or 'k3'"
    assert str(error.value) == expected
