"""`python -m agents evaluate`: measure a policy."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from agents import runs
from agents.commands.arguments import env_kwargs, parse
from agents.runs import UserError


@dataclass
class Evaluation:
    """What is measured, and on which problems."""

    policy: str
    """A run, tiny (the embedded model), a Hugging Face name, or a folder; with --server, whose
    tokenizer is the served model's."""
    server: str | None = None
    """Address of an OpenAI-compatible server that generates, such as http://localhost:8000/v1."""
    model: str | None = None
    """The model's name there (None: what --policy says)."""
    env: str | None = None
    """Id of the environment, such as TextMath-v0 (None: the run's own)."""
    difficulty: int | str | None = None
    """Name or position of the task's level, or adaptive: all levels in equal shares (None: the
    run's own, else the task's default)."""
    reward_weights: tuple[str, ...] = ()
    """Weights of the reward's components, NAME=WEIGHT (none: the run's own, else the task's)."""
    env_kwargs: tuple[str, ...] = ()
    """More keywords of the environment, NAME=VALUE; a VALUE is JSON, or else text (none: the run's
    own)."""
    split: Literal["train", "validation", "test", "all"] = "test"
    """Whose problems; those of test are never trained on."""
    episodes: int = runs.TEST_EPISODES
    """How many problems, one episode each."""
    greedy: bool = False
    """Choose the most probable token instead of sampling."""
    seed: int = 0
    """Of the sampling; the problems are always the same."""
    threads: int = 1
    """CPU threads; for a small model one is fastest."""

    def check(self) -> None:
        """Raise UserError if something is out of its range."""
        for name, least in (("episodes", 1), ("threads", 1), ("seed", 0)):
            if getattr(self, name) < least:
                raise UserError(f"{name} is {getattr(self, name)}, expected at least {least}")


def run(arguments: Sequence[str]) -> None:
    """Measure a policy: a line to read, then the same as JSON."""
    given = parse("evaluate", run.__doc__, Evaluation, arguments)
    given.check()
    import torch

    from agents.rollout import NoVerdictError
    from agents.rollout import evaluate as play

    torch.set_num_threads(given.threads)
    policy, engine = _player(given)
    env_id, settings = runs.task_of(given.policy, given.env, env_kwargs(given))
    env = runs.env_of(env_id, policy, **{**settings, "split": given.split})
    with runs.user_errors(
        ValueError, NoVerdictError, ConnectionError, prefix=f"{given.policy} cannot play {env_id}: "
    ):
        episodes = play(
            policy,
            env,
            num_episodes=given.episodes,
            greedy=given.greedy,
            seed=given.seed,
            action_masks=engine is None and runs.has_masks(given.policy),
            engine=engine,
        )
    name, values = "success", episodes.success
    if not episodes.has_success:
        name, values = "return", episodes.returns[episodes.is_graded]
    level, num_graded = runs.difficulty_of(env), len(values)
    error = float(values.std()) / math.sqrt(num_graded)
    where = ", ".join(filter(None, [env_id, level, f"{given.split} split"]))
    how = "greedy" if given.greedy else "sampled"
    mean = float(values.mean())
    low, high = mean - 1.96 * error, mean + 1.96 * error
    if episodes.has_success:
        low, high = share_interval(mean, num_graded)
    print(f"{where}: {how} {name} {mean:.3f} (95 %: {low:.3f} to {high:.3f}, ", end="")
    print(f"{num_graded} episodes)")
    found = {
        "policy": given.policy,
        **({"server": given.server, "model": given.model} if given.server else {}),
        "env_id": env_id,
        "difficulty": level,
        "split": given.split,
        "episodes": len(episodes.returns),
        "verifier_errors": len(episodes.returns) - num_graded,
        "greedy": given.greedy,
        "seed": given.seed,
        "success": episodes.mean_success,
        f"{name}_standard_error": error,
        "return_mean": episodes.mean_return,
    }
    print(json.dumps(found))


def share_interval(share: float, count: int) -> tuple[float, float]:
    """Between what bounds a share lies, at 95 %, that was measured on `count` cases.

    Also where it is 0 or 1, where a standard error of 0 tells nothing. Wilson 1927.
    """
    z = 1.96**2 / count
    middle = (share + z / 2) / (1 + z)
    half = math.sqrt(z * share * (1 - share) + z * z / 4) / (1 + z)
    return max(0.0, middle - half), min(1.0, middle + half)


def _player(given: Evaluation) -> tuple[Any, Any]:
    """The policy, and the engine that plays it (None: the policy itself)."""
    if given.server is None:
        return runs.policy_of(given.policy), None
    from agents.hub import find_model
    from agents.models import source_of
    from agents.serving import ServedPolicy, Server

    name = given.policy
    runs.check_policy(name)
    with runs.user_errors(ValueError, OSError, prefix=f"policy {name}: "):
        server = Server(given.server, given.model or name)
        return ServedPolicy(find_model(source_of(name))), server.engine()
