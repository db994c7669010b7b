"""Returns, advantages and baselines against arithmetic, definitions and invariants."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from agents.advantages import (
    batch_relative,
    discounted_returns,
    gae,
    group_relative,
    groups_differ,
    leave_one_out,
    overlong_penalty,
    whiten,
)

GAMMA, LAMBDA = 0.9, 0.8


def dialogues(*, dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    """Six random rows of 12 tokens with gaps in the mask; every other row was cut off outside."""
    generator = torch.Generator().manual_seed(0)
    mask = torch.rand(6, 12, generator=generator) < 0.6
    mask[:, 0] = False
    mask[5] = False
    draws = torch.randn(2, 6, 12, generator=generator, dtype=dtype)
    bootstrap = torch.tensor([0.0, 1.5, 0.0, -0.5, 0.0, 2.0], dtype=dtype)
    return {"rewards": draws[0] * mask, "values": draws[1], "mask": mask, "bootstrap": bootstrap}


def test_discounted_return_by_hand() -> None:
    rewards = torch.tensor([[0.0, 1.0, 2.0, 4.0]])
    mask = torch.tensor([[False, True, True, True]])
    returns = discounted_returns(rewards, mask, gamma=0.5, bootstrap=torch.zeros(1))
    # 4;  2 + .5 * 4 = 4;  1 + .5 * 4 = 3
    assert returns.tolist() == [[0.0, 3.0, 4.0, 4.0]]


def test_discounted_return_of_a_truncated_row_ends_in_the_bootstrap() -> None:
    rewards = torch.tensor([[0.0, 1.0, 2.0]])
    mask = torch.tensor([[False, True, True]])
    returns = discounted_returns(rewards, mask, gamma=0.5, bootstrap=torch.tensor([8.0]))
    # 2 + .5 * 8 = 6;  1 + .5 * 6 = 4
    assert returns.tolist() == [[0.0, 4.0, 6.0]]


def test_discounting_counts_the_policys_tokens_not_the_gap_between_them() -> None:
    rewards = torch.tensor([[0.0, 1.0, 0.0, 0.0, 0.0, 4.0, 0.0]])
    mask = torch.tensor([[0, 1, 0, 0, 0, 1, 0]]).bool()
    returns = discounted_returns(rewards, mask, gamma=0.5, bootstrap=torch.zeros(1))
    # One step lies between the two rewards: 1 + .5 * 4 = 3
    assert returns.tolist() == [[0.0, 3.0, 0.0, 0.0, 0.0, 4.0, 0.0]]


def test_undiscounted_return_of_the_first_step_is_the_sum_of_rewards() -> None:
    rewards = torch.tensor([[0.0, 1.0, 2.0, 4.0]])
    mask = torch.tensor([[False, True, True, True]])
    returns = discounted_returns(rewards, mask, gamma=1.0, bootstrap=torch.zeros(1))
    assert returns[0, 1] == rewards.sum()


def test_gae_by_hand() -> None:
    advantages, returns = gae(
        torch.tensor([[0.0, 0.0, 0.0, 1.0]]),
        torch.tensor([[9.0, 0.5, 0.25, 0.75]]),
        torch.tensor([[False, True, True, True]]),
        gamma=0.5,
        gae_lambda=0.5,
        bootstrap=torch.zeros(1),
    )
    # delta_3 = 1 + .5 * 0    - .75 =  .25      A_3 =  .25
    # delta_2 = 0 + .5 * .75  - .25 =  .125     A_2 =  .125 + .25 * .25   =  .1875
    # delta_1 = 0 + .5 * .25  - .5  = -.375     A_1 = -.375 + .25 * .1875 = -.328125
    assert advantages.tolist() == [[0.0, -0.328125, 0.1875, 0.25]]
    # A + v: -.328125 + .5 = .171875;  .1875 + .25 = .4375;  .25 + .75 = 1
    assert returns.tolist() == [[0.0, 0.171875, 0.4375, 1.0]]


def test_gae_of_a_truncated_row_bootstraps() -> None:
    advantages, returns = gae(
        torch.tensor([[0.0, 0.0, 1.0]]),
        torch.tensor([[0.0, 0.5, 0.25]]),
        torch.tensor([[False, True, True]]),
        gamma=0.5,
        gae_lambda=0.5,
        bootstrap=torch.tensor([2.0]),
    )
    # delta_2 = 1 + .5 * 2   - .25 =  1.75     A_2 = 1.75
    # delta_1 = 0 + .5 * .25 - .5  = -.375     A_1 = -.375 + .25 * 1.75 = .0625
    assert advantages.tolist() == [[0.0, 0.0625, 1.75]]
    assert returns.tolist() == [[0.0, 0.5625, 2.0]]


def test_gae_equals_its_definition_summed_per_row() -> None:
    data = dialogues()
    advantages, returns = gae(**data, gamma=GAMMA, gae_lambda=LAMBDA)
    for row in range(6):
        steps = data["mask"][row].nonzero().flatten().tolist()
        rewards, values = data["rewards"][row, steps], data["values"][row, steps]
        following = torch.cat([values[1:], data["bootstrap"][row : row + 1]])[: len(steps)]
        deltas = rewards + GAMMA * following - values
        for t, column in enumerate(steps):
            lags = range(len(steps) - t)
            terms = [(GAMMA * LAMBDA) ** lag * deltas[t + lag] for lag in lags]
            assert advantages[row, column].item() == pytest.approx(sum(terms).item(), abs=1e-12)
            expected = advantages[row, column] + values[t]
            assert returns[row, column].item() == pytest.approx(expected.item(), abs=1e-12)


def test_gae_with_lambda_one_is_the_discounted_return_minus_the_value() -> None:
    data = dialogues()
    advantages, _ = gae(**data, gamma=GAMMA, gae_lambda=1.0)
    returns = discounted_returns(
        data["rewards"], data["mask"], gamma=GAMMA, bootstrap=data["bootstrap"]
    )
    expected = (returns - data["values"]) * data["mask"]
    torch.testing.assert_close(advantages, expected, rtol=0, atol=1e-12)


def test_gae_with_lambda_zero_is_the_td_error() -> None:
    rewards = torch.tensor([[0.0, 1.0, 2.0, 0.0]])
    values = torch.tensor([[0.0, 3.0, 5.0, 7.0]])
    mask = torch.tensor([[False, True, True, True]])
    advantages, _ = gae(
        rewards, values, mask, gamma=1.0, gae_lambda=0.0, bootstrap=torch.tensor([11.0])
    )
    # 1 + 5 - 3 = 3;  2 + 7 - 5 = 4;  0 + 11 - 7 = 4
    assert advantages.tolist() == [[0.0, 3.0, 4.0, 4.0]]


def test_gae_of_a_dialogue_equals_gae_without_the_environments_turns() -> None:
    dialogue = gae(
        torch.tensor([[0.0, 0.5, 0.0, 0.0, 0.0, 1.0]]),
        torch.tensor([[9.0, 0.5, 9.0, -9.0, 0.25, 0.75]]),
        torch.tensor([[0, 1, 0, 0, 1, 1]]).bool(),
        gamma=GAMMA,
        gae_lambda=LAMBDA,
        bootstrap=torch.tensor([2.0]),
    )
    monologue = gae(
        torch.tensor([[0.5, 0.0, 1.0]]),
        torch.tensor([[0.5, 0.25, 0.75]]),
        torch.ones(1, 3, dtype=torch.bool),
        gamma=GAMMA,
        gae_lambda=LAMBDA,
        bootstrap=torch.tensor([2.0]),
    )
    for with_gaps, without in zip(dialogue, monologue, strict=True):
        assert with_gaps[:, [1, 4, 5]].tolist() == without.tolist()


def test_gae_bootstraps_past_environment_text_at_the_end_of_a_row() -> None:
    advantages, _ = gae(
        torch.tensor([[0.0, 1.0, 0.0, 0.0]]),
        torch.tensor([[0.0, 0.5, 9.0, 9.0]]),
        torch.tensor([[0, 1, 0, 0]]).bool(),
        gamma=0.5,
        gae_lambda=LAMBDA,
        bootstrap=torch.tensor([2.0]),
    )
    # 1 + .5 * 2 - .5 = 1.5
    assert advantages.tolist() == [[0.0, 1.5, 0.0, 0.0]]


def test_padding_does_not_change_gae() -> None:
    data = dialogues(dtype=torch.float32)
    padded = {
        name: tensor if name == "bootstrap" else torch.nn.functional.pad(tensor, (0, 7))
        for name, tensor in data.items()
    }
    for plain, wide in zip(
        gae(**data, gamma=GAMMA, gae_lambda=LAMBDA),
        gae(**padded, gamma=GAMMA, gae_lambda=LAMBDA),
        strict=True,
    ):
        assert torch.equal(plain, wide[:, :12])
        assert not wide[:, 12:].any()


def test_other_rows_do_not_change_gae() -> None:
    data = dialogues(dtype=torch.float32)
    together, _ = gae(**data, gamma=GAMMA, gae_lambda=LAMBDA)
    alone, _ = gae(**{k: v[2:3] for k, v in data.items()}, gamma=GAMMA, gae_lambda=LAMBDA)
    assert torch.equal(together[2:3], alone)


def test_a_row_without_steps_has_no_advantage_despite_its_bootstrap() -> None:
    data = dialogues()
    advantages, returns = gae(**data, gamma=GAMMA, gae_lambda=LAMBDA)
    assert not data["mask"][5].any() and data["bootstrap"][5] == 2.0
    assert not advantages[5].any() and not returns[5].any()


def test_whiten_gives_mean_zero_and_standard_deviation_one() -> None:
    x = torch.tensor([[1.0, 2.0], [3.0, 6.0]])
    whitened = whiten(x, torch.ones(2, 2, dtype=torch.bool))
    # mean 3, variance (4 + 1 + 0 + 9) / 4 = 3.5
    expected = torch.tensor([[-2.0, -1.0], [0.0, 3.0]]) / 3.5**0.5
    torch.testing.assert_close(whitened, expected)


def test_whiten_ignores_padding() -> None:
    x = torch.tensor([[1.0, 2.0, 1e6], [3.0, 6.0, -1e6]])
    mask = torch.tensor([[True, True, False], [True, True, False]])
    whitened = whiten(x, mask)
    assert torch.equal(whitened[:, :2], whiten(x[:, :2], mask[:, :2]))
    assert whitened[:, 2].tolist() == [0.0, 0.0]


def test_whiten_can_keep_the_mean() -> None:
    x, mask = torch.tensor([[1.0, 2.0], [3.0, 6.0]]), torch.ones(2, 2, dtype=torch.bool)
    kept = whiten(x, mask, shift_mean=False)
    torch.testing.assert_close(kept, whiten(x, mask) + 3.0)


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_whiten_of_equal_entries_is_exactly_zero(size: int) -> None:
    # 0.1 is not a float32: the rounded mean of 7 of them differs from each of them.
    x = torch.full((1, size), 0.1)
    assert not whiten(x, torch.ones_like(x, dtype=torch.bool)).any()


def test_whiten_without_entries_is_zero() -> None:
    x = torch.ones(2, 3)
    assert not whiten(x, torch.zeros_like(x, dtype=torch.bool)).any()


def test_group_relative_without_scale_subtracts_each_groups_mean() -> None:
    returns = torch.tensor([1.0, 10.0, 0.0, 30.0, 2.0])
    problem = torch.tensor([7, 2, 7, 2, 7])
    # Group 7: mean of 1, 0, 2 is 1.  Group 2: mean of 10, 30 is 20.
    expected = [0.0, -10.0, -1.0, 10.0, 1.0]
    assert group_relative(returns, problem, scale="none").tolist() == expected


def test_group_relative_with_scale_divides_by_each_groups_standard_deviation() -> None:
    returns = torch.tensor([1.0, 10.0, 0.0, 30.0, 2.0])
    problem = torch.tensor([7, 2, 7, 2, 7])
    # Group 7: variance (0 + 1 + 1) / 2 = 1.  Group 2: variance (100 + 100) / 1 = 200.
    expected = torch.tensor([0.0, -(0.5**0.5), -1.0, 0.5**0.5, 1.0])
    advantages = group_relative(returns, problem, scale="group")
    torch.testing.assert_close(advantages, expected, rtol=2e-4, atol=0)


@pytest.mark.parametrize("scale", ["group", "batch", "none"])
@pytest.mark.parametrize("size", [1, 7])
def test_a_group_of_equal_returns_has_exactly_no_advantage(scale: str, size: int) -> None:
    returns = torch.cat([torch.full((size,), 0.1), torch.tensor([0.0, 1.0])])
    problem = torch.tensor([0] * size + [1, 1])
    advantages = group_relative(returns, problem, scale=scale)
    assert advantages[:size].tolist() == [0.0] * size
    assert advantages[size:].all()


def test_returns_that_differ_by_rounding_get_no_large_advantage() -> None:
    returns = torch.tensor([0.3, 0.3 + 3e-8])
    assert returns[0] != returns[1]
    assert group_relative(returns, torch.tensor([0, 0]), scale="group").abs().max() < 1e-3


def test_leave_one_out_equals_brute_force() -> None:
    returns = torch.randn(12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    problem = torch.tensor([5, 1, 5, 5, 1, 9, 9, 5, 1, 9, 9, 9])
    expected = []
    for i in range(12):
        others = [returns[j] for j in range(12) if j != i and problem[j] == problem[i]]
        expected.append(returns[i] - sum(others) / len(others))
    torch.testing.assert_close(leave_one_out(returns, problem), torch.stack(expected))


def test_a_row_alone_in_its_group_has_no_advantage() -> None:
    # As where the others have no verdict: nothing is known of how good it is.
    returns, problem = torch.tensor([1.0, 0.0, 1.0]), torch.tensor([4, 8, 4])
    for advantages in (leave_one_out(returns, problem), group_relative(returns, problem)):
        assert advantages[1] == 0.0


def test_group_relative_with_the_batchs_scale_divides_by_the_deviation_of_all_returns() -> None:
    returns = torch.tensor([1.0, 10.0, 0.0, 30.0, 2.0])
    problem = torch.tensor([7, 2, 7, 2, 7])
    expected = torch.tensor([0.0, -10.0, -1.0, 10.0, 1.0]) / (returns.std() + 1e-4)
    torch.testing.assert_close(group_relative(returns, problem, scale="batch"), expected)


def test_the_batchs_scale_is_that_of_all_processes() -> None:
    returns, problem = torch.tensor([1.0, 2.0, 4.0, 9.0]), torch.tensor([0, 0, 1, 1])
    whole = group_relative(returns, problem, scale="batch")
    sums = {0: torch.tensor([16.0, 4.0]), 1: (returns - 4.0).square().sum()}
    for rows in (slice(0, 2), slice(2, 4)):
        calls: list[int] = []

        def add(x: Tensor, calls: list[int] = calls) -> Tensor:
            calls.append(1)
            return sums[len(calls) - 1]

        part = group_relative(returns[rows], problem[rows], scale="batch", add=add)
        torch.testing.assert_close(part, whole[rows])


def test_groups_differ_where_one_return_does() -> None:
    returns = torch.tensor([0.1, 1.0, 0.1, 1.0, 0.1, 0.0])
    problem = torch.tensor([5, 3, 5, 3, 5, 3])
    assert groups_differ(returns, problem).tolist() == [False, True, False, True, False, True]


def test_batch_relative_equals_brute_force() -> None:
    data = dialogues()
    returns = discounted_returns(
        data["rewards"], data["mask"], gamma=GAMMA, bootstrap=data["bootstrap"]
    )
    advantages = batch_relative(returns, data["mask"])
    for row in range(6):
        others = [i for i in range(6) if i != row]
        baseline = returns[others][data["mask"][others]].mean()
        expected = (returns[row] - baseline) * data["mask"][row]
        torch.testing.assert_close(advantages[row], expected)


@pytest.mark.parametrize("rows", [1, 7])
def test_batch_relative_of_equal_returns_and_of_one_row_is_exactly_zero(rows: int) -> None:
    mask = torch.ones(rows, 3, dtype=torch.bool)
    assert not batch_relative(torch.full((rows, 3), 0.1), mask).any()


def test_batch_relative_has_the_gradient_of_the_expected_return() -> None:
    # Two actions of probability .3 and .7 worth 1 and 5; all batches of two episodes, weighed.
    log_probs = torch.tensor([0.3, 0.7], dtype=torch.float64).log()
    logits = log_probs.clone().requires_grad_()
    values, mask = torch.tensor([1.0, 5.0], dtype=torch.float64), torch.ones(2, 1).bool()
    loss = torch.zeros((), dtype=torch.float64)
    for pair in ([0, 0], [0, 1], [1, 0], [1, 1]):
        weight = log_probs[pair].sum().exp()
        advantages = batch_relative(values[pair, None], mask)[:, 0]
        loss = loss + weight * (advantages * logits.log_softmax(-1)[pair]).sum() / 2
    (got,) = torch.autograd.grad(loss, logits)
    (want,) = torch.autograd.grad((logits.softmax(-1) * values).sum(), logits)
    torch.testing.assert_close(got, want)


def test_overlong_penalty_by_hand() -> None:
    lengths = torch.tensor([0, 6, 7, 8, 9, 10])
    penalties = overlong_penalty(lengths, budget=10, margin=4)
    # 0 up to 6, then a quarter per token
    assert penalties.tolist() == [0.0, 0.0, -0.25, -0.5, -0.75, -1.0]
