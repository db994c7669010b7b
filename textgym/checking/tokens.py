"""Checks of an environment as a token MDP: what ends an episode, and what it pays."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import gymnasium
import numpy as np

from textgym.checking.report import Flaw, shown
from textgym.core import RLEnvironment, StepResult
from textgym.mdp import STOP_REASONS, TokenMDP

NUM_PROBLEMS = 20
"""Problems of each level whose reference answers are played."""

NUM_STEPS = 300
"""Length of the random run in which rewards and observations are looked at."""


def useful_tokens(mdp: TokenMDP) -> np.ndarray:
    """Tokens to choose from at random: of questions and answers; often eos, seldom illegal ones."""
    texts = list(mdp.task.stop_strings)
    for number in range(min(NUM_PROBLEMS, mdp.bank.num_problems)):
        problem = mdp.bank.problem(mdp.row(0, number))
        texts += [problem.prompt, problem.answer]
    tokens = np.unique([token for text in texts for token in mdp.vocabulary.encode(text)])
    eos = np.full(2 * len(tokens), mdp.vocabulary.eos)
    return np.concatenate([np.tile(tokens, 8), eos, np.flatnonzero(mdp.vocabulary.illegal)[:4]])


def _illegal_tokens(env: RLEnvironment, seed: int) -> str:
    low = env.mdp.scoring.lowest
    illegal = np.flatnonzero(env.mdp.vocabulary.illegal).tolist()
    for token in illegal:
        env.reset(seed=seed)
        result = env.step(token)
        reason = result.info.get("stop_reason")
        if not result.terminated or result.truncated or reason != "illegal":
            raise Flaw(
                f"token {token} gave terminated={result.terminated}, truncated={result.truncated}, "
                f"stop_reason={reason!r}, expected it to terminate the episode as 'illegal'"
            )
        if low is not None and not env.vector_reward and result.reward != low:
            raise Flaw(f"token {token} earned {result.reward}, expected the lowest reward, {low}")
    return f"{len(illegal)} tokens (pad, bos, unk, ...) end the episode with the lowest reward"


def _action_masks(env: RLEnvironment, seed: int) -> str:
    env.reset(seed=seed)
    masks, again = env.action_masks(), env.action_masks()
    size, vocabulary = env.action_space.n, env.mdp.vocabulary
    if getattr(masks, "shape", None) != (size,) or masks.dtype != np.bool_:
        raise Flaw(f"action_masks() is {shown(masks)}, expected a bool array of shape ({size},)")
    if masks is again:
        raise Flaw("action_masks() gives one array twice, expected a fresh one")
    if env.mdp.has_constraints:
        return _constrained_episode(env, seed)
    wrong = np.flatnonzero(masks == vocabulary.illegal)
    if wrong.size:
        raise Flaw(f"action_masks() is wrong at the tokens {wrong.tolist()[:10]}")
    if not masks[vocabulary.eos]:
        raise Flaw("action_masks() forbids eos, so no response could end")
    return f"{int(masks.sum())} of {size} tokens are legal, eos among them"


def _constrained_episode(env: RLEnvironment, seed: int) -> str:
    """Play a random episode under the masks of a task that constrains its responses."""
    rng, num_tokens = np.random.Generator(np.random.PCG64(seed)), 0
    illegal = env.mdp.vocabulary.illegal
    result = None
    while result is None or not result.terminated:
        masks = env.action_masks()
        if not masks.any() or (masks & illegal).any():
            raise Flaw(
                f"action_masks() allows {shown(masks.nonzero()[0].tolist())}, expected tokens"
            )
        result = env.step(rng.choice(masks.nonzero()[0]))
        num_tokens += 1
    if result.info["stop_reason"] != "eos":
        raise Flaw(
            f"a response under masks ended for {result.info['stop_reason']!r}, expected 'eos': "
            f"{shown(result.info['response'])}"
        )
    return f"a random response under masks is complete after {num_tokens} tokens"


def _budget(env: RLEnvironment, seed: int) -> str:
    mdp, filler = env.mdp, _filler(env.mdp)
    env.reset(seed=seed)
    for step in range(1, mdp.budget + 1):
        result = env.step(filler)
        if result.truncated:
            raise Flaw(f"truncated after {step} tokens, expected the token budget to terminate")
        if result.terminated != (step == mdp.budget):
            raise Flaw(
                f"terminated is {result.terminated} after {step} tokens, expected the end after "
                f"{mdp.budget}"
            )
    if result.info["stop_reason"] != "length":
        raise Flaw(f"stop_reason is {result.info['stop_reason']!r}, expected 'length'")
    try:
        env.step(filler)
    except gymnasium.error.ResetNeeded:
        return f"terminated, not truncated, after {mdp.budget} tokens"
    raise Flaw("step() goes on after the end, expected gymnasium.error.ResetNeeded")


def _filler(mdp: TokenMDP) -> int:
    """A token that ends nothing, however often it is repeated."""
    for token in np.flatnonzero(~mdp.vocabulary.illegal).tolist():
        if token != mdp.vocabulary.eos and not mdp.stops([token] * max(mdp.stop_window, 1)):
            return token
    raise Flaw("every token ends the response, so the token budget cannot be spent")


def _observations(env: RLEnvironment, seed: int) -> str:
    pad, space = env.mdp.vocabulary.pad, env.observation_space
    before, _ = env.reset(seed=seed)
    for token, result in _random_steps(env, seed):
        observation, length = result.observation, result.info["length"]
        if observation not in space:
            raise Flaw(f"the observation {shown(observation)} is not in {space}")
        if np.shares_memory(before, observation):
            raise Flaw("two steps give one array as observation, expected fresh ones")
        if (observation[length:] != pad).any():
            raise Flaw(f"behind info['length'], the observation has more than pad={pad}")
        if env.task.max_turns == 1 and observation[length - 1] != token:
            raise Flaw(f"the last token is {observation[length - 1]}, expected the action, {token}")
        before = observation
    return "fresh arrays: the tokens so far, the action last, then pad"


def _rewards(env: RLEnvironment, seed: int) -> str:
    mdp = env.mdp
    (low, high), space = mdp.reward_range, env.reward_space
    env.reset(seed=seed)
    for _, result in _random_steps(env, seed):
        reward = result.reward
        if env.vector_reward and reward not in space:
            raise Flaw(f"the reward {shown(reward)} is not in {space}")
        if not result.terminated:
            if np.any(reward):
                raise Flaw(f"a step before the end earned {reward}, expected 0")
            continue
        reason, components = result.info["stop_reason"], result.info["components"]
        if reason not in STOP_REASONS[1:]:
            raise Flaw(f"stop_reason is {reason!r}, expected one of {STOP_REASONS[1:]}")
        values = [components[name] for name in mdp.components]
        if env.vector_reward:
            expected = values
        else:
            if not low <= reward <= high:
                raise Flaw(f"the reward {reward} is outside of reward_range {low, high}")
            expected = mdp.scoring.total(values, env.reward_weights.tolist())
        if reason != "illegal" and not np.allclose(expected, reward):
            raise Flaw(f"the reward is {reward}, but its components give {expected}")
    if env.vector_reward:
        return f"0 until the end, then the components {', '.join(mdp.components)}"
    return f"0 until the end, then the weighted components, from {low:g} to {high:g}"


def _random_steps(env: RLEnvironment, seed: int) -> Iterator[tuple[int, StepResult]]:
    """Token and result of a random run, in which `env` is reset whenever an episode ends."""
    rng = np.random.Generator(np.random.PCG64(seed))
    for token in rng.choice(useful_tokens(env.mdp), size=NUM_STEPS).tolist():
        result = env.step(token)
        yield token, result
        if result.terminated or result.truncated:
            env.reset()


def _reference_answers(env: RLEnvironment, seed: int) -> str:
    mdp, num_played = env.mdp, 0
    if env.task.max_turns > 1:
        return "not played: in a dialogue, one turn need not be the whole of it"
    for level in range(mdp.bank.num_levels):
        for number in range(min(NUM_PROBLEMS, mdp.bank.num_problems)):
            row = mdp.row(level, number)
            answer = mdp.bank.problem(row).answer
            if not answer:
                continue
            env.reset(seed=seed, options={"difficulty": level, "problem": number})
            for token in [*mdp.vocabulary.encode(answer), mdp.vocabulary.eos]:
                result = env.step(token)
                if result.terminated:
                    break
            expected = _expected(env, mdp.grade(row, [answer]).values)
            if not np.allclose(result.reward, expected):
                raise Flaw(
                    f"the reference answer {shown(answer)} earned {result.reward}, expected "
                    f"{expected}; it was read as {shown(result.info.get('response'))}, "
                    f"stop_reason {result.info.get('stop_reason')!r}"
                )
            num_played += 1
    return f"{num_played} played token by token, each earns what it should"


def _expected(env: RLEnvironment, grade: Sequence[float]) -> float | Sequence[float]:
    """What a reference answer with this grade earns: the highest reward, where there is one."""
    high = env.mdp.reward_range[1]
    if env.vector_reward:
        return grade
    if env.task.multi_objective or not np.isfinite(high):
        return env.mdp.scoring.total(grade, env.reward_weights.tolist())
    return high


CHECKS: dict[str, Callable[[RLEnvironment, int], str]] = {
    "illegal tokens": _illegal_tokens,
    "action masks": _action_masks,
    "budget": _budget,
    "observations": _observations,
    "rewards": _rewards,
    "reference answers": _reference_answers,
}
"""The checks that a token environment passes."""
