"""CleanRL takes Gymnasium environments as they are: its ppo.py, shortened, learns on ours."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import SyncVectorEnv, VectorEnv
from gymnasium.wrappers.vector import RecordEpisodeStatistics

from textgym import Problem, RLEnvironment, Task, TokenMDP, TokenVectorEnv

torch = pytest.importorskip("torch", reason="pip install torch")

NUM_ENVS, NUM_STEPS, GAMMA, LAMBDA, CLIP = 16, 64, 0.99, 0.95, 0.2


class SayK(Task):
    """Begin with a k, whatever the prompt says."""

    max_response_tokens = 3

    def sample(self, rng):
        return Problem(f"{rng.integers(10**6)}=", "k")

    def grade(self, problem, response):
        return {"correct": float(response[:1] == "k")}


def network(num_inputs: int, num_outputs: int, scale: float) -> torch.nn.Module:
    sizes = [(num_inputs, 64, 2**0.5), (64, 64, 2**0.5), (64, num_outputs, scale)]
    layers: list[torch.nn.Module] = []
    for fan_in, fan_out, gain in sizes:
        layers += [torch.nn.Linear(fan_in, fan_out), torch.nn.Tanh()]
        torch.nn.init.orthogonal_(layers[-2].weight, gain)
        torch.nn.init.zeros_(layers[-2].bias)
    return torch.nn.Sequential(*layers[:-1])


def ppo(envs: VectorEnv, num_updates: int, seed: int) -> list[float]:
    """The mean return of the episodes that ended in each update's rollout."""
    torch.manual_seed(seed)
    num_inputs = int(np.prod(envs.single_observation_space.shape))
    actor = network(num_inputs, int(envs.single_action_space.n), 0.01)
    critic = network(num_inputs, 1, 1.0)
    weights = [*actor.parameters(), *critic.parameters()]
    optimizer = torch.optim.Adam(weights, lr=2.5e-3, eps=1e-5)
    shape = (NUM_STEPS, NUM_ENVS)
    obs = torch.zeros((*shape, num_inputs))
    actions = torch.zeros(shape, dtype=torch.int64)
    logprobs, rewards, dones, values = (torch.zeros(shape) for _ in range(4))
    next_obs, next_done = torch.Tensor(envs.reset(seed=seed)[0]), torch.zeros(NUM_ENVS)
    curve = []
    for _ in range(num_updates):
        returns: list[float] = []
        for step in range(NUM_STEPS):
            obs[step], dones[step] = next_obs, next_done
            with torch.no_grad():
                policy = torch.distributions.Categorical(logits=actor(next_obs))
                actions[step], values[step] = policy.sample(), critic(next_obs).flatten()
            logprobs[step] = policy.log_prob(actions[step])
            seen, reward, terminations, truncations, infos = envs.step(actions[step].numpy())
            rewards[step], next_obs = torch.tensor(reward), torch.Tensor(seen)
            next_done = torch.Tensor(np.logical_or(terminations, truncations))
            if "episode" in infos:
                returns += infos["episode"]["r"][infos["_episode"]].tolist()
        curve.append(float(np.mean(returns)))
        with torch.no_grad():
            advantages, last = torch.zeros(shape), torch.zeros(NUM_ENVS)
            ahead, goes_on = critic(next_obs).flatten(), 1 - next_done
            for t in reversed(range(NUM_STEPS)):
                delta = rewards[t] + GAMMA * ahead * goes_on - values[t]
                advantages[t] = last = delta + GAMMA * LAMBDA * goes_on * last
                ahead, goes_on = values[t], 1 - dones[t]
            targets = (advantages + values).flatten()
        b_obs, b_actions, b_logprobs = obs.flatten(0, 1), actions.flatten(), logprobs.flatten()
        for _ in range(4):
            for rows in torch.randperm(NUM_STEPS * NUM_ENVS).chunk(4):
                policy = torch.distributions.Categorical(logits=actor(b_obs[rows]))
                ratio = (policy.log_prob(b_actions[rows]) - b_logprobs[rows]).exp()
                gain = advantages.flatten()[rows]
                gain = (gain - gain.mean()) / (gain.std() + 1e-8)
                surrogate = torch.min(gain * ratio, gain * ratio.clamp(1 - CLIP, 1 + CLIP))
                error = (critic(b_obs[rows]).flatten() - targets[rows]) ** 2
                loss = error.mean() / 4 - surrogate.mean() - 0.01 * policy.entropy().mean()
                optimizer.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(weights, 0.5)
                optimizer.step()
    return curve


def native() -> VectorEnv:
    return TokenVectorEnv(SayK(), NUM_ENVS)


def sync() -> VectorEnv:
    mdp = TokenMDP(SayK())
    return SyncVectorEnv([lambda: RLEnvironment(mdp)] * NUM_ENVS)


@pytest.mark.parametrize("make", [native, sync])
def test_ppo_learns(make):
    curve = ppo(RecordEpisodeStatistics(make()), num_updates=14, seed=0)
    assert curve[0] < 0.1 and np.mean(curve[-3:]) > 0.7


def test_both_vector_forms_give_the_same_run():
    curves = [
        ppo(RecordEpisodeStatistics(make()), num_updates=2, seed=1) for make in (native, sync)
    ]
    assert curves[0] == curves[1]


def test_a_run_on_a_registered_id_is_finite():
    envs = gym.make_vec("TextMath-v0", num_envs=NUM_ENVS, difficulty="digit")
    curve = ppo(RecordEpisodeStatistics(envs), num_updates=1, seed=0)
    assert len(curve) == 1 and 0 <= curve[0] <= 1
