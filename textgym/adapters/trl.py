"""TRL's GRPOTrainer: an id as data set, reward functions and tool environment.

    task = GRPOTask("TextMath-v0", difficulty="two-digit")
    GRPOTrainer(model, reward_funcs=task.reward, train_dataset=task.dataset(512)).train()

Verified with TRL 1.16. DPOTrainer needs none of it: `env.unwrapped.preferences(n)` are rows with
its columns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np

from textgym.core import RLEnvironment
from textgym.mdp import TokenMDP
from textgym.registration import find_spec
from textgym.task import as_index

if TYPE_CHECKING:
    from datasets import Dataset

Completion = str | Sequence[Mapping[str, Any]]
"""What TRL hands to a reward function: a text, or the messages behind the prompt."""


class GRPOTask:
    """An id of textgym as GRPOTrainer wants it.

    A response is graded as the environment grades it; its text ends with the first stop string. TRL
    counts the tokens: give it `GRPOConfig(max_completion_length=task.max_response_tokens)`.

    Args:
        id: that of a textgym environment.
        **settings: as for `gymnasium.make(id, **settings)`, but `split`, which each data set has of
            its own. Give the trainer's `tokenizer` too, and a special token before the end of a
            response costs what it costs in the environment; else it is as if it were not there.

    Raises:
        TypeError: if a split is given.
        ValueError: if the id belongs to another kind of environment, or the difficulty is adaptive:
            a data set's rows are chosen before there is a policy to adapt to.

    Attributes:
        environment: a class for `GRPOTrainer(environment_factory=task.environment)`, in which a
            dialogue's turns are calls of the tool `say`; use it with `dataset(..., messages=True)`,
            and no reward function. A response that calls no tool is as if nothing was said.
    """

    def __init__(self, id: str, **settings: Any) -> None:
        find_spec(id)
        if "split" in settings:
            raise TypeError(f"split is {settings['split']!r}: give it to `dataset(n, split)`")
        self.id, self._settings = id, settings
        env = self._make("train")
        if env.curriculum is not None:
            raise ValueError("difficulty is 'adaptive', expected a level: a data set cannot adapt")
        self._mdps: dict[str, TokenMDP] = {"train": env.mdp}
        self.level = env.difficulty
        self.max_response_tokens = env.mdp.budget
        self.component_weights = dict(env.mdp.rewards)
        name = type(env.task).__name__
        self.environment = type(name, (_Dialogue,), {"_task": self, "__doc__": env.task.__doc__})

    def _make(self, split: str) -> RLEnvironment:
        return gymnasium.make(self.id, split=split, **self._settings).unwrapped

    def mdp(self, split: str) -> TokenMDP:
        """The token MDP whose problems the rows of a split number."""
        if split not in self._mdps:
            self._mdps[split] = self._make(split).mdp
        return self._mdps[split]

    def dataset(
        self, n: int, split: str = "train", *, messages: bool = False, system: str = ""
    ) -> Dataset:
        """The first `n` problems of a split.

        Columns: `prompt` (text, or messages), `problem` (its number), `problem_id` (a hash of its
        content), `difficulty` (the level's position), `split`, `environment` (the id).

        Args:
            n: how many rows.
            split: "train", "validation" or "test".
            messages: whether a prompt is a conversation: that of models with a chat template.
            system: the text of a system message before the prompt; "": none.

        Raises:
            ValueError: if the split has fewer problems.
        """
        from datasets import Dataset

        bank, row = self.mdp(split).bank, self.mdp(split).row
        if not 1 <= (as_index(n) or 0) <= bank.num_at(self.level):
            raise ValueError(f"n is {n!r}, expected 1 to {bank.num_at(self.level)}, all of {split}")
        if system and not messages:
            raise ValueError("a system message needs a conversation: give messages=True too")
        before = [{"role": "system", "content": system}] if system else []
        problems = [bank.problem(row(self.level, number)) for number in range(n)]
        rows = [
            {
                "prompt": [*before, {"role": "user", "content": problem.prompt}]
                if messages
                else problem.prompt,
                "problem": number,
                "problem_id": problem.id,
                "difficulty": self.level,
                "split": split,
                "environment": self.id,
            }
            for number, problem in enumerate(problems)
        ]
        return Dataset.from_list(rows)

    def reward(self, completions: Sequence[Completion], **columns: Any) -> list[float | None]:
        """The weighted reward of each completion; the components' means are logged.

        None, which TRL leaves out, where the verifier came to no verdict or the row is that of
        another id (a run may mix data sets, each with its own reward function).
        """
        graded = self._grade(completions, **columns)
        known = [values for values, _ in filter(None, graded)]
        if known and "log_metric" in columns:
            for name, mean in zip(self.component_weights, np.mean(known, axis=0), strict=True):
                columns["log_metric"](f"components/{name}", float(mean))
        return [None if grade is None else float(grade[0] @ grade[1]) for grade in graded]

    def component_rewards(self) -> list[Callable[..., list[float | None]]]:
        """A reward function for each component, in the order of `component_weights`.

        They grade all completions anew. `GRPOConfig(reward_weights=[*weights.values()])` weighs
        them.
        """

        def make(k: int, name: str) -> Callable[..., list[float | None]]:
            def component(completions: Sequence[Completion], **columns: Any) -> list[float | None]:
                graded = self._grade(completions, **columns)
                return [None if grade is None else float(grade[0][k]) for grade in graded]

            component.__name__ = name  # TRL logs it
            return component

        return [make(k, name) for k, name in enumerate(self.component_weights)]

    def _grade(
        self,
        completions: Sequence[Completion],
        *,
        problem: Sequence[int],
        difficulty: Sequence[int],
        split: Sequence[str],
        environment: Sequence[str],
        completion_ids: Sequence[Sequence[int]] | None = None,
        **_: Any,
    ) -> list[tuple[np.ndarray, np.ndarray] | None]:
        """Values and weights [K] of each completion's components, by the columns of its row."""
        graded: list[tuple[np.ndarray, np.ndarray] | None] = [None] * len(completions)
        ours = [i for i, id in enumerate(environment) if id == self.id]
        for name in {split[i] for i in ours}:
            places, mdp = [i for i in ours if split[i] == name], self.mdp(name)
            rows = [mdp.row(difficulty[i], problem[i]) for i in places]
            turns = [self._turns(completions[i]) for i in places]
            verdicts = mdp.grade_many(rows, turns)
            for i, row, verdict in zip(places, rows, verdicts, strict=True):
                if verdict.error is not None:
                    continue
                values = np.array(verdict.values)
                weights = mdp.scoring.weights(mdp.bank.problem(row))
                if "tokenizer" in self._settings and completion_ids is not None:
                    if self._is_illegal(completion_ids[i]):
                        values = mdp.scoring.after_illegal(values, weights)
                graded[i] = values, weights
        return graded

    def _is_illegal(self, tokens: Sequence[int]) -> bool:
        """Whether a token that is no text comes before a stop string does.

        Some models have more ids than their tokenizer: those mean nothing either.
        """
        mdp = self._mdps["train"]
        illegal, stops = mdp.vocabulary.illegal, mdp.task.stop_strings
        for place, token in enumerate(tokens):
            if token >= len(illegal) or illegal[token]:
                before = mdp.vocabulary.decode(list(tokens[:place]))
                return not any(stop in before for stop in stops)
        return False

    def _turns(self, completion: Completion) -> list[str]:
        if isinstance(completion, str):
            return [self.turn(completion)]
        said = [message for message in completion if message["role"] == "assistant"]
        return [self.turn(_text(message.get("content"))) for message in said] or [""]

    def turn(self, text: str) -> str:
        """A turn's text, to the end of its first stop string."""
        stops = self._mdps["train"].task.stop_strings
        ends = [text.index(stop) + len(stop) for stop in stops if stop in text]
        return text[: min(ends, default=len(text))]


class _Dialogue:
    """One rollout: TRL calls `reset` with the row, then shows the model the other methods."""

    _task: GRPOTask  # of the subclass that GRPOTask.environment is

    def reset(self, *, problem: int, difficulty: int, split: str, **_: Any) -> None:
        """Start the row's problem, whose prompt the row has already."""
        self._mdp = self._task.mdp(split)
        self._row = self._mdp.row(difficulty, problem)
        self._turns: list[str] = []
        self._over = False

    def say(self, text: str) -> str:
        """Take a turn, and hear what it leads to.

        Args:
            text: What to say, such as a guess, a calculation or the answer.

        Returns:
            What the other side says.
        """
        if self._over:
            raise ValueError("it is over: nothing more can be said")
        self._turns.append(self._task.turn(text))
        reply = None
        if len(self._turns) < self._mdp.task.max_turns:
            reply = self._mdp.reply_many([self._row], [self._turns])[0]
        self._over = reply is None
        return "It is over." if reply is None else self._mdp.vocabulary.decode(reply)

    def get_reward(self) -> float | None:
        """The weighted grade of what was said; None, which TRL leaves out, without a verdict."""
        verdict = self._mdp.grade(self._row, self._turns or [""])
        if verdict.error is not None:
            return None
        weights = self._mdp.scoring.weights(self._mdp.bank.problem(self._row))
        return float(np.array(verdict.values) @ weights)


def _text(content: Any) -> str:
    """The text of a message, whose content may be in parts, or None beside a tool call."""
    if isinstance(content, str):
        return content
    return "".join(part.get("text") or "" for part in content or ())
