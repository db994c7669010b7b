"""Returns, advantages and baselines as pure functions of a rollout's tensors.

A time step is a token that the policy chose. Positions where mask is False (the prompt, environment
text between two turns, padding) are not steps: the successor of a masked token is the next masked
token of its row, whatever lies between. Results are [B, L] and 0 where mask is False. Rewards must
be 0 there already, which `Rollout` checks.

The bootstrap [B] is v(s_T), the value of the state after the row's last token. It must be 0 in
terminated rows, whose future is worth nothing; `Rollout` checks this as well.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor


def discounted_returns(rewards: Tensor, mask: Tensor, *, gamma: float, bootstrap: Tensor) -> Tensor:
    """G_t = R_{t+1} + γ G_{t+1}, with G_T = v(s_T). Sutton & Barto 2018, eq. 3.9.

    Args:
        rewards: [B, L], R_{t+1} at the token of step t; 0 where mask is False.
        mask: [B, L] bool, the steps.
        gamma: discount per step.
        bootstrap: [B], v(s_T); 0 in terminated rows.

    Returns:
        [B, L], 0 where mask is False.
    """
    discounts = torch.ones_like(rewards).masked_fill(mask, gamma)
    return _accumulate(rewards, discounts, bootstrap).masked_fill(~mask, 0.0)


def gae(
    rewards: Tensor,
    values: Tensor,
    mask: Tensor,
    *,
    gamma: float,
    gae_lambda: float,
    bootstrap: Tensor,
) -> tuple[Tensor, Tensor]:
    """Generalised advantage estimation. Schulman et al. 2016, eq. 11-16.

    δ_t = R_{t+1} + γ v(s_{t+1}) - v(s_t) and A_t = Σ_l (γλ)^l δ_{t+l} = δ_t + γλ A_{t+1}. λ = 0 is
    the one-step TD error (little variance, biased by v); λ = 1 is the discounted return minus the
    value (unbiased, much variance).

    Args:
        rewards: [B, L], R_{t+1} at the token of step t; 0 where mask is False.
        values: [B, L], v(s_t) at the token of step t; ignored where mask is False.
        mask: [B, L] bool, the steps.
        gamma: discount γ per step.
        gae_lambda: λ, from 0 to 1.
        bootstrap: [B], v(s_T); 0 in terminated rows.

    Returns:
        Advantages A_t and the value function's targets A_t + v(s_t), both [B, L], both 0 where
        mask is False.
    """
    given = ~mask
    # With no decay across given tokens, each position holds the value of the first step at or
    # after it, so that the successor of a step is simply one column to the right.
    step_values = _accumulate(values.masked_fill(given, 0.0), given.to(values.dtype), bootstrap)
    next_values = torch.cat([step_values[:, 1:], bootstrap[:, None]], dim=1)
    deltas = (rewards + gamma * next_values - values).masked_fill(given, 0.0)
    decay = torch.ones_like(values).masked_fill(mask, gamma * gae_lambda)
    advantages = _accumulate(deltas, decay, torch.zeros_like(bootstrap)).masked_fill(given, 0.0)
    return advantages, (advantages + values).masked_fill(given, 0.0)


def one_step(
    rewards: Tensor, values: Tensor, mask: Tensor, *, bootstrap: Tensor
) -> tuple[Tensor, Tensor]:
    """The whole response as one action: A = R - v(s_0) for each of its tokens, R its total reward.

    A contextual bandit whose only state is the prompt, as in Ahmadian et al. 2024, section 3.2. Of
    the values only the first one counts, which knows the prompt alone.

    Args:
        rewards: [B, L]; 0 where mask is False.
        values: [B, L], v(s_t) at the token of step t; ignored where mask is False.
        mask: [B, L] bool, the steps.
        bootstrap: [B], v(s_T); 0 in terminated rows.

    Returns:
        Advantages and the value function's target in every state, which is R; both [B, L], both 0
        where mask is False.
    """
    is_first = mask & (mask.cumsum(1) == 1)
    totals = rewards.sum(1) + bootstrap
    first_values = values.masked_fill(~is_first, 0.0).sum(1)
    advantages, returns = (
        x[:, None].expand_as(rewards).masked_fill(~mask, 0.0)
        for x in (totals - first_values, totals)
    )
    return advantages, returns


def whiten(
    x: Tensor,
    mask: Tensor,
    *,
    shift_mean: bool = True,
    add: Callable[[Tensor], Tensor] = lambda x: x,
) -> Tensor:
    """Scale x to standard deviation 1 over the masked entries of the whole batch.

    Call it once for all that an optimizer step uses: statistics per micro-batch would make the
    result depend on how the batch is split. Huang et al. 2022, "The 37 implementation details of
    PPO", detail 7.

    Args:
        x: [B, L].
        mask: [B, L] bool, the entries that count.
        shift_mean: also shift the mean to 0; if False, keep it (as one does with rewards, where a
            shift would change what is optimal).
        add: adds up a tensor over all processes that hold a part of the batch.

    Returns:
        [B, L], 0 where mask is False. If all masked entries are equal their deviations are 0.
    """
    # In float64 the sum of equal float32 entries is exact, and so their deviations are exactly 0:
    # those of a rounded mean, one ulp each, would be blown up to ±1 by the division.
    entries = x[mask].double()
    total, count = add(torch.stack([entries.sum(), mask.sum().double()]))
    mean = total / count
    deviations = entries - mean
    scaled = deviations / ((add(deviations.square().sum()) / count).sqrt() + 1e-8)
    whitened = torch.zeros_like(x)
    whitened[mask] = (scaled if shift_mean else scaled + mean).to(x.dtype)
    return whitened


def group_relative(
    returns: Tensor,
    problem: Tensor,
    *,
    scale: Literal["group", "batch", "none"] = "group",
    add: Callable[[Tensor], Tensor] = lambda x: x,
) -> Tensor:
    """Return minus the group's mean return, as the advantage of every token of the row.

    Args:
        returns: [B], one per episode.
        problem: [B] int64, rows that share it form a group. Groups may differ in size.
        scale: "group" divides by the group's standard deviation as in GRPO, Shao et al. 2024,
            section 4.1.2; "batch" by that of all returns, as Liu et al. 2025, "Tricks or traps?",
            recommend; "none" is Dr. GRPO, Liu et al. 2025, section 3: the first one favours
            problems which nearly all or nearly no responses solve. (Bessel-corrected.)
        add: adds up a tensor over all processes that hold a part of the batch.

    Returns:
        [B], exactly 0 in a group whose returns are all equal, so in a group of one.
    """
    deviations, sizes, group = _group_deviations(returns, problem)
    if scale == "none":
        return deviations
    if scale == "group":
        squares = torch.zeros_like(sizes).index_add(0, group, deviations.square())
        stds = (squares / (sizes - 1).clamp(min=1)).sqrt()[group]
    else:
        total, count = add(torch.stack([returns.sum(), torch.ones_like(returns).sum()]))
        squares = add((returns - total / count).square().sum())
        stds = (squares / (count - 1).clamp(min=1)).sqrt()
    # 1e-4 as in TRL: returns that differ by rounding only must not become advantages of ±1.
    return deviations / (stds + 1e-4)


def groups_differ(returns: Tensor, problem: Tensor) -> Tensor:
    """[B] bool: whether the returns [B] of the row's group differ, so that they teach something."""
    deviations, sizes, group = _group_deviations(returns, problem)
    return (torch.zeros_like(sizes).index_add(0, group, deviations.abs()) > 0)[group]


def leave_one_out(returns: Tensor, problem: Tensor) -> Tensor:
    """Return minus the mean return of the group's other rows. RLOO, Ahmadian et al. 2024.

    A_i = r_i - Σ_{j≠i} r_j / (n - 1). Unlike the baseline of `group_relative`, this one does not
    contain the row itself, which keeps the policy gradient unbiased (Kool et al. 2019).

    Args:
        returns: [B], one per episode.
        problem: [B] int64, rows that share it form a group. Groups may differ in size.

    Returns:
        [B], the advantage of every token of the row; 0 in a group of one, as where the others have
        no verdict: there is nothing to compare it with.
    """
    deviations, sizes, group = _group_deviations(returns, problem)
    # r - (Σ r - r) / (n - 1) = (r - mean) n / (n - 1)
    return deviations * (sizes / (sizes - 1).clamp(min=1))[group]


def batch_relative(
    returns: Tensor, mask: Tensor, *, add: Callable[[Tensor], Tensor] = lambda x: x
) -> Tensor:
    """Return of each token minus the mean return of the tokens of all other rows.

    REINFORCE with a baseline, Sutton & Barto 2018, section 13.4. The row itself has no part in its
    baseline, for the reason given in `leave_one_out`.

    Args:
        returns: [B, L], of the state in which each token was chosen; 0 where mask is False.
        mask: [B, L] bool, the tokens that the policy chose.
        add: adds up a tensor over all processes that hold a part of the batch.

    Returns:
        [B, L], 0 where mask is False, and if there is one row only.
    """
    rows = torch.stack([returns.sum(1), mask.sum(1).to(returns.dtype)]).double()
    sums, sizes = add(rows.sum(1))[:, None] - rows  # of the other rows
    is_alone = sizes[:, None] == 0
    baselines = (sums / sizes.clamp(min=1))[:, None].to(returns.dtype)
    return (returns - baselines).masked_fill(~mask | is_alone, 0.0)


def overlong_penalty(lengths: Tensor, *, budget: int, margin: int) -> Tensor:
    """Reward for length near the budget: 0 up to budget - margin, then linearly down to -1.

    Soft overlong punishment, DAPO, Yu et al. 2025, eq. 13: being cut off does not come as a
    surprise.

    Args:
        lengths: [B], tokens per response.
        budget: the most that a response may have.
        margin: over how many of them it falls, at least 1.

    Returns:
        [B] float32, from -1 to 0.
    """
    return -((lengths - (budget - margin)) / margin).clamp(0.0, 1.0)


def _accumulate(x: Tensor, decay: Tensor, last: Tensor) -> Tensor:
    """y_i = x_i + decay_i y_{i+1}, with y_L = last. x, decay [B, L]; last [B]; result [B, L]."""
    y, columns = last, []
    for term, factor in zip(reversed(x.unbind(1)), reversed(decay.unbind(1)), strict=True):
        y = torch.addcmul(term, factor, y)
        columns.append(y)
    return torch.stack(columns[::-1], dim=1)


def _group_deviations(returns: Tensor, problem: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Each return minus its group's mean [B], the groups' sizes [G], each row's group [B] int64."""
    problems, group = problem.unique(return_inverse=True)
    zeros = torch.zeros(len(problems), dtype=returns.dtype, device=returns.device)
    sizes = zeros.index_add(0, group, torch.ones_like(returns))
    # Relative to the group's lowest return for the reason given in `whiten`: equal is exactly 0.
    lowest = zeros.scatter_reduce(0, group, returns, "amin", include_self=False)
    above = returns - lowest[group]
    means = zeros.index_add(0, group, above) / sizes
    return above - means[group], sizes, group
