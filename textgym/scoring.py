"""From a grade's components to the reward: weights, vectors, and what an illegal token costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium.spaces import Box

from textgym.attributes import merge_rewards
from textgym.task import Problem, Task, reward_range


class Scoring:
    """How the K components of a task become rewards; all arrays have them in `components`' order.

    An illegal token earns the worst value of each component. Where that is unknown (see
    `Task.component_ranges`), it earns what the text so far earns, made worse by 1.

    Args:
        task: whose grades are paid.
        reward_weights: component -> weight, instead of that in the task's `rewards`.

    Attributes:
        rewards: component -> weight, where problems have none of their own.
        components: the names, K of them.
        reward_range: lowest and highest scalar reward of an episode.
        reward_space: Box [K] float32 of the vector rewards.
        lowest: the scalar reward of an illegal token; None where it depends on the episode.
    """

    def __init__(self, task: Task, reward_weights: Mapping[str, float] | None) -> None:
        self._task = task
        self.rewards = merge_rewards(task, reward_weights)
        self.components = tuple(self.rewards)
        self._weights = np.array(list(self.rewards.values()), dtype=np.float64)
        ends = [task.component_ranges.get(name, (0.0, 1.0)) for name in self.components]
        self._low, self._high = np.array(ends, dtype=np.float64).T
        self.reward_space = Box(
            self._low.astype(np.float32), self._high.astype(np.float32), dtype=np.float32
        )
        self.has_own_weights = type(task).weights is not Task.weights
        self.is_bounded = bool(np.isfinite([self._low, self._high]).all())
        low, high = reward_range(self.rewards, task.component_ranges)
        if self.has_own_weights:  # or any mixture of the components
            low, high = min(low, float(self._low.min())), max(high, float(self._high.max()))
        self.reward_range = low, high
        fixed = self.is_bounded and not self.has_own_weights
        self.lowest = self.reward_range[0] if fixed else None

    def weights(self, problem: Problem) -> np.ndarray:
        """[K] float64: what the components weigh in this problem.

        Raises:
            ValueError: if the task's `weights` are not those of its components, or no mixture.
        """
        own = self._task.weights(problem) if self.has_own_weights else None
        if own is None:
            return self._weights
        found = np.array([own.get(name, np.nan) for name in self.components], dtype=np.float64)
        if len(own) != len(found) or not (found >= 0).all() or abs(found.sum() - 1) > 1e-6:
            raise ValueError(
                f"{type(self._task).__name__}.weights returned {own!r}, expected a weight of at "
                f"least 0 for each of {list(self.components)}, with the sum 1"
            )
        return found

    def weights_many(self, problems: Sequence[Problem]) -> np.ndarray:
        """[k, K] float64: the weights in each of k problems."""
        if not self.has_own_weights:
            return np.broadcast_to(self._weights, (len(problems), len(self._weights)))
        own = [self.weights(problem) for problem in problems]
        return np.array(own, dtype=np.float64).reshape(-1, len(self._weights))

    def after_illegal(self, values: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """[k, K] components as an illegal token has them, from those of the text before it."""
        worst = np.where(weights >= 0, self._low, self._high)
        return np.where(np.isfinite(worst), worst, values - np.sign(weights))

    def total(self, values: Sequence[Any], weights: Sequence[Any]) -> Any:
        """The weighted sum over K components: a float from floats, [k] from K columns [k]."""
        total = weights[0] * values[0]
        for i in range(1, len(values)):
            total = total + weights[i] * values[i]
        return total
