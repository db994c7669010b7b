"""RLlib trains on our environments through `textgym.adapters.rllib`.

Ray pins its own Gymnasium, so it wants an environment of its own: `pip install 'ray[rllib]' torch`.
"""

from __future__ import annotations

import numpy as np
import pytest

from textgym.adapters.rllib import make_env


def test_observations_are_float32_tokens():
    env = make_env({"id": "TextMath-v0", "difficulty": "digit"})
    seen, info = env.reset(seed=0)
    assert seen.dtype == np.float32 and seen in env.observation_space
    core = env.unwrapped
    prompt = core.mdp.bank.problem(core.mdp.row(0, info["problem"])).prompt
    assert core.tokenizer.decode(seen[: info["length"]].astype(int).tolist()) == prompt


def test_a_configuration_without_id_is_refused():
    with pytest.raises(ValueError, match="expected 'id'"):
        make_env({"difficulty": "digit"})


def test_ppo_trains():
    reason = "Ray pins another Gymnasium; pip install 'ray[rllib]' into an environment of its own"
    ray = pytest.importorskip("ray", reason=reason)
    pytest.importorskip("ray.rllib", reason=reason)
    from ray.rllib.algorithms.ppo import PPOConfig
    from ray.tune import register_env

    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False)
    try:
        register_env("textgym", make_env)
        config = (
            PPOConfig()
            .environment("textgym", env_config={"id": "TextMath-v0", "difficulty": "digit"})
            .env_runners(num_env_runners=0, num_envs_per_env_runner=4)
            .training(train_batch_size=256, minibatch_size=64, num_epochs=1)
        )
        result = config.build_algo().train()
    finally:
        ray.shutdown()
    played, learned = result["env_runners"], result["learners"]["default_policy"]
    assert played["num_episodes"] > 10 and 1 <= played["episode_len_mean"] <= 10
    assert np.isfinite([learned["policy_loss"], learned["vf_loss"]]).all()
