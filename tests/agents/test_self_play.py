"""A policy as its own opponent."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import torch

from agents import PPOConfig, PPOTrainer, evaluate, load_policy
from agents.environments import as_vector_env
from agents.sampling import Sampling, log_probs
from agents.self_play import as_opponent
from textgym import RLEnvironment
from textgym.games import Game, GameTask, Match

PROMPTS = [(f"{a}+{b}=",) for a in range(10, 26) for b in range(10, 14)]


@pytest.fixture(scope="module")
def policy():
    return load_policy("tiny")


def test_greedy_answers_are_those_that_the_policy_gives_in_an_environment(policy) -> None:
    env = gym.make("TextMath-v0", split="test")
    expected = evaluate(policy, env, num_episodes=60, greedy=True).responses
    bank = env.unwrapped.mdp.bank
    level = env.unwrapped.difficulty * bank.num_problems
    prompts = [(bank.problem(level + i).prompt,) for i in range(60)]
    assert as_opponent(policy, temperature=0, max_tokens=10)(prompts) == expected


def test_a_transcript_is_read_as_an_environment_shows_it(policy) -> None:
    opponent = as_opponent(policy)
    env = gym.make("TextNim-v0", opponent=lambda texts: ["1"] * len(texts))
    observation, info = env.reset(seed=0)
    start = env.unwrapped.mdp.bank.problem(env.unwrapped._row)
    for token in [*policy.tokenizer.encode("1"), policy.eos]:
        observation, *_, info = env.step(token)
    seen = env.unwrapped.task.play([start], [["1"]])[0].transcripts[0]
    assert opponent._tokens(seen) == observation[: info["length"]].tolist()


def test_what_is_said_does_not_depend_on_the_batch(policy) -> None:
    opponent = as_opponent(policy, seed=3)
    together = opponent(PROMPTS)
    assert opponent(PROMPTS[::-1]) == together[::-1]
    assert [opponent([prompt])[0] for prompt in PROMPTS[:8]] == together[:8]


def test_seeds_differ_and_greedy_has_none(policy) -> None:
    assert as_opponent(policy, seed=1)(PROMPTS) != as_opponent(policy, seed=2)(PROMPTS)
    greedy = [as_opponent(policy, temperature=0, seed=seed)(PROMPTS) for seed in (1, 2)]
    assert greedy[0] == greedy[1]


def test_sampled_tokens_have_the_policys_probabilities(policy) -> None:
    """How often the first token is the most probable one, against how often it should be."""
    prompts = [(f"{a}+{b}=",) for a in range(10, 60) for b in range(10, 30)]
    said = as_opponent(policy, max_tokens=1)(prompts)
    tokens = torch.tensor([policy.tokenizer.encode(prompt) for (prompt,) in prompts])
    logits = policy.model(input_ids=tokens).logits[:, -1]
    best = log_probs(logits, policy.illegal, Sampling()).max(-1)
    hits = [
        text == policy.tokenizer.decode([token], skip_special_tokens=True)
        for text, token in zip(said, best.indices.tolist(), strict=True)
    ]
    chances = best.values.exp().detach().numpy()
    deviation = np.sqrt((chances * (1 - chances)).sum())
    assert abs(sum(hits) - chances.sum()) < 4 * deviation


def test_a_snapshot_stays_as_it_was(policy) -> None:
    learning = load_policy("tiny")
    opponent = as_opponent(learning, temperature=0)
    before = opponent(PROMPTS)
    with torch.no_grad():
        for parameter in learning.parameters():
            parameter.zero_()
    assert opponent(PROMPTS) == before
    assert as_opponent(learning, temperature=0)(PROMPTS) != before


def test_wrong_numbers_are_refused(policy) -> None:
    for settings in ({"temperature": -1.0}, {"temperature": float("nan")}, {"max_tokens": 0}):
        with pytest.raises(ValueError, match="expected at least 0 and 1"):
            as_opponent(policy, **settings)


class Anything(tuple):
    """Moves among which every text is."""

    def __contains__(self, text):
        return True


class Sums(Game):
    """Three turns each, in which players are asked sums; the longer answers win."""

    name = "sums"
    max_turns = 3
    max_prompt, max_reply, max_move = 8, 6, 8

    def initial(self, rng):
        return int(rng.integers(10, 40)), ()

    def player(self, state):
        return len(state[1]) % 2

    def moves(self, state):
        return Anything(("1",)) if len(state[1]) < 6 else ()

    def play(self, state, move):
        return state[0], (*state[1], move)

    def payoff(self, state):
        lengths = [len("".join(state[1][player::2])) for player in (0, 1)]
        return float(np.sign(lengths[0] - lengths[1]))

    def rules(self, state):
        return ""

    def show(self, state, player):
        return f"{state[0]}+{10 + len(''.join(state[1]))}="

    def optimal(self, state):
        return {"1": 1.0}


class TextSums(GameTask):
    game = Sums()
    max_turns, max_reply_tokens, max_response_tokens = 3, 7, 24


def test_a_policy_plays_either_side_of_a_game_alike(policy) -> None:
    """Games in an environment are those that two frozen copies play by transcripts alone."""
    copy = as_opponent(policy, temperature=0)
    env = RLEnvironment(TextSums(copy), split="all", num_problems=60)
    games = evaluate(policy, env, num_episodes=60, greedy=True)
    matches = [Match(Sums(), env.mdp.bank.problem(i).info["state"]) for i in range(60)]
    for match in matches:
        while not match.is_over:
            match.take(copy([tuple(match.transcripts[match.player])])[0])
    assert games.responses == ["".join(match.transcripts[0][1:]) for match in matches]
    assert games.success.tolist() == [float(match.payoff(0) > 0) for match in matches]
    assert len(set(games.responses)) > 20


def test_self_play_trains_against_a_copy_that_is_renewed(policy) -> None:
    learner = load_policy("tiny")
    trainer = PPOTrainer(PPOConfig(num_iterations=4, batch_size=32), learner, show=False)
    opponents = []
    for iteration in range(trainer.config.num_iterations):
        if iteration % 2 == 0:
            opponents.append(as_opponent(learner, seed=iteration))
            env = gym.make("TextNim-v0", opponent=opponents[-1], reward_weights={"legal": 0.5})
            envs = as_vector_env(env, 32)
        metrics = trainer.step(envs)
        assert 0 <= metrics["component/correct"] <= 1
    first, second = (opponent.policy.state_dict() for opponent in opponents)
    assert any((first[name] != second[name]).any() for name in first)
