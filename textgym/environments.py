"""Environments by class or function, for those who have a tokenizer at hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gymnasium

from textgym.core import RLEnvironment
from textgym.preferences import PreferenceFunction
from textgym.rewards import AnyReward, load_reward
from textgym.task import as_index
from textgym.tasks.generation import ScoredObjectives, TextGeneration
from textgym.tasks.generation.scored import Prompts
from textgym.tasks.preference import TextPreference
from textgym.tasks.preference.rows import Source
from textgym.tasks.preference.text_preference import Form
from textgym.tokenizer import Tokenizer


class TextGenerationEnv(RLEnvironment):
    """Respond to prompts of one's own and earn what a function says.

    Example:
        >>> env = TextGenerationEnv(
        ...     "char", ["Say hello: "], lambda prompt, generated, full_text: float(len(generated))
        ... )

    It pickles if the reward function does: one defined in a module, no lambda.

    Args:
        tokenizer: whose ids the actions are: "char", a Hugging Face name or folder, or an object.
        prompts: a list of texts, a mapping from splits to such lists, or a data set's file, folder
            or name; see `textgym.tasks.generation.ScoredTexts`. None: generated ones, see
            `textgym.tasks.TextGeneration`.
        reward_fn: `(prompt, generated, full_text) -> float`, any finite number; or a ready one by
            name; see `textgym.rewards`. None: that of the generated prompts.
        max_length: most tokens of a response, eos included. None: 32, or by the references.
        stop_sequences: texts at which a response ends; `generated` is what stands before.
        fields: `{"prompt": COLUMN}` of a data set.
        subset: the configuration of a data set on the hub.
        **settings: what RLEnvironment takes: `split`, `render_mode`, `difficulty`, ...

    Raises:
        TypeError, ValueError: for what is none of these; the message names the argument.
    """

    def __init__(
        self,
        tokenizer: str | Tokenizer = "char",
        prompts: Prompts | None = None,
        reward_fn: AnyReward | None = None,
        *,
        max_length: int | None = None,
        stop_sequences: Sequence[str] = (),
        fields: Mapping[str, str] | None = None,
        subset: str | None = None,
        **settings: Any,
    ) -> None:
        task = TextGeneration(
            prompts, reward_fn, fields=fields, subset=subset, stop_sequences=stop_sequences
        )
        super().__init__(
            task, tokenizer=tokenizer, max_response_tokens=_budget(max_length), **settings
        )


class MultiObjectiveRewardEnv(RLEnvironment):
    """The same with several reward functions at once, each a component with a name and a weight.

    The reward is their weighted sum; `info` has `vector_reward` and `reward_weights` [K] float32,
    in the order of the components, and with `vector_reward=True` the reward is the vector itself
    (MO-Gymnasium's convention, with `reward_space`).

    Example:
        >>> env = MultiObjectiveRewardEnv(
        ...     "char",
        ...     ["Say hello: "],
        ...     {"polite": "keywords:please,thanks", "brief": {"name": "length", "low": 3}},
        ...     {"polite": 0.7, "brief": 0.3},
        ... )

    Args:
        tokenizer, prompts, max_length, stop_sequences, fields, subset: see `TextGenerationEnv`.
        reward_components: name -> reward function.
        reward_weights: name -> weight, for all of them; None: equal ones with the sum 1.
        **settings: what RLEnvironment takes: `vector_reward`, `split`, ...

    Raises:
        TypeError, ValueError: for what is none of these; the message names the argument.
    """

    def __init__(
        self,
        tokenizer: str | Tokenizer,
        prompts: Prompts,
        reward_components: Mapping[str, AnyReward],
        reward_weights: Mapping[str, float] | None = None,
        *,
        max_length: int | None = None,
        stop_sequences: Sequence[str] = (),
        fields: Mapping[str, str] | None = None,
        subset: str | None = None,
        **settings: Any,
    ) -> None:
        if not isinstance(reward_components, Mapping) or not reward_components:
            raise TypeError(
                f"reward_components is {reward_components!r:.80}, expected a mapping of names to "
                "reward functions"
            )
        rewards = {
            name: load_reward(reward, f"reward_components[{name!r}]")
            for name, reward in reward_components.items()
        }
        even = dict.fromkeys(rewards, 1 / len(rewards))
        task = ScoredObjectives(
            prompts,
            rewards,
            even if reward_weights is None else reward_weights,
            fields=fields,
            subset=subset,
            stop_sequences=stop_sequences,
        )
        super().__init__(
            task, tokenizer=tokenizer, max_response_tokens=_budget(max_length), **settings
        )


class PreferenceComparisonEnv(RLEnvironment):
    """Judge which of two responses is better, or write the one that is preferred.

    Example:
        >>> env = PreferenceComparisonEnv(
        ...     "char",
        ...     form="duel",
        ...     dataset=[Preference("Say hello: ", "hello there", "go away")],
        ...     reward_fn="keywords:hello",
        ...     split="all",
        ... )

    Args:
        tokenizer: whose ids the actions are: "char", a Hugging Face name or folder, or an object.
        form: "judge", "duel" or "pair"; see `textgym.tasks.TextPreference`.
        preference: who compares: "utility" (the true one of the generated requests), "person", or a
            function (prompt, a, b) -> probability that a is preferred.
        reward_fn: a reward function or the name of a ready one ("reward_model:FOLDER") instead, by
            Bradley and Terry's model.
        beta, noise, reference, dataset, subset, fields: see `textgym.tasks.TextPreference`.
        **settings: what RLEnvironment takes: `difficulty`, `split`, `max_response_tokens`, ...

    Raises:
        TypeError, ValueError: for what is none of these; the message names the argument.
    """

    def __init__(
        self,
        tokenizer: str | Tokenizer = "char",
        *,
        form: Form = "judge",
        preference: str | PreferenceFunction = "utility",
        reward_fn: AnyReward | None = None,
        beta: float | None = None,
        noise: float = 0.0,
        reference: Callable[[str], str] | None = None,
        dataset: Source | None = None,
        subset: str | None = None,
        fields: Mapping[str, str] | None = None,
        **settings: Any,
    ) -> None:
        task = TextPreference(
            form,
            preference=preference,
            reward_fn=reward_fn,
            beta=beta,
            noise=noise,
            reference=reference,
            dataset=dataset,
            subset=subset,
            fields=fields,
        )
        super().__init__(task, tokenizer=tokenizer, **settings)


def create_code_generation_env(
    tokenizer: str | Tokenizer = "char", **settings: Any
) -> gymnasium.Env:
    """TextCode-v0: write programs, which a sandbox runs against hidden tests.

    Args:
        tokenizer: whose ids the actions are: "char", a Hugging Face name or folder, or an object.
        **settings: what `gymnasium.make("TextCode-v0", ...)` takes: `difficulty`, `dataset`,
            `reward_weights`, `max_response_tokens`, ...; see `textgym.tasks.TextCode`.

    Raises:
        RuntimeError: if this machine cannot isolate programs well enough; the message says what is
            missing.
    """
    return gymnasium.make("TextCode-v0", tokenizer=tokenizer, **settings)


def create_math_problem_env(tokenizer: str | Tokenizer = "char", **settings: Any) -> gymnasium.Env:
    """TextMath-v0: answer mathematical problems, which an exact grader judges.

    Args:
        tokenizer: whose ids the actions are: "char", a Hugging Face name or folder, or an object.
        **settings: what `gymnasium.make("TextMath-v0", ...)` takes: `difficulty`, `wording`,
            `dataset`, `answer_format`, `reward_weights`, ...; see `textgym.tasks.TextMath`.
    """
    return gymnasium.make("TextMath-v0", tokenizer=tokenizer, **settings)


def _budget(max_length: int | None) -> int | None:
    if max_length is not None and not as_index(max_length):
        raise ValueError(f"max_length is {max_length!r}, expected None or an integer of at least 1")
    return max_length
