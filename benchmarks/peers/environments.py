"""Environment suites for language models, as their own documentation steps them.

Their step takes a whole turn as a string and ours one token, so a turn of theirs stands against an
episode of ours, which the figures' unit says.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator


def runs() -> Iterator[tuple[str, Callable[[], int]]]:
    """(name, run) of each installed peer; a run plays a while and returns its number of turns."""
    for make in (_gem, _skyrl, _textarena):
        try:
            yield make.__name__[1:], make()
        except ImportError:
            continue


def _gem() -> Callable[[], int]:
    import gem

    env = gem.make("game:GuessTheNumber-v0-easy")
    env.reset(seed=0)
    guesses = random.Random(0)

    def run() -> int:
        for _ in range(500):
            _, _, terminated, truncated, _ = env.step(f"\\boxed{{{guesses.randint(1, 10)}}}")
            if terminated or truncated:
                env.reset()
        return 500

    return run


def _skyrl() -> Callable[[], int]:
    import skyrl_gym

    question = [{"role": "user", "content": "12+34="}]
    extras = {"reward_spec": {"method": "rule", "ground_truth": "46"}}

    def run() -> int:
        for _ in range(500):
            env = skyrl_gym.make("gsm8k", extras=extras)
            env.init(question)
            env.step("#### 46")
        return 500

    return run


def _textarena() -> Callable[[], int]:
    import textarena

    env = textarena.make("GuessTheNumber-v0-raw")
    env.reset(num_players=1, seed=0)
    guesses = random.Random(0)

    def run() -> int:
        for _ in range(500):
            done, _ = env.step(f"[{guesses.randint(1, 20)}]")
            if done:
                env.reset(num_players=1, seed=guesses.randint(0, 1000))
        return 500

    return run
