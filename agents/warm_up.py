"""Supervised warm-up of a policy that cannot do a task: what never succeeds is never reinforced.

The result is cached, so that the second run starts at once.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.vector import VectorEnv

from agents.environments import as_vector_env, curriculum_of
from agents.models import Policy, load_policy
from agents.rollout import Episodes, evaluate
from agents.sft import SFTConfig, SFTTrainer
from textgym.vector import TokenVectorEnv

ENOUGH_SUCCESS = 0.02
"""Sampled success from which reinforcement learning gets going by itself."""

PROBE_EPISODES = 256
"""Episodes on which that is measured."""

SUCCESS_FILE = "warm_up.json"


def say(line: str) -> None:
    """Print a line so that it is seen at once, at the end of a pipe too."""
    print(line, flush=True)


def warm_up(
    policy: Policy,
    env: str | gymnasium.Env | VectorEnv,
    target: float = 0.25,
    *,
    config: SFTConfig | None = None,
    tell: Callable[[str], None] = say,
) -> float | None:
    """Fit the policy to the task's reference answers, if its success is nearly zero.

    Args:
        policy: the policy; changed in place.
        env: an id or a textgym environment, of the split to train on.
        target: sampled success on the validation split at which to stop; 0: never warm up. Where
            the task's success is no share, it is the mean reward that counts.
        config: the training's constants, with `target` for its `target_success`.
        tell: takes the lines that say what goes on.

    Returns:
        The sampled validation success reached; None: the policy was left as it is.
    """
    if target <= 0:
        return None
    settings = {"tokenizer": policy.tokenizer} if isinstance(env, str) else {}
    envs = as_vector_env(env, 1, group_size=1, **settings)
    if curriculum_of(envs) is not None:  # it begins at the curriculum's level, not at all of them
        envs = as_vector_env(envs, 1, difficulty=envs.difficulty)
    episodes = evaluate(policy, envs, num_episodes=PROBE_EPISODES)
    success, name = float(episodes.success.mean()), _name(episodes)
    if success >= ENOUGH_SUCCESS:
        return None
    if not _has_references(envs):
        tell(
            f"warning: sampled {name} is {success:.3f} and the task has no reference answers to "
            "warm up with, so there may be nothing to reinforce: start from a policy that can do "
            "the task a little, or give its problems an answer"
        )
        return None
    # Frequent looks, because success rises steeply: the policy shall not shoot past the target.
    config = dataclasses.replace(config or SFTConfig(evaluate_every=20), target_success=target)
    spec = getattr(env, "spec", None) or envs.spec
    folder = cache_folder() / _fingerprint(policy, envs, spec, config)
    if folder.is_dir():
        return _restore(policy, folder, name, tell)
    tell(
        f"warm-up: sampled {name} is {success:.3f}, so the policy is first fitted to reference "
        f"answers, up to {target:g}"
    )
    reached = SFTTrainer(config, policy, show=False).train(
        envs,
        report=lambda row: tell(f"  step {row['step']}: {name} {row['success']:.3f} of {target:g}"),
    )
    _store(policy, reached, folder, tell)
    return reached


def cache_folder() -> Path:
    """Where warmed-up policies lie: in $TEXTGYM_CACHE, or textgym's part of the user's cache."""
    root = os.environ.get("TEXTGYM_CACHE")
    if root is None:
        root = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "textgym"
    return Path(root).expanduser() / "warm-up"


def _probe_rows(envs: TokenVectorEnv) -> np.ndarray:
    """Rows of the bank: the first problems of the level played."""
    numbers = np.arange(min(PROBE_EPISODES, envs.mdp.bank.num_problems))
    return envs.mdp.row(envs.difficulty, 0) + numbers


def _has_references(envs: TokenVectorEnv) -> bool:
    rows = _probe_rows(envs)
    envs.mdp.bank.ensure(rows)
    return bool((envs.mdp.bank.references[rows, 0] >= 0).all())


def _fingerprint(policy: Policy, envs: TokenVectorEnv, spec: Any, config: SFTConfig) -> str:
    """A hash of all that the result depends on: weights, task, level, tokenizer, constants."""
    bank, task, rows = envs.mdp.bank, envs.mdp.task, _probe_rows(envs)
    tokenizer = policy.tokenizer
    kwargs = vars(task) if spec is None else spec.kwargs
    described = {
        "task": f"{type(task).__module__}:{type(task).__qualname__}",
        "id": None if spec is None else spec.id,
        "kwargs": {name: value for name, value in kwargs.items() if name != "tokenizer"},
        "split": bank.split,
        "difficulty": envs.difficulty,
        "sizes": [bank.num_problems, bank.max_prompt_tokens, bank.max_response_tokens],
        # The problems themselves: whoever edits the task's code means another task.
        "problems": [bank.prompts[rows].tolist(), bank.references[rows].tolist()],
        "tokenizer": tokenizer.get_vocab() if hasattr(tokenizer, "get_vocab") else len(tokenizer),
        "config": dataclasses.asdict(config),
    }
    digest = hashlib.blake2b(digest_size=16)
    digest.update(json.dumps(described, sort_keys=True, default=repr).encode())
    for name, tensor in policy.state_dict().items():
        digest.update(f"{name} {list(tensor.shape)} {tensor.dtype}".encode())
        flat = tensor.detach().cpu().contiguous().flatten()
        digest.update(flat.view(torch.uint8).numpy())
    return digest.hexdigest()


def _name(episodes: Episodes) -> str:
    return "success" if episodes.has_success else "reward"


def _restore(policy: Policy, folder: Path, name: str, tell: Callable[[str], None]) -> float:
    policy.load_state_dict(load_policy(folder).state_dict())
    success = json.loads((folder / SUCCESS_FILE).read_text(encoding="utf-8"))["success"]
    tell(f"warm-up: to {name} {success:.3f}, as an earlier run did it; from {folder}")
    return success


def _store(policy: Policy, success: float, folder: Path, tell: Callable[[str], None]) -> None:
    """Write the cache's entry aside, then move it there: a run beside this one sees it whole."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as aside:
            entry = Path(aside) / folder.name
            policy.save(entry)
            (entry / SUCCESS_FILE).write_text(json.dumps({"success": success}), encoding="utf-8")
            entry.rename(folder)
    except OSError as error:
        # A cache saves time, nothing else: no reason to lose the minutes that were just spent.
        tell(f"warm-up: not cached ({error})")
