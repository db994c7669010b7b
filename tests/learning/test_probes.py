"""What PPO gets on the probes, as it is and with one bug each: the bug is where the probe says.

`python -m tests.learning.test_probes` measures the whole table, which stands in
`textgym.tasks.probes`, in about two minutes.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from agents import Policy, PPOConfig, PPOTrainer, Rollout, collect
from agents.buffer import Minibatch
from agents.environments import as_vector_env
from agents.models import new_tiny_model
from textgym import CharTokenizer


class Run(NamedTuple):
    """A probe, the config that a working learner takes, and gamma."""

    probe: str
    num_iterations: int
    entropy_coef: float = 0.1
    gamma: float = 1.0


RUNS = {
    "constant": Run("Constant", 15),
    "prompt": Run("Prompt", 40),
    "delay": Run("Delay", 25),
    "discount .91": Run("Discount", 20, gamma=0.91),
    "discount .80": Run("Discount", 25, gamma=0.8),
    "explore": Run("Explore", 100, entropy_coef=1.0),
}


class Learner(PPOTrainer):
    """Proximal policy optimization as it is; a subclass has a bug."""

    def __init__(self, run: Run, seed: int = 0) -> None:
        policy = Policy(new_tiny_model(seed, hidden_size=16, num_layers=1), CharTokenizer())
        config = PPOConfig(
            learning_rate=1e-2,
            value_learning_rate=1e-2,
            num_iterations=run.num_iterations,
            warmup_iterations=0,
            gamma=self.gamma(run.gamma),
            seed=seed,
        )
        super().__init__(config, policy)
        self.run = run

    def gamma(self, gamma: float) -> float:
        return gamma

    def entropy_coef(self, left: float) -> float:
        """From its full value to 0 in four fifths of the time; `left` is 1 - time."""
        return self.run.entropy_coef * max(0.0, (left - 0.2) / 0.8)

    def share(self) -> float:
        """What it learns to get, discounted, as a share of the optimum."""
        env_id, num_envs = f"TextProbe{self.run.probe}-v0", self.config.batch_size
        envs = as_vector_env(env_id, num_envs, num_problems=1000)
        for i in range(self.config.num_iterations):
            self.config.entropy_coef = self.entropy_coef(1 - i / self.config.num_iterations)
            self.step(envs)
        generator = torch.Generator().manual_seed(1)
        rollout, episodes = collect(self.policy, envs, 256, generator=generator)
        task, gamma = envs.mdp.task, self.run.gamma
        found = episodes.returns * gamma ** (rollout.mask.sum(1).numpy() - 1)
        optimal = task.optimal_return if gamma == 1 else task.optimal_discounted_return(gamma)
        return float(found.mean() / optimal)


class WrongSign(Learner):
    """Goes up where it should go down."""

    def loss(self, minibatch: Minibatch, *, count: int) -> Any:
        return super().loss(minibatch._replace(advantages=-minibatch.advantages), count=count)


class OneLate(Learner):
    """Gives each token its predecessor's advantage."""

    def loss(self, minibatch: Minibatch, *, count: int) -> Any:
        late = minibatch.advantages.roll(1, dims=1) * minibatch.rollout.mask
        return super().loss(minibatch._replace(advantages=late), count=count)


class OtherRewards(Learner):
    """Mixes up the rewards of episodes of one length."""

    def _prepare(self, rollout: Rollout) -> Any:
        rows = shuffled_rows(rollout.lengths)
        return super()._prepare(dataclasses.replace(rollout, rewards=rollout.rewards[rows]))


class LostEos(Learner):
    """Loses the reward that comes with eos, as where a mask for padding leaves it out."""

    def _prepare(self, rollout: Rollout) -> Any:
        kept = rollout.rewards * (rollout.tokens != self.policy.eos)
        return super()._prepare(dataclasses.replace(rollout, rewards=kept))


class OtherPrompts(Learner):
    """Learns each response behind another prompt of its length."""

    def _prepare(self, rollout: Rollout) -> Any:
        starts = rollout.mask.int().argmax(1)
        rows = shuffled_rows(starts)
        is_prompt = torch.arange(rollout.tokens.shape[1]) < starts[:, None]
        tokens = torch.where(is_prompt, rollout.tokens[rows], rollout.tokens)
        return super()._prepare(dataclasses.replace(rollout, tokens=tokens))


class Bootstrapping(Learner):
    """Takes the end for a limit from outside: what comes after is worth what came before."""

    def _prepare(self, rollout: Rollout) -> Any:
        last = rollout.lengths - 1
        bootstrap = rollout.values.gather(1, last[:, None])[:, 0]
        terminated = torch.zeros_like(rollout.terminated)
        return super()._prepare(
            dataclasses.replace(rollout, terminated=terminated, bootstrap=bootstrap)
        )


class Myopic(Learner):
    """Sees no further than the next reward."""

    def gamma(self, gamma: float) -> float:
        return 0.0


class Undiscounted(Learner):
    """Does not apply gamma."""

    def gamma(self, gamma: float) -> float:
        return 1.0


class TwiceDiscounted(Learner):
    """Applies gamma twice."""

    def gamma(self, gamma: float) -> float:
        return gamma**2


class WrongEntropySign(Learner):
    """Is paid for being certain."""

    def entropy_coef(self, left: float) -> float:
        return -super().entropy_coef(left)


def shuffled_rows(kinds: Tensor) -> Tensor:
    """A permutation of rows that leaves each among those of its kind: the next one's place."""
    rows = torch.arange(len(kinds))
    for kind in kinds.unique():
        own = (kinds == kind).nonzero()[:, 0]
        rows[own] = own.roll(1)
    return rows


def learned(learner: type[Learner], name: str) -> float:
    torch.set_num_threads(1)
    return learner(RUNS[name]).share()


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_a_working_learner_gets_nine_tenths_of_the_optimum(name: str) -> None:
    assert learned(Learner, name) >= 0.9


@pytest.mark.slow
@pytest.mark.parametrize(
    ("learner", "fails", "passes"),
    [
        (WrongSign, "constant", None),
        (OneLate, "prompt", None),
        (OtherRewards, "prompt", "constant"),
        (LostEos, "constant", "discount .80"),
        (OtherPrompts, "prompt", "constant"),
        (Myopic, "delay", "constant"),
        (Bootstrapping, "discount .91", "discount .80"),
        (Undiscounted, "discount .80", "discount .91"),
        (TwiceDiscounted, "discount .91", "discount .80"),
        (WrongEntropySign, "explore", "constant"),
    ],
)
def test_a_bug_fails_the_probe_that_localises_it(
    learner: type[Learner], fails: str, passes: str | None
) -> None:
    assert learned(learner, fails) < 0.9
    assert passes is None or learned(learner, passes) >= 0.9


def main() -> None:
    """Print what each learner gets on each probe."""
    print(f"{'':18}", *(f"{name:>13}" for name in RUNS))
    for learner in (Learner, *Learner.__subclasses__()):
        shares = (f"{learned(learner, name):13.2f}" for name in RUNS)
        print(f"{learner.__name__:18}", *shares, flush=True)


if __name__ == "__main__":
    main()
