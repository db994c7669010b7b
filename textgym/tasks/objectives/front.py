"""What tasks with a known Pareto front share: weights in prompts, and the best of the front."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence

import numpy as np

from textgym.task import Problem, Task

EVEN = (0.5, 0.5)


class FrontTask(Task):
    """Two objectives at odds, in [0, 1] each, and all that can be had of both.

    The front is the same for all problems of a level, so that a learner's returns on a level can be
    set against it: `textgym.pareto.hypervolume(points, (0, 0))` and `expected_utility`. It is what
    single responses reach. A policy that answers now like this and now like that has mean returns
    between two of its points, which with few points gives a slightly larger hypervolume than the
    front's own, but never a larger expected utility.

    The reference answer is the best response by the task's own weights, one half each, or by those
    in the prompt.

    Args:
        weights_in_prompt: whether each problem has weights of its own, in hundredths at random,
            which its prompt tells and by which its reward is made.
    """

    multi_objective = True

    def __init__(self, weights_in_prompt: bool = False) -> None:
        if not isinstance(weights_in_prompt, bool):
            raise TypeError(f"weights_in_prompt is {weights_in_prompt!r}, expected True or False")
        self.weights_in_prompt = weights_in_prompt

    @abstractmethod
    def pareto_front(self, difficulty: str | int | None = None) -> np.ndarray:
        """The front of a level (None: the default one).

        Returns:
            [M, 2] float64: the components of all responses that no response dominates.
        """

    @abstractmethod
    def optimal_responses(self, problem: Problem) -> Sequence[str]:
        """M responses to a problem, which reach the points of the front in its order."""

    @abstractmethod
    def question(self, rng: np.random.Generator, level: str) -> Problem:
        """A problem of a level without weights and reference; its info has what grading needs."""

    @abstractmethod
    def told(self, problem: Problem, weights: tuple[float, float]) -> str:
        """The prompt of a question that tells these weights, the same for equal questions."""

    def sample(self, rng: np.random.Generator, difficulty: str | None = None) -> Problem:
        """Draw a question of a level, and weights if it has its own."""
        level = self.difficulties[self.difficulty_index(difficulty)]
        problem, weights = self.question(rng, level), EVEN
        info, prompt = {**problem.info, "level": level}, problem.prompt
        if self.weights_in_prompt:
            hundredths = int(rng.integers(101))
            weights = hundredths / 100, (100 - hundredths) / 100
            info["weights"] = dict(zip(self.rewards, weights, strict=True))
            prompt = self.told(problem, weights)
        asked = Problem(prompt, info=info, key=problem.prompt)
        best = int(np.argmax(self.pareto_front(level) @ np.array(weights)))
        return Problem(prompt, self.optimal_responses(asked)[best], info, problem.prompt)

    def weights(self, problem: Problem) -> Mapping[str, float] | None:
        """The weights that the prompt tells, if it does."""
        return problem.info.get("weights")
