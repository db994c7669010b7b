"""Other forms of an environment: a whole turn as the action, a text as the observation.

`gym.make(id, text_actions=True, text_observations=True)` applies the first two wrappers, and
`gym.make_vec` with these keywords gives the same in batches (`textgym.text_vector`). Vector rewards
are a keyword of textgym's environments too (`vector_reward=True`), and so is a curriculum
(`difficulty="adaptive"`); `AdaptiveDifficulty` brings it to others.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium.envs.registration import EnvSpec
from gymnasium.spaces import Text
from gymnasium.utils import RecordConstructorArgs
from gymnasium.vector.utils import create_shared_memory
from gymnasium.wrappers import OrderEnforcing, PassiveEnvChecker

from textgym.arguments import as_seed
from textgym.core import RLEnvironment, StepResult
from textgym.curriculum import Curriculum
from textgym.mdp import level_draws
from textgym.tokenizer import CharTokenizer


class AnyText(Text):
    """All texts: the lengths and the characters of `gymnasium.spaces.Text` only tell the samples.

    A response may be anything, and so may what a tokenizer makes of it: no set of characters would
    hold all of that.
    """

    def __init__(self, max_length: int) -> None:
        super().__init__(max_length, min_length=0, charset=CharTokenizer.characters)

    def contains(self, x: Any) -> bool:
        """Whether `x` is a text."""
        return isinstance(x, str)

    def __deepcopy__(self, memo: dict[int, Any]) -> AnyText:
        # A batch has a copy for each slot: they differ in their generators alone.
        twin = copy.copy(self)
        twin._np_random = copy.deepcopy(self._np_random, memo)
        return twin


@create_shared_memory.register
def _no_shared_memory(space: AnyText, n: int = 1, ctx: Any = None) -> None:
    """Gymnasium's AsyncVectorEnv reads texts from shared memory once, before any is written."""
    raise TypeError(
        "texts have no place in shared memory: give AsyncVectorEnv shared_memory=False (with "
        "gymnasium.make_vec: vector_kwargs={'shared_memory': False})"
    )


class _TextForm(gymnasium.Wrapper):
    """A wrapper that `gym.make` applies for a keyword, by which its specification tells it too."""

    keyword: ClassVar[str]

    @property
    def spec(self) -> EnvSpec | None:
        """That of the environment inside, with the keyword; the vector form has the same one."""
        spec = self.env.spec
        if spec is None:
            return None
        return dataclasses.replace(spec, kwargs={**spec.kwargs, self.keyword: True})


class WholeResponse(_TextForm):
    """A whole turn a step: the action is a text, as from a model behind an API or from a person.

    The text's tokens and then eos go through the token environment one by one: the same rewards,
    infos and ends as if they were chosen singly. What comes behind the end of a turn is dropped: a
    text with a stop string ends there, and one of more tokens than the budget is cut off. Special
    tokens cannot be said: "<eos>" is five characters. A character that the tokenizer lacks is
    illegal, as its token is, and half a surrogate pair is such a character. In a dialogue, a step
    is a turn, and the observation already has the reply to it.

    Args:
        env: a `textgym.RLEnvironment`. Further wrappers, such as Gymnasium's TimeLimit (which then
            counts turns), go around this one.

    Raises:
        TypeError: if it is anything else.
    """

    keyword = "text_actions"

    def __init__(self, env: gymnasium.Env) -> None:
        inner = env
        while isinstance(inner, OrderEnforcing | PassiveEnvChecker):  # gym.make's: they do nothing
            inner = inner.env
        if not isinstance(inner, RLEnvironment):
            raise TypeError(
                f"WholeResponse got {env}, expected a textgym.RLEnvironment: other wrappers go "
                "around this one"
            )
        super().__init__(env)
        self._inner, self._vocabulary = inner, inner.mdp.vocabulary
        self.action_space = AnyText(inner.mdp.budget)  # a token has a character or more

    def step(self, action: str) -> StepResult:
        """Say a turn.

        Raises:
            gymnasium.error.ResetNeeded: if the episode is over.
            gymnasium.error.InvalidAction: if the action is no text.
        """
        if not isinstance(action, str):
            raise gymnasium.error.InvalidAction(f"action is {action!r:.80}, expected a text")
        vocabulary = self._vocabulary
        return self._inner.say([*vocabulary.encode_plain(action), vocabulary.eos])


class TextObservation(_TextForm):
    """The observation is the text so far: the prompt, and everything since.

    Without special tokens, as in `info["response"]`: no padding, and no eos between the turns of a
    dialogue. `info["length"]` still counts tokens, these among them.

    Args:
        env: a `textgym.RLEnvironment`, possibly in wrappers that leave its observations alone.

    Raises:
        TypeError: if it is anything else.
    """

    keyword = "text_observations"

    def __init__(self, env: gymnasium.Env) -> None:
        core = env.unwrapped
        if not isinstance(core, RLEnvironment) or env.observation_space != core.observation_space:
            raise TypeError(
                f"TextObservation got {env}, expected an environment whose observations are those "
                "of a textgym.RLEnvironment"
            )
        super().__init__(env)
        self._vocabulary = core.mdp.vocabulary
        self.observation_space = AnyText(core.mdp.observation_length)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[str, dict[str, Any]]:
        """Start an episode."""
        tokens, info = self.env.reset(seed=seed, options=options)
        return self._text(tokens, info), info

    def step(self, action: Any) -> StepResult:
        """Take an action of the environment inside."""
        tokens, *rest, info = self.env.step(action)
        return StepResult(self._text(tokens, info), *rest, info)

    def _text(self, tokens: np.ndarray, info: dict[str, Any]) -> str:
        return self._vocabulary.decode(tokens[: info["length"]].tolist())


class AdaptiveDifficulty(gymnasium.Wrapper, RecordConstructorArgs):
    """Moves along an environment's levels so that it is solved sometimes; see `Curriculum`.

    For any environment whose `reset` takes `options={"difficulty": position}`. (textgym's own have
    `difficulty="adaptive"`, which in a batch is one curriculum for all slots.) An episode for which
    the caller asks for a difficulty plays that one and is not counted, and neither is one whose
    info has a `verifier_error`.

    Args:
        env: the environment.
        num_levels: how many levels it has, the easiest one is 0.
        success: (return, last info) -> from 0 to 1, how well an episode went. None: by
            `info["is_success"]` where it is there, else the return itself, as far as it is between
            0 and 1.
        **settings: see Curriculum.

    Attributes:
        curriculum: which has a `state_dict`.
    """

    def __init__(
        self,
        env: gymnasium.Env,
        num_levels: int,
        *,
        success: Callable[[float, dict[str, Any]], float] | None = None,
        **settings: float,
    ) -> None:
        RecordConstructorArgs.__init__(self, num_levels=num_levels, success=success, **settings)
        gymnasium.Wrapper.__init__(self, env)
        self.curriculum = Curriculum(num_levels, **settings)
        self._success = _success if success is None else success
        self._stream: int | None = None
        self._return = 0.0
        self._level: int | None = None  # None: an episode that is not counted

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Start an episode at the level of the curriculum, a function of seed and episode."""
        if seed is not None or self._stream is None:
            given = as_seed(seed)
            self._stream = int(np.random.SeedSequence().entropy if given is None else given) % 2**64
            self._episode = 0
        else:
            self._episode += 1
        self._return, self._level = 0.0, None
        if (options or {}).get("difficulty") is None:
            stream, episode = (np.array([x], np.uint64) for x in (self._stream, self._episode))
            self._level = int(self.curriculum.levels(level_draws(stream, episode))[0])
            options = {**(options or {}), "difficulty": self._level}
        return self.env.reset(seed=seed, options=options)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Take an action; at the end of an episode, tell the curriculum how it went."""
        result = self.env.step(action)
        _, reward, terminated, truncated, info = result
        self._return += float(reward)
        if (terminated or truncated) and self._level is not None and "verifier_error" not in info:
            self.curriculum.record([self._level], [self._success(self._return, info)])
        return result


def _success(total: float, info: dict[str, Any]) -> float:
    return float(info.get("is_success", min(max(total, 0.0), 1.0)))
