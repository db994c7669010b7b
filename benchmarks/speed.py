"""Environment steps per second: single, native vector, Gymnasium's SyncVectorEnv, and peers.

Times are CPU seconds of this one process, the best of several rounds that alternate between the
candidates (machines are noisy). Two policies are played: "random" draws any legal token, so that
most episodes run into the token budget; "reference" writes the reference answers, so that every
episode is graded right and ends early. "details" false leaves out of info which problem was played
and how it ended. Actions are recorded first: only `step` (and `reset`) is timed. "questions" counts
answered questions instead of steps, where a text is a whole answer and where its tokens are steps.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable, Iterator
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode

import textgym  # noqa: F401  (registers the ids)
from benchmarks.peers import environments
from textgym.vector import TokenVectorEnv

ENV_ID = "TextMath-v0"
SLOTS = (1, 16, 256, 4096)
TEXT_SLOTS = (1, 64, 1024)
MODES = (AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP, AutoresetMode.DISABLED)


def main(arguments: list[str] | None = None) -> None:
    """Print one JSON line per figure."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks speed", description=__doc__)
    parser.add_argument("--env", default=ENV_ID)
    parser.add_argument("--slots", type=int, nargs="+", default=SLOTS)
    parser.add_argument("--seconds", type=float, default=0.3, help="CPU seconds per round")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args(arguments)
    for figure in measure(options.env, options.slots, options.seconds, options.rounds):
        print(json.dumps(figure), flush=True)


def measure(env_id: str, slots: Any, seconds: float, rounds: int) -> Iterator[dict[str, Any]]:
    """The figures, one after the other."""
    machine = {"python": platform.python_version(), "numpy": np.__version__}
    common = {"benchmark": "speed", "env": env_id, "unit": "token-steps per CPU second", **machine}
    yield {**common, "what": "calibration", **_calibration()}
    rate = _best([_single(env_id)], seconds, rounds)[0]
    yield {**common, "what": "single", "steps_per_second": rate}
    for num_envs in slots:
        candidates = {
            (mode.name, policy, details): _native(env_id, num_envs, mode, policy, details)
            for details in (True, False)
            for mode in MODES
            for policy in ("random", "reference")
        }
        candidates["SyncVectorEnv", "random", True] = _sync(env_id, num_envs)
        rates = _best(list(candidates.values()), seconds, rounds)
        for (name, policy, details), rate in zip(candidates, rates, strict=True):
            what = "sync" if name == "SyncVectorEnv" else "native"
            row = {"what": what, "mode": name, "policy": policy, "details": details}
            row["num_envs"] = num_envs
            yield {**common, **row, "steps_per_second": rate, "over_sync": rate / rates[-1]}
    yield from _questions(env_id, common, seconds, rounds)
    for name, run in environments.runs():
        figure = {"peer": name, "turns_per_second": _best([run], seconds, rounds)[0]}
        yield {**common, "what": "peer", "unit": "turns per CPU second", **figure}


def _questions(
    env_id: str, common: dict[str, Any], seconds: float, rounds: int
) -> Iterator[dict[str, Any]]:
    """Reference answers as texts and as tokens, on the single form and in same-step batches."""
    common = {**common, "what": "questions", "unit": "questions per CPU second"}
    for num_envs in (None, *TEXT_SLOTS):
        runs = [_answers(env_id, num_envs, text=text) for text in (True, False)]
        for form, rate in zip(("text", "tokens"), _best(runs, seconds, rounds), strict=True):
            yield {**common, "form": form, "num_envs": num_envs, "questions_per_second": rate}


def _best(runs: list[Callable[[], int]], seconds: float, rounds: int) -> list[float]:
    """Steps per CPU second of each run, the best of the rounds; a run returns its step count."""
    best = [0.0] * len(runs)
    for run in runs:
        run()  # caches and problem tables are filled before anything is timed
    for _ in range(rounds):
        for i, run in enumerate(runs):
            steps, start = 0, time.process_time()
            while (spent := time.process_time() - start) < seconds:
                steps += run()
            best[i] = max(best[i], steps / spent)
    return [round(rate) for rate in best]


def _calibration() -> dict[str, float]:
    """What this machine does: one small NumPy call, and one copy of 4096 observations."""
    small, large = np.zeros(256, dtype=np.int64), np.zeros((4096, 26), dtype=np.int64)
    times = {}
    for name, call in (("add_256_us", lambda: small + 1), ("copy_4096x26_us", large.copy)):
        spent = []
        for _ in range(7):
            start = time.process_time()
            for _ in range(2000):
                call()
            spent.append((time.process_time() - start) / 2000 * 1e6)
        times[name] = round(min(spent), 3)
    return times


def _single(env_id: str) -> Callable[[], int]:
    """The unwrapped single environment under random tokens, resets included."""
    env = gym.make(env_id).unwrapped
    env.reset(seed=0)
    actions = _random_tokens(env.action_masks(), (2000,)).tolist()

    def run() -> int:
        for action in actions:
            if env.step(action).terminated:
                env.reset()
        return len(actions)

    return run


def _sync(env_id: str, num_envs: int) -> Callable[[], int]:
    envs = gym.make_vec(env_id, num_envs=num_envs, vectorization_mode="sync")
    envs.reset(seed=0)
    legal = envs.envs[0].unwrapped.action_masks()
    actions = _random_tokens(legal, (max(2, 64 // num_envs), num_envs))

    def run() -> int:
        for row in actions:
            envs.step(row)
        return actions.size

    return run


def _native(
    env_id: str, num_envs: int, mode: AutoresetMode, policy: str, details: bool
) -> Callable[[], int]:
    """A recorded game on the native vector environment, replayed from its beginning."""
    envs = gym.make_vec(env_id, num_envs=num_envs, autoreset_mode=mode, details=details)
    disabled = mode is AutoresetMode.DISABLED
    num_steps = max(400, 50_000 // num_envs)

    def run() -> int:
        envs.reset(seed=0)
        for row in actions:
            done = envs.step(row)[2]
            if disabled and done.any():
                envs.reset(options={"reset_mask": done})
        return num_steps * num_envs

    if policy == "random":
        actions = _random_tokens(envs.action_masks()[0], (num_steps, num_envs))
    else:
        twin = gym.make_vec(env_id, num_envs=num_envs, autoreset_mode=mode)  # says the problems
        actions = _reference_tokens(twin, num_steps)
    return run


def _answers(env_id: str, num_envs: int | None, *, text: bool) -> Callable[[], int]:
    """Questions, 100 or more, all answered by reference; None: in the single form."""
    forms = {"text_actions": text, "text_observations": text}
    num_steps = max(100, 20_000 // (num_envs or 1))
    twin = gym.make_vec(
        env_id, num_envs=num_envs or 1, autoreset_mode="SameStep", text_actions=True
    )
    answers, infos = [], twin.reset(seed=0)[1]
    for _ in range(num_steps):
        rows = infos["difficulty"] * twin.mdp.bank.num_problems + infos["problem"]
        answers.append([twin.mdp.bank.problem(row).answer for row in rows.tolist()])
        infos = twin.step(answers[-1])[4]
    if num_envs is None:
        return _single_answers(gym.make(env_id, disable_env_checker=True, **forms), answers, text)
    envs = gym.make_vec(env_id, num_envs=num_envs, autoreset_mode="SameStep", **forms)
    tokens = (
        None
        if text
        else _reference_tokens(
            gym.make_vec(env_id, num_envs=num_envs, autoreset_mode="SameStep"), num_steps
        )
    )

    def run() -> int:
        envs.reset(seed=0)
        return sum(int(envs.step(row)[2].sum()) for row in (answers if text else tokens))

    return run


def _single_answers(env: gym.Env, answers: list[list[str]], text: bool) -> Callable[[], int]:
    env = env.env  # without the check of the order of calls
    vocabulary = env.unwrapped.mdp.vocabulary
    actions = [
        [answer] if text else [*vocabulary.encode(answer), vocabulary.eos] for (answer,) in answers
    ]

    def run() -> int:
        for i, turn in enumerate(actions):
            env.reset(seed=None if i else 0)
            for action in turn:
                env.step(action)
        return len(actions)

    return run


def _random_tokens(legal: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(0).choice(np.flatnonzero(legal), size=shape)


def _reference_tokens(envs: TokenVectorEnv, num_steps: int) -> np.ndarray:
    """[num_steps, N]: what a policy plays that always writes the reference answer."""
    bank, eos = envs.mdp.bank, envs.mdp.vocabulary.eos
    played: list[np.ndarray] = []
    lengths, start, rows = (np.zeros(envs.num_envs, dtype=np.int64) for _ in range(3))

    def look(infos: dict[str, Any]) -> None:
        lengths[:] = np.where(infos["_length"], infos["length"], lengths)
        if "problem" in infos:
            fresh = infos["_problem"]
            start[fresh] = lengths[fresh]
            rows[fresh] = (infos["difficulty"] * bank.num_problems + infos["problem"])[fresh]

    look(envs.reset(seed=0)[1])
    for _ in range(num_steps):
        place = np.minimum(lengths - start, bank.max_response_tokens - 1)
        played.append(np.where(lengths > 0, bank.references[rows, place], eos))
        _, _, done, _, infos = envs.step(played[-1])
        look(infos)
        if envs.autoreset_mode is AutoresetMode.DISABLED and done.any():
            look(envs.reset(options={"reset_mask": done})[1])
    return np.stack(played)
