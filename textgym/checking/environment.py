"""check_env: whether an environment is a good citizen of Gymnasium, and a correct token MDP."""

from __future__ import annotations

import copy
import pickle
import warnings
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from itertools import islice
from typing import Any

import gymnasium
import numpy as np
from gymnasium.envs.registration import EnvSpec
from gymnasium.spaces import Text
from gymnasium.utils.env_checker import check_env as gymnasium_check_env
from gymnasium.vector import AutoresetMode

from textgym.checking import tokens
from textgym.checking.report import Flaw, Report, difference, shown, undisturbed
from textgym.checking.text_form import check_text_form, random_texts
from textgym.core import RLEnvironment

NUM_SLOTS = 5
"""Slots of the vector environments that are compared."""


class Subject:
    """The environment under test, as a source of fresh ones that share nothing that changes.

    Args:
        env: an id, or an environment, which is copied and itself left alone.
        num_steps: length of the runs that are compared.
        seed: for resets and for the actions.
        kwargs: for `gymnasium.make`.
    """

    def __init__(
        self, env: str | gymnasium.Env, num_steps: int, seed: int, kwargs: dict[str, Any]
    ) -> None:
        self.env, self.num_steps, self.seed, self.kwargs = env, num_steps, seed, kwargs

    def make(self) -> gymnasium.Env:
        """A fresh environment."""
        if isinstance(self.env, str):
            return gymnasium.make(self.env, **self.kwargs)
        return copy.deepcopy(self.env)

    @cached_property
    def original(self) -> gymnasium.Env:
        """One that is never played; while it lives, others of its id share its problems."""
        return self.make()

    def actions(self) -> list[Any]:
        """`num_steps` actions: tokens that make up answers, end episodes or are wrong."""
        env, rng = self.original, np.random.Generator(np.random.PCG64(self.seed))
        core = env.unwrapped
        if isinstance(core, RLEnvironment) and env.action_space == core.action_space:
            return rng.choice(tokens.useful_tokens(core.mdp), size=self.num_steps).tolist()
        if isinstance(core, RLEnvironment) and isinstance(env.action_space, Text):
            return list(islice(random_texts(core.mdp, rng), self.num_steps))
        space = copy.deepcopy(env.action_space)
        space.seed(self.seed)
        return [space.sample() for _ in range(self.num_steps)]

    def play(self, env: gymnasium.Env, seed: int | None = None) -> Iterator[tuple[Any, ...]]:
        """Play `actions()` in `env`, resetting it at the start and whenever an episode ends."""
        yield env.reset(seed=self.seed if seed is None else seed)
        yield from play_on(env, self.actions())


def play_on(env: gymnasium.Env, actions: list[Any]) -> Iterator[tuple[Any, ...]]:
    """Take the actions from here, resetting `env` whenever an episode ends."""
    for action in actions:
        result = env.step(action)
        yield tuple(result)
        if result[2] or result[3]:
            yield env.reset()


def check_env(
    env: str | gymnasium.Env, *, num_steps: int = 200, seed: int = 0, **kwargs: Any
) -> Report:
    """Check that an environment keeps Gymnasium's contract and that of a token environment.

    The latter is checked where the innermost environment is a `textgym.RLEnvironment`.

    Args:
        env: an id ("TextMath-v0", "my_package:MyTask-v0"), or an environment, which is copied.
        num_steps: length of the random runs that are compared.
        seed: another seed plays other problems and actions.
        **kwargs: for `gymnasium.make`, if `env` is an id.

    Raises:
        TypeError: if `env` is neither.
    """
    if not isinstance(env, str | gymnasium.Env):
        raise TypeError(f"env is {shown(env)}, expected an id or a gymnasium.Env")
    if not isinstance(env, str) and kwargs:
        raise TypeError(f"got the keywords {sorted(kwargs)}, which go with an id alone")
    subject = Subject(env, num_steps, seed, kwargs)
    report = Report(f"check_env({env})")
    report.run("construction", lambda: f"{subject.original}")
    if not report.ok:
        return report
    for name, check in CHECKS.items():
        report.run(name, check, subject)
    core = subject.original.unwrapped
    if isinstance(core, RLEnvironment):
        for name, token_check in tokens.CHECKS.items():
            report.run(name, token_check, copy.deepcopy(core), seed)
        report.run("text form", check_text_form, copy.deepcopy(core), seed)
    return report


def _gymnasium(subject: Subject) -> str:
    env = subject.make()
    core = env.unwrapped
    if env.action_space == core.action_space and env.observation_space == core.observation_space:
        env = core  # the wrappers, if any, are those of gymnasium.make
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        gymnasium_check_env(env, skip_render_check=env.spec is None)
    if getattr(core, "vector_reward", False):  # MO-Gymnasium's convention, Gymnasium doubts it
        caught = [warning for warning in caught if "The reward" not in str(warning.message)]
    if env is not core:  # a text form is a wrapper, which is no fault
        caught = [each for each in caught if "unwrapped version" not in str(each.message)]
    if caught:
        raise Flaw(f"gymnasium's checker warns: {caught[0].message}")
    return f"gymnasium {gymnasium.__version__}'s own checker finds nothing"


def _spec(subject: Subject) -> str:
    spec = subject.original.spec
    if spec is None:
        return "none: the environment was not made from an id"
    again = gymnasium.make(EnvSpec.from_json(spec.to_json()))
    env = subject.make()
    _expect_same(subject.play(env), subject.play(again), "of the environment and of its JSON twin")
    return "an environment made from its JSON plays the same"


def _copies(subject: Subject) -> str:
    env, actions = subject.make(), subject.actions()
    env.reset(seed=subject.seed)
    list(play_on(env, actions[: len(actions) // 2]))
    rest = actions[len(actions) // 2 :]
    twins = {"deepcopy": copy.deepcopy(env), "pickle": pickle.loads(pickle.dumps(env))}
    original = list(play_on(env, rest))
    for name, twin in twins.items():
        _expect_same(original, play_on(twin, rest), f"of the environment and of its {name}")
    return "pickled and deep-copied in the middle, it goes on the same"


def _seeds(subject: Subject) -> str:
    first, second = subject.make(), subject.make()
    original = list(subject.play(first))
    _expect_same(original, subject.play(second), "of two environments with one seed")
    _expect_same(original, subject.play(first), "of two runs with one seed")
    starts = [first.reset(seed=subject.seed + i)[0] for i in range(20)]
    if not any(difference(starts[0], start, "") for start in starts[1:]):
        raise Flaw("20 seeds gave one first observation, expected the seed to choose the problem")
    return f"one seed, one run of {subject.num_steps} steps; other seeds, other problems"


def _isolation(subject: Subject) -> str:
    alone = list(subject.play(subject.make()))
    env, other = subject.make(), subject.play(subject.make(), subject.seed + 1)
    with undisturbed("the environment"):
        # The other one takes a step, or starts an episode, after each result of the first.
        mixed = [result for result in subject.play(env) if next(other, True)]
    _expect_same(alone, mixed, "of an environment alone and beside another")
    return "two environments in turn disturb neither each other nor the global generators"


def _vector(subject: Subject) -> str:
    spec = copy.deepcopy(subject.original.spec)
    own = isinstance(subject.original.unwrapped, RLEnvironment)
    if not own or spec is None or spec.vector_entry_point is None:
        return "none of textgym's"
    if subject.original.unwrapped.curriculum is not None:
        return "not compared: the native form has one curriculum for all slots, sync one for each"
    if subject.original.unwrapped.vector_reward:
        return "not compared: Gymnasium's sync form takes no vector rewards"
    spec.additional_wrappers = ()
    for mode in AutoresetMode:
        native = gymnasium.make_vec(spec, NUM_SLOTS, autoreset_mode=mode)
        sync = gymnasium.make_vec(spec, NUM_SLOTS, "sync", vector_kwargs={"autoreset_mode": mode})
        _compare_vectors(native, sync, subject, mode)
    return f"native and sync are the same for {subject.num_steps} steps in each autoreset mode"


def _compare_vectors(
    native: gymnasium.vector.VectorEnv,
    sync: gymnasium.vector.VectorEnv,
    subject: Subject,
    mode: AutoresetMode,
) -> None:
    pool = np.array(subject.actions())
    rng = np.random.Generator(np.random.PCG64(subject.seed))
    reset: dict[str, Any] | None = {"seed": subject.seed}
    for step in range(subject.num_steps):
        if reset is not None:
            ours, theirs = native.reset(**reset), sync.reset(**reset)
            reset = None
        else:
            actions = rng.choice(pool, size=NUM_SLOTS)
            ours, theirs = native.step(actions), sync.step(actions)
            done = ours[2] | ours[3]
            if mode is AutoresetMode.DISABLED and done.any():
                reset = {"options": {"reset_mask": done}}
        where = difference(tuple(ours), tuple(theirs), "result")
        if where:
            raise Flaw(f"native and sync differ at step {step} of {mode.name}: {where}")


def _expect_same(left: Iterable[Any], right: Iterable[Any], whose: str) -> None:
    for step, (a, b) in enumerate(zip(left, right, strict=True)):
        where = difference(a, b, "result")
        if where:
            raise Flaw(f"the runs {whose} differ at step {step}: {where}")


CHECKS: dict[str, Callable[[Subject], str]] = {
    "gymnasium": _gymnasium,
    "spec": _spec,
    "copies": _copies,
    "seeds": _seeds,
    "isolation": _isolation,
    "vector": _vector,
}
"""The checks that any environment passes."""
