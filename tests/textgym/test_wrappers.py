"""Text forms of a single environment, and a curriculum for any environment."""

from __future__ import annotations

import copy
import json
import pickle
import warnings
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils.env_checker import check_env as gymnasium_check_env
from gymnasium.vector.utils import batch_space

import textgym
from tests.textgym import sample_tasks  # noqa: F401
from tests.textgym.playing import Echo, assert_same, play, problem_of
from textgym import CharTokenizer, Curriculum, RLEnvironment, create_math_problem_env
from textgym.checking.text_form import check_text_form
from textgym.registration import task_specs
from textgym.text_vector import TextVectorEnv
from textgym.wrappers import AdaptiveDifficulty, AnyText, TextObservation, WholeResponse

IDS = [spec.id for spec in task_specs() if spec.kwargs["task"].startswith("textgym.")]
SAMPLES = ["Sort-test-v0", "Stop-test-v0", "Judge-test-v0", "Guess-test-v0"]
FORMS = [
    {"text_actions": True},
    {"text_observations": True},
    {"text_actions": True, "text_observations": True},
]


def make_text(id: str, **kwargs: Any) -> gym.Env:
    return gym.make(id, text_actions=True, text_observations=True, **kwargs)


# --------------------------------------------------------------- whole responses


@pytest.mark.parametrize("id", IDS)
def test_a_reference_answer_as_a_text_earns_what_it_earns_token_by_token(id: str) -> None:
    token_env = gym.make(id).unwrapped
    text_env, num_levels = WholeResponse(copy.deepcopy(token_env)), token_env.mdp.bank.num_levels
    for number in range(6):
        options = {"problem": number, "difficulty": number % num_levels}
        _, info = token_env.reset(seed=0, options=options)
        text_env.reset(seed=0, options=options)
        answer = problem_of(token_env, info).answer
        assert_same(tuple(play_turn(token_env, answer)), tuple(text_env.step(answer)))


def play_turn(env: RLEnvironment, text: str) -> Any:
    """The result at the end of a turn whose tokens are chosen one by one."""
    turn = env.mdp.vocabulary.encode_plain(text)
    for i, token in enumerate([*turn, env.mdp.vocabulary.eos]):
        result = env.step(token)
        if result.terminated or env.mdp.stops(turn[: i + 1]):
            break
    return result


@pytest.mark.parametrize("id", SAMPLES)
def test_random_and_unusual_texts_do_what_their_tokens_do(id: str) -> None:
    """Stop strings, budgets, dialogues, verdicts with errors; every id by `check_env`."""
    env = gym.make(id).unwrapped
    for seed in range(25):
        assert "give what their tokens give" in check_text_form(env, seed)


def test_a_text_is_cut_off_where_the_budget_of_tokens_is() -> None:
    env = make_text("Sort-test-v0", max_response_tokens=5)
    observation, _ = env.reset(seed=0)
    results = {}
    for text in ("abcd", "abcde", "abcdefgh"):  # the fifth of five tokens is eos, or the last one
        env.reset(seed=0)
        result = env.step(text)
        results[text] = result[4]["stop_reason"], result[4]["response"], result[0]
    assert results == {
        "abcd": ("eos", "abcd", observation + "abcd"),
        "abcde": ("length", "abcde", observation + "abcde"),
        "abcdefgh": ("length", "abcde", observation + "abcde"),
    }


def test_a_text_ends_at_its_first_stop_string() -> None:
    env = make_text("Stop-test-v0")
    env.reset(seed=0, options={"problem": 0})
    letter = problem_of(env.unwrapped, {"problem": 0, "difficulty": 0}).answer[0]
    observation, reward, terminated, _, info = env.step(f"{letter}{letter};cab")
    assert reward == 1.0 and terminated and info["stop_reason"] == "stop"
    assert observation.endswith(f": {letter}{letter};") and info["response"] == f"{letter}{letter};"


def test_in_a_dialogue_a_step_is_a_turn_and_its_reply() -> None:
    env = make_text("Guess-test-v0")
    number = next(i for i in range(100) if env.unwrapped.mdp.bank.problem(i).answer == "4")
    prompt, _ = env.reset(options={"problem": number})
    observation, reward, terminated, _, info = env.step("7")
    assert (observation, reward, terminated) == (f"{prompt}7 low", 0.0, False)  # four tokens of it
    observation, reward, terminated, _, info = env.step("4!, or 5")
    assert (reward, terminated, info["stop_reason"]) == (0.0, True, "task")  # "4!" is not "4"
    assert observation == f"{prompt}7 low4!" and info["response"] == "7 low4!"


@pytest.mark.parametrize("text", ["\u00e9", "1\u00e9", "\0", "\ud800", "\U0001f600"])
def test_a_character_without_a_token_is_illegal(text: str) -> None:
    env = make_text("Sort-test-v0")
    env.reset(seed=0)
    _, reward, terminated, _, info = env.step(text)
    assert (reward, terminated, info["stop_reason"]) == (-0.25, True, "illegal")


def test_the_name_of_a_special_token_is_no_special_token() -> None:
    for tokenizer in (CharTokenizer(), CharTokenizer().to_hugging_face()):
        env = make_text("Sort-test-v0", tokenizer=tokenizer, max_response_tokens=20)
        env.reset(seed=0)
        info = env.step("a<pad><eos>b")[4]
        assert info["response"] == "a<pad><eos>b" and info["stop_reason"] == "eos"


def test_any_text_is_an_action_and_nothing_else_is() -> None:
    env = make_text("Sort-test-v0")
    rng = np.random.default_rng(0)
    noise = "".join(map(chr, rng.integers(0x10FFFF, size=3000).tolist()))
    for text in ("", noise, "x" * 10**6, "\n" * 1000, np.str_("abc")):
        env.reset(seed=0)
        assert text in env.action_space and env.step(text)[2]
    env.reset()
    for action in (3, None, b"abc", ["a"], 1.5, np.int64(3)):
        assert action not in env.action_space
        with pytest.raises(gym.error.InvalidAction, match="expected a text"):
            env.step(action)
    env.step("abc")
    with pytest.raises(gym.error.ResetNeeded):
        env.step("abc")


def test_a_time_limit_around_a_text_form_counts_turns() -> None:
    env = gym.wrappers.TimeLimit(make_text("Guess-test-v0"), 2)
    env.reset(seed=0)
    assert env.step("x")[2:4] == (False, False) and env.step("x")[2:4] == (False, True)


def test_a_token_of_several_characters_and_bytes_does_not_matter() -> None:
    """With a byte-level BPE a text may have any character, and half a pair of surrogates."""
    env = make_text("TextMath-v0", tokenizer=byte_level_tokenizer(), wording="words")
    for number in range(20):
        prompt, info = env.reset(options={"problem": number})
        problem = problem_of(env.unwrapped, info)
        assert prompt == problem.prompt
        observation, reward, _, _, _ = env.step(problem.answer)
        assert observation == prompt + problem.answer and reward == 1.0
    for text, read in (("\u2603", "\u2603"), ("\ud800", "\ufffd"), ("\ud83d\ude00", "\U0001f600")):
        env.reset()
        assert env.step(text)[4]["response"] == read
    assert "give what" in check_text_form(env.unwrapped, 0)


def byte_level_tokenizer() -> Any:
    from tokenizers import ByteLevelBPETokenizer
    from transformers import PreTrainedTokenizerFast

    backend = ByteLevelBPETokenizer()
    backend.train_from_iterator(
        ["seventeen plus eighteen equals what times twelve minus one"] * 3,
        vocab_size=300,
        show_progress=False,
        special_tokens=["<|end|>"],
    )
    return PreTrainedTokenizerFast(tokenizer_object=backend._tokenizer, eos_token="<|end|>")


# -------------------------------------------------------------- spaces and specs


def test_samples_of_the_spaces_are_texts_of_a_bounded_length() -> None:
    env = make_text("Sort-test-v0")
    env.action_space.seed(0)
    samples = {env.action_space.sample() for _ in range(200)}
    assert len(samples) > 150 and {len(text) for text in samples} == set(range(7))
    assert set("".join(samples)) <= set(CharTokenizer.characters)
    assert env.observation_space.max_length == env.unwrapped.mdp.observation_length


def test_copies_of_a_space_are_equal_and_draw_apart() -> None:
    space = AnyText(20)
    space.seed(0)
    for twin in (copy.deepcopy(space), pickle.loads(pickle.dumps(space))):
        assert twin == space and twin.sample() == copy.deepcopy(space).sample()
        before = copy.deepcopy(space).sample()
        twin.sample()
        assert copy.deepcopy(space).sample() == before
    assert space != AnyText(21)
    slots = batch_space(space, 50).sample()
    assert len(set(slots)) > 45


@pytest.mark.parametrize("forms", FORMS)
@pytest.mark.parametrize("id", ["Guess-test-v0", "TextMath-v0"])
def test_a_text_form_keeps_the_contract(id: str, forms: dict[str, bool]) -> None:
    """Gymnasium's checker, JSON, copies, pickles, seeds, native = sync in each mode."""
    report = textgym.check_env(id, num_steps=60, **forms)
    assert report.ok and not report.of("warning") and len(report.checks) == 14, str(report)


@pytest.mark.parametrize("forms", FORMS)
def test_gymnasiums_checker_finds_nothing_but_a_wrapper(forms: dict[str, bool]) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        gymnasium_check_env(gym.make("TextMath-v0", **forms))
    assert ["unwrapped version" in str(each.message) for each in caught] == [True]


def test_the_specification_tells_the_form_by_its_keywords_alone() -> None:
    by_hand = TextObservation(WholeResponse(gym.make("TextMath-v0", difficulty="digit")))
    by_keyword = make_text("TextMath-v0", difficulty="digit")
    assert by_hand.spec == by_keyword.spec and by_keyword.spec.additional_wrappers == ()
    assert json.loads(by_hand.spec.to_json())["kwargs"]["text_actions"] is True
    for spec in (by_hand.spec, EnvSpec.from_json(by_keyword.spec.to_json())):
        assert isinstance(gym.make_vec(spec, 3), TextVectorEnv)
        again = gym.make(spec)
        assert_same(again.reset(seed=5), by_keyword.reset(seed=5))
        assert_same(tuple(again.step("7")), tuple(by_keyword.step("7")))
    assert "text_actions" not in gym.make("TextMath-v0").spec.kwargs
    assert WholeResponse(RLEnvironment(Echo())).spec is None


def test_an_id_may_be_registered_in_its_text_form() -> None:
    textgym.register_task("Say-test-v0", text_actions=True, text_observations=True)(Echo)
    prompt, _ = (env := gym.make("Say-test-v0")).reset(seed=0)
    assert env.step(prompt[4:7])[1] == 1.0
    assert gym.make_vec("Say-test-v0", 2).reset(seed=0)[0][0] == prompt
    assert type(textgym.load_task("Say-test-v0")) is Echo


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: WholeResponse(gym.make("CartPole-v1")), "expected a textgym.RLEnvironment: other"),
        (lambda: WholeResponse(gym.wrappers.TimeLimit(RLEnvironment(Echo()), 3)), "go around this"),
        (lambda: WholeResponse(WholeResponse(RLEnvironment(Echo()))), "go around this one"),
        (lambda: TextObservation(gym.make("CartPole-v1")), "expected an environment whose obs"),
        (lambda: TextObservation(TextObservation(RLEnvironment(Echo()))), "whose observations are"),
        (lambda: gym.make("TextMath-v0", text_actions="yes"), "text_actions is 'yes', expected T"),
        (lambda: gym.make("TextMath-v0", vector_reward="no"), "vector_reward is 'no', expected T"),
        (lambda: gym.make_vec("TextMath-v0", details=1), "details is 1, expected True or False"),
        (
            lambda: gym.make_vec("TextMath-v0", 2, text_observations=1),
            "text_observations is 1, exp",
        ),
    ],
)
def test_what_has_no_text_form_is_refused(make: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        make()


def test_vector_rewards_and_levels_pass_through() -> None:
    env = make_text(
        "Sort-test-v0", vector_reward=True, difficulty="abcdefgh", disable_env_checker=True
    )
    assert env.unwrapped.reward_space.shape == (3,)
    _, info = env.reset(seed=0)
    answer = problem_of(env.unwrapped, info).answer
    assert info["difficulty"] == 1 and env.step(answer)[1].tolist() == [1.0, 0.0, 0.0]
    env.unwrapped.set_difficulty("abc")
    assert env.reset()[1]["difficulty"] == 0


# ------------------------------------------------------------ adaptive difficulty


class Ladder(gym.Env):
    """Three levels; an action of at least the level succeeds."""

    observation_space, action_space = gym.spaces.Discrete(3), gym.spaces.Discrete(4)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.level = (options or {}).get("difficulty", 0)
        return self.level, {}

    def step(self, action):
        info = {"verifier_error": "failed"} if action == 3 else {}
        return self.level, float(action >= self.level), True, False, info


def climb(env: gym.Env, actions: list[int]) -> list[int]:
    levels = [env.reset(seed=0)[0]]
    for action in actions:
        env.step(action)
        levels.append(env.reset()[0])
    return levels


def test_a_foreign_environment_moves_along_its_levels() -> None:
    env = AdaptiveDifficulty(Ladder(), 3, window=2, rehearsal=0.0)
    assert climb(env, [2, 2, 1, 1, 1, 1, 0, 0, 0]) == [0, 0, 1, 1, 2, 2, 1, 1, 0, 0]
    assert env.curriculum.state_dict() == {"level": 0, "successes": [1.0]}


def test_what_the_caller_asks_for_and_what_was_not_judged_is_not_counted() -> None:
    env = AdaptiveDifficulty(Ladder(), 3, window=2, rehearsal=0.0)
    assert climb(env, [3, 3, 3]) == [0, 0, 0, 0]
    for _ in range(4):
        assert env.reset(options={"difficulty": 2})[0] == 2
        env.step(2)
    assert env.curriculum.success is None and env.reset()[0] == 0


def test_success_may_be_a_function_or_gymnasiums_info() -> None:
    env = AdaptiveDifficulty(Ladder(), 3, window=4, success=lambda total, info: 1 - total)
    climb(env, [2, 2])
    assert env.curriculum.success == 0.0

    class Robot(Ladder):
        def step(self, action):
            return self.level, -7.0, False, True, {"is_success": action == 2}

    env = AdaptiveDifficulty(Robot(), 3, window=4)
    climb(env, [2, 0])
    assert env.curriculum.success == 0.5


def test_around_textgyms_own_environment_it_is_the_adaptive_difficulty() -> None:
    wrapped = AdaptiveDifficulty(gym.make("TextMath-v0"), num_levels=9, window=8)
    adaptive = gym.make("TextMath-v0", difficulty=Curriculum(9, window=8))
    played = []
    for episode in range(60):
        pair = [env.reset(seed=3 if episode == 0 else None) for env in (wrapped, adaptive)]
        assert_same(*pair)
        problem = problem_of(adaptive.unwrapped, pair[0][1])
        answers = [problem.answer if episode % 11 else "" for _ in pair]
        assert_same(
            *(tuple(play(env, a)) for env, a in zip((wrapped, adaptive), answers, strict=True))
        )
        played.append(pair[0][1]["difficulty"])
    assert max(played) >= 5 and played != sorted(played)  # it rehearses, too
    assert wrapped.curriculum.state_dict() == adaptive.unwrapped.curriculum.state_dict()


def test_its_specification_survives_json_and_a_state_goes_on() -> None:
    env = AdaptiveDifficulty(gym.make("TextMath-v0"), num_levels=9, window=8)
    env.curriculum.load_state_dict({"level": 3, "successes": [1.0, 0.5]})
    twin = gym.make(EnvSpec.from_json(env.spec.to_json()))
    assert isinstance(twin, AdaptiveDifficulty) and twin.curriculum.window == 8
    twin.curriculum.load_state_dict(json.loads(json.dumps(env.curriculum.state_dict())))
    assert_same(twin.reset(seed=1), env.reset(seed=1))
    for copied in (copy.deepcopy(env), pickle.loads(pickle.dumps(env))):
        assert copied.curriculum.level == 3 and copied.curriculum is not env.curriculum


@pytest.mark.parametrize("arguments", [{"num_levels": 1}, {"num_levels": 3, "window": 0}])
def test_numbers_that_make_no_curriculum_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"expected (at least 2|an integer of at least 1)"):
        AdaptiveDifficulty(Ladder(), **arguments)


# ---------------------------------------------------------------------- factory


def test_the_mathematics_environment_by_function() -> None:
    tokenizer = CharTokenizer()
    env = create_math_problem_env(tokenizer)
    env.unwrapped.set_difficulty("two-digit")
    _, info = env.reset(seed=0)
    problem = problem_of(env.unwrapped, info)
    assert env.unwrapped.task.difficulties[info["difficulty"]] == "two-digit"
    assert play(env, problem.answer).reward == 1.0
    _, info = env.reset()
    assert play(env, "not " + problem_of(env.unwrapped, info).answer).reward == 0.0
    env = create_math_problem_env(difficulty="digit", answer_format="boxed", text_actions=True)
    _, info = env.reset(seed=0)
    answer = problem_of(env.unwrapped, info).answer  # has its box
    assert answer.startswith("\\boxed{") and env.step(answer)[1] == 1.0
