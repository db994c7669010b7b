"""TextGeneration: prompts from anywhere, reward functions that fail, and generated sentences."""

from __future__ import annotations

import json
import math
import pickle
import warnings

import gymnasium as gym
import numpy as np
import pytest

import textgym
from tests.textgym.playing import CHAR, EOS, play
from textgym import MultiObjectiveRewardEnv, TextGenerationEnv
from textgym.rewards import Length, batched
from textgym.tasks import TextGeneration
from textgym.tasks.generation.sentences import LEVELS, sentence_reward

HELLO = ["Say hello: "]


def num_vowels(prompt: str, generated: str, full_text: str) -> float:
    assert full_text == prompt + generated
    return sum(c in "aeiou" for c in generated) - 0.5


def rows(env) -> list:
    bank = env.unwrapped.mdp.bank
    return [bank.problem(row) for row in range(bank.num_rows)]


# --------------------------------------------------------------------- prompts


@pytest.mark.parametrize("num_prompts", [1, 2, 3, 50])
def test_a_list_of_prompts_is_trained_on_as_a_whole_however_short(num_prompts):
    prompts = [f"Say {i}: " for i in range(num_prompts)]
    env = TextGenerationEnv("char", prompts, num_vowels)
    assert [problem.prompt for problem in rows(env)] == prompts
    asked = {env.reset(seed=seed)[1]["problem"] for seed in range(500)}
    assert asked == set(range(num_prompts))


def test_a_mapping_says_what_is_in_which_split():
    prompts = {"train": ["a", "b"], "test": ["c"]}
    for split, expected in {**prompts, "all": ["a", "b", "c"]}.items():
        env = gym.make("TextGeneration-v0", prompts=prompts, reward_fn="distinct", split=split)
        assert [problem.prompt for problem in rows(env)] == expected
    with pytest.raises(ValueError, match="no problem in split 'validation': .* train .2."):
        gym.make("TextGeneration-v0", prompts=prompts, reward_fn="distinct", split="validation")


def test_a_prompt_that_comes_twice_is_asked_once():
    assert len(rows(TextGenerationEnv("char", ["a", "b", "a"], num_vowels))) == 2


def test_prompts_come_from_a_file_by_the_name_of_their_column(tmp_path):
    file = tmp_path / "prompts.jsonl"
    lines = [json.dumps({"instruction": f"Write {i}: ", "other": 1}) for i in range(100)]
    file.write_text("\n".join(lines))
    settings = {"prompts": str(file), "reward_fn": num_vowels, "fields": {"prompt": "instruction"}}
    train, test = (
        gym.make("TextGeneration-v0", split=split, **settings) for split in ("train", "test")
    )
    assert len(rows(train)) > 60 and 0 < len(rows(test)) < 30
    assert not {p.prompt for p in rows(train)} & {p.prompt for p in rows(test)}


@pytest.mark.parametrize(
    ("prompts", "error", "message"),
    [
        ([], ValueError, "prompts is empty, expected at least one text"),
        (["a", ""], ValueError, r"prompts\[1\] is empty, expected a text"),
        (["a", 3], TypeError, r"prompts\[1\] is 3, expected a text"),
        (3, TypeError, "prompts is 3, expected a list of texts, a mapping from splits"),
        ({"training": ["a"]}, ValueError, r"prompts has the splits \['training'\], expected some"),
        ({"train": ["a"], "test": ["a"]}, ValueError, "prompts has 'a' in two splits"),
        ({}, ValueError, "prompts is empty, expected at least one split"),
        ("Say hello: ", ValueError, "'Say hello: ' is no file or folder that exists"),
        ("./nowhere.jsonl", FileNotFoundError, "there is no file or folder"),
    ],
)
def test_what_is_no_prompts_is_refused(prompts, error, message):
    with pytest.raises(error, match=message):
        TextGenerationEnv("char", prompts, num_vowels)


def test_arguments_that_do_not_fit_together_are_refused():
    with pytest.raises(ValueError, match="reward_fn is None, expected a function"):
        TextGenerationEnv("char", HELLO)
    with pytest.raises(ValueError, match="fields and subset say how to read a data set"):
        TextGenerationEnv("char", HELLO, num_vowels, fields={"prompt": "q"})
    with pytest.raises(ValueError, match="fields and subset say how to read a data set"):
        TextGenerationEnv("char", subset="main")
    with pytest.raises(TypeError, match="stop_sequences is 3, expected a list of texts"):
        TextGenerationEnv("char", HELLO, num_vowels, stop_sequences=3)
    with pytest.raises(ValueError, match="stop_sequences has '', expected texts"):
        TextGenerationEnv("char", HELLO, num_vowels, stop_sequences=["."] + [""])
    with pytest.raises(ValueError, match="max_length is 0, expected None or an integer"):
        TextGenerationEnv("char", HELLO, num_vowels, max_length=0)
    with pytest.raises(ValueError, match="reward_fn is 'nope', expected a function, 'module"):
        TextGenerationEnv("char", HELLO, "nope")


# ---------------------------------------------------------------- environments


def test_the_environment_of_ones_own_pays_what_the_function_says():
    env = TextGenerationEnv(CHAR, HELLO, reward_fn=num_vowels, max_length=7)
    assert isinstance(env, textgym.RLEnvironment) and isinstance(env, gym.Env)
    env.reset(seed=0)
    assert play(env, "aloha").reward == 2.5
    env.reset()
    result = play(env, "aaaaaaaaaaaa")
    assert result.reward == 6.5 and result.info["stop_reason"] == "length"
    assert env.mdp.reward_range == (-math.inf, math.inf)


def test_a_stop_sequence_ends_the_response_and_is_no_part_of_generated():
    env = TextGenerationEnv(
        "char", HELLO, lambda p, g, f: float(g == "hi"), stop_sequences=[".", "\n"]
    )
    env.reset(seed=0)
    result = play(env, "hi.")
    assert result.terminated and result.reward == 1 and result.info["stop_reason"] == "stop"
    single = TextGenerationEnv("char", HELLO, num_vowels, stop_sequences="END")
    assert single.task.stop_strings == ("END",)


def test_an_illegal_token_earns_less_than_the_text_before_it():
    env = TextGenerationEnv("char", HELLO, num_vowels)
    env.reset(seed=0)
    play(env, "a", eos=False)
    assert env.step(0).reward == 0.5 - 1


def test_the_environment_passes_the_checks_of_every_other():
    env = TextGenerationEnv("char", [*HELLO, "Say bye: "], Length(1, 3, slack=2))
    report = textgym.check_env(env, num_steps=60)
    assert report.ok and not report.of("warning"), str(report)


def test_it_pickles_with_its_function():
    env = TextGenerationEnv("char", HELLO, num_vowels)
    env.reset(seed=0)
    assert play(pickle.loads(pickle.dumps(env)), "aloha").reward == 2.5


def test_batched_functions_judge_a_whole_batch_at_once():
    sizes = []

    @batched
    def reward(prompts, generated, full_texts):
        sizes.append(len(generated))
        return [len(text) for text in generated]

    envs = gym.make_vec("TextGeneration-v0", num_envs=4, prompts=HELLO, reward_fn=reward)
    envs.reset(seed=0)
    envs.step(np.array([5, 6, 7, 8]))
    assert envs.step(np.full(4, EOS))[1].tolist() == [1.0] * 4
    assert sizes == [4]


def test_a_name_is_a_specification_in_json():
    settings = {"prompts": HELLO, "reward_fn": {"name": "length", "low": 2, "slack": 2}}
    env = gym.make("TextGeneration-v0", **settings)
    again = gym.make(gym.envs.registration.EnvSpec.from_json(env.spec.to_json()))
    again.reset(seed=0)
    assert play(again, "one two three").reward == 0.5
    assert again.unwrapped.mdp is env.unwrapped.mdp  # equal keywords share their problems


# --------------------------------------------------------------------- failure


def fails_on_q(prompt: str, generated: str, full_text: str) -> float:
    if "q" in generated:
        raise ValueError(f"cannot judge {generated!r}")
    return math.nan if "z" in generated else 1.0


@pytest.mark.parametrize(
    ("response", "told"),
    [
        ("q!", "reward: fails_on_q raised ValueError: cannot judge 'q!'"),
        ("z", "reward: fails_on_q returned nan, expected a finite number"),
    ],
)
def test_a_function_that_fails_gives_no_verdict_and_a_warning(response, told):
    env = TextGenerationEnv("char", HELLO, fails_on_q)
    env.reset(seed=0)
    with pytest.warns(RuntimeWarning, match="the reward function fails_on_q .*verifier_error"):
        result = play(env, response)
    assert result.terminated and result.info["verifier_error"] == told
    env.reset()
    assert "verifier_error" not in play(env, "a").info


def test_in_a_batch_only_the_failed_slot_has_no_verdict():
    envs = gym.make_vec("TextGeneration-v0", num_envs=3, prompts=HELLO, reward_fn=fails_on_q)
    envs.reset(seed=0)
    envs.step(np.array(CHAR.encode("aqb")))
    with pytest.warns(RuntimeWarning):
        _, rewards, _, _, infos = envs.step(np.full(3, EOS))
    assert rewards.tolist() == [1.0, 0.0, 1.0]
    assert infos["_verifier_error"].tolist() == [False, True, False]


def test_one_component_that_fails_takes_the_verdict_with_it():
    env = MultiObjectiveRewardEnv(
        "char", HELLO, {"short": {"name": "length", "low": 1}, "odd": fails_on_q}
    )
    env.reset(seed=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = play(env, "q")
    assert result.info["verifier_error"].startswith("odd: fails_on_q raised ValueError")
    assert result.info["components"] == {"short": 0.0, "odd": 0.0}


# ------------------------------------------------------------- multi-objective


def make_two(**settings) -> MultiObjectiveRewardEnv:
    return MultiObjectiveRewardEnv(
        tokenizer="char",
        prompts=HELLO,
        reward_components={"vowels": num_vowels, "short": {"name": "length", "low": 0, "high": 1}},
        reward_weights={"short": 0.25, "vowels": 2.0},
        **settings,
    )


def test_components_are_summed_by_their_weights_and_told_as_a_vector():
    env = make_two()
    _, info = env.reset(seed=0)
    weights = info["reward_weights"]
    assert weights.tolist() == [2.0, 0.25] and weights.dtype == np.float32
    result = play(env, "aloha")
    assert result.reward == 2 * 2.5 + 0.25 * 1
    assert result.info["vector_reward"].tolist() == [2.5, 1.0]
    assert result.info["components"] == {"vowels": 2.5, "short": 1.0}


def test_the_reward_is_the_vector_if_asked_for():
    env = make_two(vector_reward=True)
    env.reset(seed=0)
    result = play(env, "aloha")
    assert result.reward.tolist() == [2.5, 1.0] and result.reward in env.reward_space
    assert env.reward_space.low.tolist() == [-math.inf, 0.0]


def test_weights_are_even_unless_given_and_given_for_all():
    env = MultiObjectiveRewardEnv("char", HELLO, {"a": num_vowels, "b": "distinct"})
    assert env.mdp.rewards == {"a": 0.5, "b": 0.5}
    for weights in ({"a": 1.0}, {"a": 1.0, "b": 1.0, "c": 1.0}, [1.0, 1.0]):
        with pytest.raises(ValueError, match=r"reward_weights is .* each of \['a', 'b'\]"):
            MultiObjectiveRewardEnv("char", HELLO, {"a": num_vowels, "b": "distinct"}, weights)
    with pytest.raises(ValueError, match=r"reward_weights\['a'\] is nan, expected a finite weight"):
        MultiObjectiveRewardEnv("char", HELLO, {"a": num_vowels}, {"a": math.nan})
    with pytest.raises(TypeError, match="reward_components is {}, expected a mapping of names"):
        MultiObjectiveRewardEnv("char", HELLO, {})
    with pytest.raises(ValueError, match=r"reward_components\['a'\] is 'nope', expected"):
        MultiObjectiveRewardEnv("char", HELLO, {"a": "nope"})
    with pytest.raises(TypeError, match="prompts is None, expected a list of texts"):
        MultiObjectiveRewardEnv("char", None, {"a": num_vowels})
    with pytest.raises(ValueError, match="rewards has the component 3, expected a name"):
        MultiObjectiveRewardEnv("char", HELLO, {3: num_vowels})


# ------------------------------------------------------------------- sentences


@pytest.mark.parametrize("level", LEVELS)
def test_the_reference_has_the_words_and_the_length_that_are_asked_for(level):
    task, rng = TextGeneration(), np.random.default_rng(0)
    for _ in range(500):
        problem = task.sample(rng, level)
        given = problem.prompt.partition("the words ")[2].removesuffix(" in it: ")
        given = given.replace(" and ", ", ").split(", ")
        words = problem.answer.split()
        assert len(given) == LEVELS[level][0] == len(set(given) & set(words))
        assert f" {len(words)} words" in problem.prompt
        assert task.grade(problem, problem.answer) == {"reward": 1.0}


PROMPT = "Write a sentence of 6 words, with the words moon and rises in it: "


@pytest.mark.parametrize(
    ("response", "value"),
    [
        ("The moon rises past the mill.", 1),
        ("The moon stays past the mill.", 1 / 2),
        ("rises moon w x y z", 1),  # no sentence
        ("the moon rises", 1 / 4),  # three words too few of four
        ("the moon rises and the moon rises", 3 / 4 * 4 / 6),  # one too many; two pairs twice
        ("moon moon moon moon moon rises", 1 * 2 / 5),
        ("the words moon and rises in", 0),  # a piece of the prompt
        ("x the words moon and rises", 0),  # four of its five pairs are
        ("moon", 0),
        (PROMPT, 0),
        ("", 0),
        ("1 2 3 4 5 6", 0),
    ],
)
def test_a_sentence_earns_words_times_length_times_distinctness(response, value):
    assert sentence_reward(PROMPT, response, PROMPT + response) == pytest.approx(value)


def test_generated_prompts_can_be_judged_by_another_function():
    env = gym.make("TextGeneration-v0", reward_fn="regex:[a-z ]+", difficulty="three")
    _, info = env.reset(seed=0)
    assert info["difficulty"] == 1 and play(env, "abc").reward == 1
    assert env.unwrapped.mdp.bank.problem(0).answer == ""
