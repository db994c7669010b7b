"""Whatever token environment is given, as slots that a policy can be played in."""

from __future__ import annotations

import copy
from typing import Any

import gymnasium
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv
from gymnasium.wrappers import OrderEnforcing, PassiveEnvChecker

from agents.models import Policy
from textgym.core import RLEnvironment
from textgym.curriculum import Curriculum
from textgym.vector import TokenVectorEnv


def as_vector_env(env: str | gymnasium.Env | VectorEnv, num_envs: int, **kwargs: Any) -> VectorEnv:
    """`num_envs` slots, with autoreset disabled, of whatever token environment is given.

    Args:
        env: an id; a textgym environment, single or vector, of which the native vector form is made
            with the same task and settings; any other single environment (one in wrappers too), of
            which each slot gets a copy; any other vector environment, taken as it is.
        num_envs: slots; a foreign vector environment keeps its own number.
        **kwargs: for an id as in `gym.make`; for textgym's own `difficulty` and `group_size`.

    All slots of the result share one curriculum, that of the environment given, if its difficulty
    is adaptive (except for a foreign vector environment's).

    Raises:
        ValueError: if a foreign vector environment resets finished slots by itself.
        TypeError: if it is no environment, or the id's takes no tokenizer.
    """
    disabled = AutoresetMode.DISABLED
    if isinstance(env, str):
        # One environment first: make_vec would leave out a registered time limit or wrapper.
        group = {"group_size": kwargs.pop("group_size")} if "group_size" in kwargs else {}
        try:
            made = gymnasium.make(env, **kwargs)
        except TypeError as error:
            if "unexpected keyword argument 'tokenizer'" not in str(error):
                raise
            raise TypeError(
                f"{env} takes no tokenizer, so its actions are not known to be the policy's "
                "tokens: make it yourself and give the object, if they are"
            ) from None
        return as_vector_env(made, num_envs, **group)
    if not isinstance(env, gymnasium.Env | VectorEnv):
        raise TypeError(f"env is {type(env).__name__}, expected an id, an Env or a VectorEnv")
    own = _without_harmless_wrappers(env)
    if _is_native(own):
        # With an adaptive difficulty, the environment's own curriculum goes on.
        difficulty = own.difficulty if own.curriculum is None else own.curriculum
        settings = {"difficulty": difficulty, "group_size": getattr(own, "group_size", 1)}
        settings |= kwargs
        envs = TokenVectorEnv(own.mdp, num_envs, autoreset_mode=disabled, **settings)
        envs.spec = own.spec
        return envs
    if isinstance(env, gymnasium.Env):
        envs = SyncVectorEnv([lambda: copy.deepcopy(env)] * num_envs, autoreset_mode=disabled)
        curriculum = curriculum_of(env)
        if curriculum is not None:
            for copied in envs.envs:
                copied.unwrapped.set_difficulty(curriculum)
        return envs
    if env.metadata.get("autoreset_mode") is not disabled:
        raise ValueError(
            "the vector environment resets finished slots by itself; make it with autoreset_mode="
            "AutoresetMode.DISABLED, so that exactly the episodes that were started are collected"
        )
    return env


def check_tokens(policy: Policy, envs: VectorEnv) -> None:
    """Raise ValueError unless the environment has as many tokens as the policy's tokenizer.

    Ids of another tokenizer are other words: the policy would be asked gibberish, without an error.
    """
    actions, num_tokens = envs.single_action_space, len(policy.tokenizer)
    if getattr(actions, "n", None) != num_tokens:
        raise ValueError(
            f"the environment's actions are {actions} and the policy's tokenizer has {num_tokens} "
            "tokens: make the environment with tokenizer=policy.tokenizer"
        )


def _is_native(env: Any) -> bool:
    """Whether the native vector environment of its MDP plays the same: its steps are textgym's."""
    return any(
        isinstance(env, kind) and type(env).step is kind.step and type(env).reset is kind.reset
        for kind in (RLEnvironment, TokenVectorEnv)
    )


def _without_harmless_wrappers(env: Any) -> Any:
    """Take off the wrappers that `gym.make` adds by itself: they change nothing."""
    while isinstance(env, OrderEnforcing | PassiveEnvChecker):
        env = env.env
    return env


def curriculum_of(env: gymnasium.Env | VectorEnv) -> Curriculum | None:
    """The curriculum that moves with an environment's episodes, if its difficulty is adaptive."""
    first = env.envs[0] if isinstance(env, SyncVectorEnv) else env
    return getattr(first.unwrapped, "curriculum", None)
