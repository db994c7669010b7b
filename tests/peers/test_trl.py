"""TRL trains on our environments: GRPO by our rewards and in our dialogues, DPO on our pairs."""

from __future__ import annotations

import dataclasses
import json
import math

import gymnasium as gym
import pytest

from tests.textgym.playing import play
from textgym import CharTokenizer, Grade, Problem, Task, register_task
from textgym.adapters.trl import GRPOTask

torch = pytest.importorskip("torch")
trl = pytest.importorskip("trl")

from datasets import Dataset, concatenate_datasets  # noqa: E402 - these come with trl
from transformers import LlamaConfig, LlamaForCausalLM  # noqa: E402
from trl.chat_template_utils import qwen3_chat_template  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")


def make_tokenizer(*, chat: bool = False):
    tokenizer = CharTokenizer().to_hugging_face()
    if chat:
        tokenizer.add_special_tokens(
            {"eos_token": "<|im_end|>", "additional_special_tokens": ["<|im_start|>"]}
        )
        tokenizer.chat_template = qwen3_chat_template
    return tokenizer


def make_model(tokenizer) -> LlamaForCausalLM:
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=4096,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return LlamaForCausalLM(config)


def settings(folder, num_steps: int, **kwargs) -> dict:
    return {
        "output_dir": str(folder),
        "max_steps": num_steps,
        "per_device_train_batch_size": 4,
        "report_to": [],
        "save_strategy": "no",
        "logging_steps": 1,
        "use_cpu": True,
        "bf16": False,
        "disable_tqdm": True,
        **kwargs,
    }


class Recorder:
    """A reward function that keeps what it was called with and what it said."""

    def __init__(self, inner) -> None:
        self.inner, self.__name__, self.calls = inner, inner.__name__, []

    def __call__(self, completions, **columns):
        rewards = self.inner(completions, **columns)
        self.calls.append((completions, columns, rewards))
        return rewards


def losses(trainer) -> list[float]:
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def columns_of(rows: Dataset) -> dict:
    return {name: list(rows[name]) for name in rows.column_names if name != "prompt"}


@pytest.mark.parametrize("id", ["TextMath-v0", "TextMultiObjective-v0"])
def test_grpo_pays_what_the_environment_pays(id, tmp_path):
    tokenizer = make_tokenizer()
    task = GRPOTask(id, tokenizer=tokenizer)
    reward = Recorder(task.reward)
    trainer = trl.GRPOTrainer(
        make_model(tokenizer),
        reward_funcs=reward,
        args=trl.GRPOConfig(
            **settings(tmp_path, 3, num_generations=4),
            max_completion_length=task.max_response_tokens,
        ),
        train_dataset=task.dataset(8),
        processing_class=tokenizer,
    )
    trainer.train()
    assert len(losses(trainer)) == 3 and all(map(math.isfinite, losses(trainer)))
    env = gym.make(id)
    for _, columns, rewards in reward.calls:
        for number, response, paid in zip(
            columns["problem"], columns["completion_ids"], rewards, strict=True
        ):
            _, info = env.reset(seed=0, options={"problem": number})
            for token in response:
                result = env.step(token)
                if result[2]:
                    break
            assert result[2] and paid == pytest.approx(result[1])
    assert {f"components/{name}" for name in task.component_weights} <= set(
        trainer.state.log_history[0]
    )


@pytest.mark.parametrize("id", ["TextMath-v0", "TextCountdown-v0", "TextMultiObjective-v0"])
@pytest.mark.parametrize("messages", [False, True])
def test_reference_answers_earn_what_they_earn_in_the_environment(id, messages):
    task, env = GRPOTask(id), gym.make(id, split="test")
    rows = task.dataset(4, "test", messages=messages)
    bank = task.mdp("test").bank
    answers = [bank.problem(bank.num_problems * task.level + n).answer for n in range(4)]
    said = [[{"role": "assistant", "content": a}] if messages else a for a in answers]
    expected = []
    for number, answer in enumerate(answers):
        _, info = env.reset(options={"problem": number})
        assert info["problem_id"] == rows["problem_id"][number]
        expected.append(play(env, answer).reward)
    assert task.reward(said, **columns_of(rows)) == pytest.approx(expected)
    each = [component(said, **columns_of(rows)) for component in task.component_rewards()]
    assert len(each) == len(task.component_weights)
    if not task.mdp("test").scoring.has_own_weights:
        weights = task.component_weights.values()
        totals = [
            sum(w * v for w, v in zip(weights, row, strict=True)) for row in zip(*each, strict=True)
        ]
        assert totals == pytest.approx(expected)


def test_a_prompt_is_the_problem_or_a_conversation_with_it():
    task = GRPOTask("TextMath-v0")
    plain = task.dataset(3)
    talk = task.dataset(3, messages=True, system="Be brief.")
    for text, messages in zip(plain["prompt"], talk["prompt"], strict=True):
        assert [message["role"] for message in messages] == ["system", "user"]
        assert messages[0]["content"] == "Be brief." and messages[1]["content"] == text
    assert set(plain["split"]) == {"train"} and set(task.dataset(3, "test")["split"]) == {"test"}
    assert not set(plain["problem_id"]) & set(task.dataset(3, "test")["problem_id"])


def test_each_id_of_a_mixed_run_pays_its_own_rows_only():
    math_task, countdown = GRPOTask("TextMath-v0"), GRPOTask("TextCountdown-v0")
    rows = concatenate_datasets([math_task.dataset(1), countdown.dataset(1)])
    assert [reward is None for reward in math_task.reward(["1", "1"], **columns_of(rows))] == [0, 1]
    assert [reward is None for reward in countdown.reward(["1", "1"], **columns_of(rows))] == [1, 0]


@register_task("TextBroken-trl-v0", max_response_tokens=8)
class Broken(Task):
    """Its verifier fails on "?"; a response ends with "!"."""

    stop_strings = ("!",)

    def sample(self, rng):
        return Problem(f"say {rng.integers(10**6)}", "yes!")

    def grade(self, problem, response):
        if "?" in response:
            return Grade(error="no verdict")
        return {"correct": float(response == "yes!")}


def test_no_verdict_is_none_and_a_stop_string_ends_a_response():
    task = GRPOTask("TextBroken-trl-v0")
    columns = columns_of(task.dataset(4))
    assert task.reward(["?", "yes!", "yes! or no", "no"], **columns) == [None, 1.0, 1.0, 0.0]
    dialogue = task.environment()
    dialogue.reset(**task.dataset(1)[0])
    dialogue.say("?")
    assert dialogue.get_reward() is None


def test_special_tokens_cost_what_they_cost_in_the_environment():
    tokenizer = make_tokenizer()
    for given, expected in (({"tokenizer": tokenizer}, 0.0), ({}, 1.0)):
        task = GRPOTask("TextMath-v0", **given)
        bank = task.mdp("train").bank
        answer = bank.problem(bank.num_problems * task.level).answer
        ids = [[tokenizer.pad_token_id, *tokenizer.encode(answer), tokenizer.eos_token_id]]
        columns = columns_of(task.dataset(1))
        assert task.reward([answer], completion_ids=ids, **columns) == [expected]
        assert task.reward([answer], completion_ids=[ids[0][1:]], **columns) == [1.0]


def test_a_special_token_behind_a_stop_string_costs_nothing():
    tokenizer = make_tokenizer()
    task, env = GRPOTask("TextBroken-trl-v0", tokenizer=tokenizer), gym.make("TextBroken-trl-v0")
    columns, special = columns_of(task.dataset(1)), [tokenizer.pad_token_id]
    for ids, expected in (
        (tokenizer.encode("yes!") + special, 1.0),
        (tokenizer.encode("yes") + special + tokenizer.encode("!"), 0.0),
    ):
        env.reset(seed=0)
        result = next(result for result in map(env.step, ids) if result[2])
        assert result[1] == expected
        assert task.reward(["yes!"], completion_ids=[ids], **columns) == [expected]


def test_an_id_beyond_the_tokenizer_is_illegal():
    """Models pad their embeddings: Qwen2.5 has hundreds of ids more than its tokenizer."""
    tokenizer = make_tokenizer()
    task = GRPOTask("TextMath-v0", tokenizer=tokenizer)
    bank = task.mdp("train").bank
    answer = bank.problem(bank.num_problems * task.level).answer
    ids = [*tokenizer.encode(answer), len(tokenizer) + 7]
    assert task.reward([answer], completion_ids=[ids], **columns_of(task.dataset(1))) == [0.0]


def test_messages_may_have_parts_or_no_content():
    task = GRPOTask("TextMath-v0")
    columns = columns_of(task.dataset(3))
    parts = [{"type": "text", "text": "1"}, {"type": "text", "text": "2"}]
    completions = [
        [{"role": "assistant", "content": parts}],
        [{"role": "assistant", "content": None, "tool_calls": []}],
        [{"role": "tool", "content": "12"}],
    ]
    assert task.reward(completions, **columns) == task.reward(["12", "", ""], **columns)


@pytest.mark.parametrize("n", [0, -1, 10**9, True, 2.5, "3", None])
def test_a_number_of_rows_that_there_is_not_is_refused(n):
    with pytest.raises(ValueError, match="n is .*, expected 1 to"):
        GRPOTask("TextMath-v0").dataset(n)


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="is no text task"):
        GRPOTask("CartPole-v1")
    with pytest.raises(ValueError, match="difficulty is 'adaptive'"):
        GRPOTask("TextMath-v0", difficulty="adaptive")
    with pytest.raises(TypeError, match="dataset\\(n, split\\)"):
        GRPOTask("TextMath-v0", split="test")
    with pytest.raises(ValueError, match="messages=True"):
        GRPOTask("TextMath-v0").dataset(1, system="Be brief.")


def call(text: str) -> str:
    body = json.dumps({"name": "say", "arguments": {"text": text}})
    return f"<tool_call>\n{body}\n</tool_call><|im_end|>"


class Halving(trl.GRPOTrainer):
    """The trainer, whose model is a script: it halves the range, by calls of the tool.

    An untrained model would call no tool. The rest, the rollout and the update, is TRL's own.
    """

    def _generate_single_turn(self, prompt_ids, *args, **kwargs):
        texts = []
        for ids in prompt_ids:
            text = self.processing_class.decode(ids)
            game = text[text.rindex("A number from") :]
            low, high = (int(word) for word in game.split(".")[0].split()[3:6:2])
            heard = [line for line in game.splitlines() if line in ("higher", "lower")]
            is_over = "It is over." in game
            for answer in heard:
                middle = (low + high) // 2
                low, high = (middle + 1, high) if answer == "higher" else (low, middle - 1)
            texts.append("Done.<|im_end|>" if is_over else call(str((low + high) // 2)))
        encode = self.processing_class.encode
        return [encode(text, add_special_tokens=False) for text in texts], None


def dialogue_trainer(kind, folder, num_steps: int, length: int):
    tokenizer = make_tokenizer(chat=True)
    task = GRPOTask("TextGuess-v0")
    return kind(
        make_model(tokenizer),
        args=trl.GRPOConfig(
            **settings(folder, num_steps, num_generations=2, per_device_train_batch_size=2),
            max_completion_length=length,
        ),
        environment_factory=task.environment,
        train_dataset=task.dataset(8, messages=True),
        processing_class=tokenizer,
    )


def test_an_environment_factory_plays_dialogues_to_their_end(tmp_path):
    trainer = dialogue_trainer(Halving, tmp_path, 2, 2048)
    trainer.train()
    log = trainer.state.log_history
    assert len(losses(trainer)) == 2 and all(map(math.isfinite, losses(trainer)))
    # Halving always finds one of 15 numbers with four guesses.
    assert [entry["rewards/TextGuess/mean"] for entry in log if "loss" in entry] == [1.0, 1.0]
    assert 1 <= log[0]["tools/call_frequency"] <= 4 and log[0]["tools/failure_frequency"] == 0


def test_an_environment_factory_trains_a_model_that_calls_no_tool(tmp_path):
    trainer = dialogue_trainer(trl.GRPOTrainer, tmp_path, 1, 8)
    trainer.train()
    assert math.isfinite(losses(trainer)[0])
    assert trainer.state.log_history[0]["rewards/TextGuess/mean"] == 0.0


def test_a_dialogue_says_what_the_environment_says():
    task, env = GRPOTask("TextGuess-v0"), gym.make("TextGuess-v0", text_actions=True)
    for row in task.dataset(4, messages=True):
        env.reset(options={"problem": row["problem"]})
        dialogue, terminated = task.environment(), False
        assert dialogue.reset(**row) is None and dialogue.get_reward() == 0.0
        low = int(row["prompt"][0]["content"].split()[3])
        for guess in range(low, low + 4):
            if not terminated:
                heard = dialogue.say(f"I say {guess}")
                _, reward, terminated, _, info = env.step(f"I say {guess}")
                assert heard == "It is over." if terminated else heard in ("\nhigher\n",)
        assert terminated and dialogue.get_reward() == reward
        with pytest.raises(ValueError, match="it is over"):
            dialogue.say("more")


def test_dpo_trains_on_our_preferences(tmp_path):
    pairs = gym.make("TextPreference-v0").unwrapped.preferences(64, seed=0)
    tokenizer = make_tokenizer()
    trainer = trl.DPOTrainer(
        make_model(tokenizer),
        ref_model=make_model(tokenizer),
        args=trl.DPOConfig(**settings(tmp_path, 2)),
        train_dataset=Dataset.from_list([dataclasses.asdict(pair) for pair in pairs]),
        processing_class=tokenizer,
    )
    trainer.train()
    assert len(losses(trainer)) == 2 and all(map(math.isfinite, losses(trainer)))
    assert losses(trainer)[0] == pytest.approx(math.log(2), abs=1e-3)
