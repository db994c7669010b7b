"""The calls by which people know the project, as they write them, end to end."""

from __future__ import annotations

import pytest

import textgym
from agents import PPOConfig, PPOTrainer
from agents.models import new_tiny_model
from textgym import CharTokenizer, MultiObjectiveRewardEnv, RLEnvironment, TextGenerationEnv


@pytest.fixture(scope="module")
def tokenizer():
    return CharTokenizer().to_hugging_face()


def config() -> PPOConfig:
    config = PPOConfig(learning_rate=1e-5, num_iterations=1, batch_size=8)
    config.clip_param = 0.3
    config.max_grad_norm = 0.5
    config.gradient_accumulation_steps = 4
    config.entropy_coef = 0.02
    return config


def length(prompt: str, generated: str, full_text: str) -> float:
    assert full_text == prompt + generated
    return float(len(generated))


ENVIRONMENTS = {
    "mathematics": lambda tokenizer: textgym.create_math_problem_env(tokenizer),
    "an id": lambda tokenizer: "TextGuess-v0",
    "a reward": lambda tokenizer: TextGenerationEnv(tokenizer, ["Say: ", "Do: "], reward_fn=length),
    "rewards": lambda tokenizer: MultiObjectiveRewardEnv(
        tokenizer=tokenizer,
        prompts=["Say: "],
        reward_components={"long": length, "polite": lambda p, g, f: float("please" in g)},
        reward_weights={"long": 0.1, "polite": 1.0},
    ),
}


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_ppo_trains_a_model_on(name, tokenizer) -> None:
    model = new_tiny_model(0, hidden_size=16, num_layers=1)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    trained = PPOTrainer(config(), model, tokenizer).train(ENVIRONMENTS[name](tokenizer))
    assert trained is model
    pairs = zip(before, trained.parameters(), strict=True)
    assert name == "an id" or any(not old.equal(new) for old, new in pairs)


def test_programs_are_judged_by_running_them(tokenizer) -> None:
    env = textgym.create_code_generation_env(tokenizer, text_actions=True)
    env.reset(seed=0)
    core = env.unwrapped
    assert isinstance(core, RLEnvironment)
    assert env.step(core.mdp.bank.problem(core._row).answer)[1] == 1.0


def test_the_difficulty_of_a_made_environment_can_be_set(tokenizer) -> None:
    env = textgym.create_math_problem_env(tokenizer)
    env.unwrapped.set_difficulty("fraction")
    _, info = env.reset(seed=0)
    assert info["difficulty"] == env.unwrapped.task.difficulties.index("fraction")
