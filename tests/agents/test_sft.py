"""Supervised fine-tuning fits the reference answers, eos included, and stops where it is told."""

from __future__ import annotations

import json
import math
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from agents import sft as sft_module
from agents.metrics import read_metrics
from agents.models import Policy, new_tiny_model
from agents.sft import SFTConfig, SFTTrainer, reference_batch
from textgym import CharTokenizer, Problem, RLEnvironment, Task, TokenMDP, TokenVectorEnv

torch.set_num_threads(1)  # for tensors this small a second thread costs more than it gives

PAD, EOS = 0, 2


class Copy(Task):
    """Say the letters again, one in the first level and two or three in the second."""

    difficulties = ("one", "more")

    def sample(self, rng, difficulty):
        count = 1 if difficulty == "one" else int(rng.integers(2, 4))
        word = "".join(rng.choice(list("abcdefghijklmnop"), size=count))
        noise = "".join(rng.choice(list("123456789"), size=4))
        return Problem(prompt=f"{noise}{word}:", answer=word)


class NoAnswer(Task):
    """Nobody knows what is right."""

    def sample(self, rng):
        return Problem(prompt=f"{rng.integers(10**6)}?")


def new_policy() -> Policy:
    return Policy(new_tiny_model(0, hidden_size=32, num_layers=2), CharTokenizer())


def fit(policy: Policy, env=None, **settings) -> tuple[float, list[dict[str, float]]]:
    """The success that training returns and what it reported on the way."""
    small = {"batch_size": 32, "num_iterations": 20, "evaluate_every": 10, "evaluate_episodes": 16}
    rows: list[dict[str, float]] = []
    difficulties = settings.pop("difficulties", None)
    trainer = SFTTrainer(SFTConfig(**{**small, **settings}), policy)
    success = trainer.train(
        env or RLEnvironment(Copy()), difficulties=difficulties, report=rows.append
    )
    return success, rows


# ------------------------------------------------------------------- the batch


def test_a_reference_batch_is_the_prompt_the_answer_and_eos() -> None:
    bank = TokenMDP(Copy()).bank
    rows = np.array([3, bank.num_problems + 5, bank.num_problems + 6])  # levels "one", "more"
    tokens, mask = reference_batch(bank, rows)
    encode = CharTokenizer().encode
    for row, number in enumerate(rows.tolist()):
        problem = bank.problem(number)
        prompt, answer = encode(problem.prompt), [*encode(problem.answer), EOS]
        padding = tokens.shape[1] - len(prompt) - len(answer)
        assert tokens[row].tolist() == prompt + answer + [PAD] * padding
        assert mask[row].tolist() == (
            [False] * len(prompt) + [True] * len(answer) + [False] * padding
        )
    assert tokens.dtype == torch.int64 and mask.dtype == torch.bool


def test_a_reference_batch_is_as_wide_as_its_longest_row() -> None:
    bank = TokenMDP(Copy()).bank
    tokens, mask = reference_batch(bank, np.arange(4))
    assert tokens.shape == mask.shape == (4, len("1234a:") + len("a") + 1)


def test_a_tokenizer_whose_pad_is_its_eos_still_learns_one_eos() -> None:
    tokenizer = CharTokenizer().to_hugging_face()
    tokenizer.pad_token = tokenizer.eos_token
    tokenizer.add_tokens(["another vocabulary"])
    bank = TokenMDP(Copy(), tokenizer).bank
    tokens, mask = reference_batch(bank, np.arange(bank.num_problems, bank.num_problems + 8))
    for row in range(8):
        answer = bank.problem(bank.num_problems + row).answer
        assert tokens[row, mask[row]].tolist() == [*CharTokenizer().encode(answer), EOS]


def test_a_reference_batch_leaves_the_bank_as_it_is() -> None:
    bank = TokenMDP(Copy()).bank
    reference_batch(bank, np.arange(4))
    assert (bank.prompts[:4, len("1234a:") :] == PAD).all()


def test_a_task_without_reference_answers_is_refused() -> None:
    with pytest.raises(ValueError) as error:
        fit(new_policy(), RLEnvironment(NoAnswer()))
    assert str(error.value) == (
        "NoAnswer gives no reference answer for some problems, so there is nothing to imitate: "
        "start from a policy that can already do the task a little"
    )


# ------------------------------------------------------------------- training


def test_the_loss_is_the_mean_negative_log_likelihood_of_the_answers_tokens() -> None:
    policy, bank = new_policy(), TokenMDP(Copy()).bank
    tokens, mask = reference_batch(bank, np.arange(bank.num_problems, bank.num_problems + 8))
    with torch.no_grad():
        logits = policy.model(tokens).logits.double()
    logits[..., [0, 1, 3]] = -math.inf
    log_probs = logits.log_softmax(-1)
    terms = [-float(log_probs[b, i - 1, tokens[b, i]]) for b, i in mask.nonzero().tolist()]
    assert len({len(row) for row in (m.nonzero() for m in mask)}) == 2  # of different lengths
    metrics = SFTTrainer(SFTConfig(), policy).step(tokens, mask)
    assert metrics["nll"] == pytest.approx(sum(terms) / len(terms), abs=1e-5)


def test_the_loss_falls_from_that_of_a_guess_and_success_rises() -> None:
    success, rows = fit(
        new_policy(), num_iterations=200, evaluate_every=100, batch_size=64, learning_rate=1e-2
    )
    assert [row["step"] for row in rows] == [0, 100, 200]
    assert math.isnan(rows[0]["loss"])
    # 16 letters and a certain eos: a guess costs (log 16 + 0) / 2 = 1.39 nats per token.
    assert rows[1]["loss"] > 1.39 > 1.2 > rows[2]["loss"]
    # A guess is right once in 16 times.
    assert rows[0]["success"] == 0.0 and success == rows[2]["success"] > 0.2


def test_training_stops_at_the_target() -> None:
    policy = new_policy()
    success, rows = fit(policy, num_iterations=150, learning_rate=1e-2, target_success=0.01)
    assert success >= 0.01 > max(row["success"] for row in rows[:-1])
    assert rows[-1]["step"] < 150


def test_a_policy_that_is_good_enough_is_left_as_it_is() -> None:
    policy = new_policy()
    _, rows = fit(policy, target_success=0.0)
    assert len(rows) == 1
    for name, tensor in new_policy().state_dict().items():
        assert torch.equal(policy.state_dict()[name], tensor), name


def test_one_seed_gives_one_policy_and_another_seed_another() -> None:
    policies = [new_policy() for _ in range(3)]
    (_, first), (_, again), (_, other) = (
        fit(policy, seed=seed) for policy, seed in zip(policies, (0, 0, 1), strict=True)
    )
    for name, tensor in policies[0].state_dict().items():
        assert torch.equal(policies[1].state_dict()[name], tensor), name
    assert first[1:] == again[1:] != other[1:]


def test_the_gradient_is_cut_to_max_grad_norm() -> None:
    policy = new_policy()
    settings = SFTConfig(learning_rate=1.0, max_grad_norm=0.01, warmup_iterations=0)
    trainer = SFTTrainer(settings, policy)
    trainer.optimizer = trainer.course.optimizer = torch.optim.SGD(policy.model.parameters())
    trainer.step(*reference_batch(TokenMDP(Copy()).bank, np.arange(8)))
    pairs = zip(policy.parameters(), new_policy().parameters(), strict=True)
    squares = [(after - before).square().sum().item() for after, before in pairs]
    assert math.sqrt(sum(squares)) == pytest.approx(0.01, rel=1e-2)


def test_the_value_head_is_left_as_it_is() -> None:
    policy = new_policy()
    fit(policy)
    assert not policy.value_head.weight.any()


def test_the_global_generator_is_left_alone() -> None:
    policy, before = new_policy(), torch.get_rng_state()
    fit(policy)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("training", [True, False])
def test_the_training_flag_is_put_back(training: bool) -> None:
    policy = new_policy().train(training)
    fit(policy, num_iterations=1)
    assert policy.training is training


@pytest.mark.parametrize(
    ("difficulties", "longest"), [(None, {1}), ([1], {2, 3}), ([0, 1], {1, 2, 3})]
)
def test_problems_are_of_the_levels_asked_for(
    difficulties: list[int] | None, longest: set[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = set()

    def noted(bank, rows):
        answers.update(len(bank.problem(int(row)).answer) for row in rows)
        return reference_batch(bank, rows)

    monkeypatch.setattr(sft_module, "reference_batch", noted)
    fit(new_policy(), num_iterations=2, difficulties=difficulties)
    assert answers == longest


def test_success_is_measured_on_the_validation_split(monkeypatch: pytest.MonkeyPatch) -> None:
    measured = []
    real = sft_module.evaluate
    monkeypatch.setattr(
        sft_module, "evaluate", lambda p, envs, **k: measured.append(envs) or real(p, envs, **k)
    )
    env = RLEnvironment(Copy(), difficulty="more", max_response_tokens=5)
    fit(new_policy(), env, num_iterations=1)
    assert {envs.mdp.bank.split for envs in measured} == {"validation"}
    assert (measured[0].difficulty, measured[0].mdp.budget) == (1, 5)


@pytest.mark.parametrize("env", ["id", "single", "vector"])
def test_any_form_of_a_textgym_environment_will_do(env: str) -> None:
    made = {
        "id": lambda: "TextMath-v0",
        "single": lambda: gym.make("TextMath-v0"),
        "vector": lambda: TokenVectorEnv(Copy(), 4, group_size=4),
    }
    _, rows = fit(new_policy(), made[env](), num_iterations=2, evaluate_every=2)
    assert [row["step"] for row in rows] == [0, 2]


def test_an_environment_that_knows_no_references_is_refused() -> None:
    env = gym.wrappers.TransformReward(RLEnvironment(Copy()), lambda reward: reward)
    with pytest.raises(ValueError) as error:
        fit(new_policy(), env)
    assert str(error.value) == (
        "supervised training needs a textgym environment: it knows references"
    )


def test_an_environment_with_another_tokenizer_is_refused() -> None:
    with torch.random.fork_rng(devices=[]):
        model = GPT2LMHeadModel(GPT2Config(vocab_size=101, n_embd=8, n_layer=1, n_head=1))
    tokenizer = CharTokenizer().to_hugging_face()
    tokenizer.add_tokens(["another"])
    with pytest.raises(ValueError, match="the policy's tokenizer has 101 tokens: make the env"):
        fit(Policy(model, tokenizer))


def test_a_loss_that_is_not_finite_stops_the_training_and_names_the_step() -> None:
    policy = new_policy()
    with torch.no_grad():
        policy.model.model.norm.weight[0] = torch.nan
    trainer = SFTTrainer(SFTConfig(), policy)
    tokens, mask = reference_batch(TokenMDP(Copy()).bank, np.arange(4))
    with pytest.raises(FloatingPointError) as error:
        trainer.step(tokens, mask)
    assert str(error.value).startswith("iteration 1: nll is nan; this step was not taken")


# ------------------------------------------------------------ texts of one's own

PROMPTS, RESPONSES = [f"{i}:" for i in range(8)], ["ab", "a", "bc", "cab", "b", "cc", "ba", "c"]


def test_texts_are_learned_num_epochs_times(tmp_path: Path) -> None:
    policy = new_policy()
    config = SFTConfig(batch_size=3, num_epochs=2, learning_rate=1e-2, warmup_iterations=0)
    trainer = SFTTrainer(config, policy, folder=tmp_path, show=False)
    assert trainer.train_on_responses(PROMPTS, RESPONSES) is policy.model
    rows = read_metrics(tmp_path)
    assert [row["episodes"] for row in rows] == [3, 6, 8, 11, 14, 16]
    assert rows[-1]["tokens"] == 2 * sum(len(response) + 1 for response in RESPONSES)
    assert rows[-1]["nll"] < rows[0]["nll"]


def test_num_iterations_overrides_the_passes_over_texts(tmp_path: Path) -> None:
    config = SFTConfig(batch_size=3, num_iterations=5, learning_rate=1e-2, warmup_iterations=0)
    trainer = SFTTrainer(config, new_policy(), folder=tmp_path, show=False)
    trainer.train_on_responses(PROMPTS, RESPONSES)
    rows = read_metrics(tmp_path)
    assert [row["episodes"] for row in rows] == [3, 6, 8, 11, 14]
    assert rows[-1]["learning_rate"] == pytest.approx(1e-2 * (1 - 0.9 * 4 / 5))


def test_micro_batches_of_texts_change_no_result() -> None:
    policies = [new_policy(), new_policy()]
    for policy, settings in zip(policies, ({}, {"max_tokens": 14}), strict=True):
        config = SFTConfig(batch_size=8, num_epochs=3, **settings)
        SFTTrainer(config, policy).train_on_responses(PROMPTS, RESPONSES)
    for name, tensor in policies[0].state_dict().items():
        assert torch.allclose(policies[1].state_dict()[name], tensor, atol=2e-5), name


def test_unequal_lists_of_texts_are_refused() -> None:
    with pytest.raises(ValueError, match="got 2 prompts, 1 responses; expected equally many"):
        SFTTrainer(SFTConfig(), new_policy()).train_on_responses(["a", "b"], ["c"])


@pytest.mark.parametrize(
    "columns", [("prompt", "response"), ("prompt", "completion"), ("instruction", "output")]
)
def test_files_of_several_layouts_are_read(columns: tuple[str, str], tmp_path: Path) -> None:
    path = tmp_path / "texts.jsonl"
    rows = [
        dict(zip(columns, texts, strict=True)) for texts in zip(PROMPTS, RESPONSES, strict=True)
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    trainer = SFTTrainer(SFTConfig(num_epochs=1), new_policy())
    trainer.train_on_file(path)
    assert trainer.data.report.kept == 8


def test_columns_of_other_names_are_told_by_fields(tmp_path: Path) -> None:
    path = tmp_path / "texts.jsonl"
    rows = [{"q": p, "a": r} for p, r in zip(PROMPTS, RESPONSES, strict=True)]
    path.write_text("\n".join(map(json.dumps, rows)))
    trainer = SFTTrainer(SFTConfig(num_epochs=1), new_policy())
    trainer.train_on_file(path, fields={"prompt": "q", "response": "a"})
    assert trainer.data.report.kept == 8


def test_a_run_on_a_task_goes_on_and_ends_as_one_that_was_not_interrupted(tmp_path: Path) -> None:
    def run(name: str, policy: Policy, *, stop_at: int = 99, resume: bool = False) -> None:
        config = SFTConfig(
            batch_size=8,
            num_iterations=6,
            evaluate_every=2,
            evaluate_episodes=8,
            checkpoint_every=1,
        )
        trainer = SFTTrainer(config, policy, folder=tmp_path / name, show=False)
        if resume:
            trainer.load_checkpoint()

        def report(row: dict[str, float]) -> None:
            if row["step"] == stop_at:
                raise KeyboardInterrupt

        trainer.train(RLEnvironment(Copy()), report=report)

    whole, part = new_policy(), new_policy()
    run("whole", whole)
    with pytest.raises(KeyboardInterrupt):
        run("part", new_policy(), stop_at=4)
    run("part", part, resume=True)
    for name, tensor in whole.state_dict().items():
        assert torch.equal(part.state_dict()[name], tensor), name


def test_the_command_fits_and_leaves_a_run_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from agents.cli import main

    monkeypatch.setattr("agents.runs.TEST_EPISODES", 8)
    small = ["--env", "TextMath-v0", "--batch-size", "8", "--evaluate-episodes", "8"]
    steps = ["--num-iterations", "4", "--evaluate-every", "2"]
    assert main(["sft", *small, *steps, "--out", str(tmp_path / "task")]) == 0
    looks = [row.get("validation_success") is not None for row in read_metrics(tmp_path / "task")]
    assert looks == [False, True, False, True]
    path = tmp_path / "texts.jsonl"
    path.write_text('{"prompt": "a", "response": "b"}\n{"prompt": "c", "response": "d"}')
    given = ["--data", str(path), "--num-epochs", "1"]
    assert main(["sft", *small, *given, "--out", str(tmp_path / "file")]) == 0
    summary = json.loads((tmp_path / "file" / "summary.json").read_text())
    assert (summary["algorithm"], summary["episodes"]) == ("sft", 2)


def test_a_target_that_texts_cannot_be_measured_by_is_refused() -> None:
    trainer = SFTTrainer(SFTConfig(target_success=0.5), new_policy(), show=False)
    with pytest.raises(ValueError, match="target_success is 0.5, and texts come without a task"):
        trainer.train_on_responses(["a"], ["b"])
