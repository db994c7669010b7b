"""DPO: its first step, its data, its references, its resume and its online form."""

from __future__ import annotations

import ast
import dataclasses
import json
import math
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch

from agents import dpo as module
from agents.batch import Rollout
from agents.dpo import DPOConfig, DPOTrainer
from agents.metrics import read_metrics
from agents.models import Policy, new_tiny_model
from agents.online_pairs import pairs_of
from agents.preference_data import tokenise_preferences
from textgym import CharTokenizer, Preference, Problem, RLEnvironment, Task

torch.set_num_threads(1)

WORDS = ["ab", "abc", "b", "ca", "cab", "bb", "a", "acc"]
PROMPTS = [f"{i}:" + "x" * (i % 3) for i in range(8)]
PAIRS = [
    Preference(prompt, chosen, rejected)
    for prompt, chosen, rejected in zip(PROMPTS, WORDS, [*WORDS[1:], "b"], strict=True)
]


def new_policy(seed: int = 0) -> Policy:
    return Policy(new_tiny_model(seed, hidden_size=32, num_layers=2), CharTokenizer())


def weights(policy: Policy) -> torch.Tensor:
    return torch.cat([x.flatten() for x in policy.state_dict().values()])


def trained(policy: Policy, **settings) -> DPOTrainer:
    how = {"folder": settings.pop("folder", None), "show": False}
    trainer = DPOTrainer(DPOConfig(**{"batch_size": 4, **settings}), policy, **how)
    trainer.train(PAIRS)
    return trainer


def sequence_log_prob(policy: Policy, prompt: str, response: str) -> float:
    """By a plain softmax over the legal tokens, one token at a time."""
    encode = CharTokenizer().encode
    start, tokens = len(prompt), [*encode(prompt + response), policy.eos]
    with torch.no_grad():
        logits = policy.model(torch.tensor([tokens])).logits[0].double()
    logits[:, [0, 1, 3]] = -math.inf
    log_probs = logits.log_softmax(-1)
    return sum(float(log_probs[i - 1, tokens[i]]) for i in range(start, len(tokens)))


def test_the_call_of_the_documentation_works_and_returns_the_model() -> None:
    model = new_tiny_model(0, hidden_size=32, num_layers=1)
    prompts, chosen, rejected = ["1+1=", "2+2="], ["2", "4"], ["3", "5"]
    trainer = DPOTrainer(DPOConfig(beta=0.1), model, CharTokenizer())
    assert trainer.train_on_preferences(prompts, chosen, rejected) is model


def test_the_first_loss_is_ln_2_with_margins_of_exactly_0(tmp_path: Path) -> None:
    trained(new_policy(), batch_size=3, max_tokens=40, folder=tmp_path, validation_share=0.2)
    first, second, *_ = read_metrics(tmp_path)
    assert first["preference_loss"] == pytest.approx(math.log(2), abs=1e-7)
    assert first["reward_margin"] == first["chosen_reward"] == first["rejected_reward"] == 0.0
    assert second["reward_margin"] != 0.0


def test_the_metrics_are_those_of_a_plain_computation() -> None:
    policy, before = new_policy(), new_policy()
    trainer = DPOTrainer(DPOConfig(beta=0.3, batch_size=8, num_epochs=2), policy)
    trainer.train(PAIRS)
    with torch.no_grad():
        _, metrics = trainer.loss(trainer._pair_logps(list(range(8))))
    margins, logps = [], []
    for pair in PAIRS:
        ratios = []
        for response in (pair.chosen, pair.rejected):
            now = sequence_log_prob(policy, pair.prompt, response)
            ratios.append(now - sequence_log_prob(before, pair.prompt, response))
        logps.append(sequence_log_prob(policy, pair.prompt, pair.chosen))
        margins.append(0.3 * (ratios[0] - ratios[1]))
    assert min(map(abs, margins)) > 1e-4
    assert metrics["reward_margin"].item() == pytest.approx(np.mean(margins), abs=1e-5)
    assert metrics["chosen_logp"].item() == pytest.approx(np.mean(logps), abs=1e-4)
    losses = [math.log1p(math.exp(-margin)) for margin in margins]
    assert metrics["preference_loss"].item() == pytest.approx(np.mean(losses), abs=1e-5)


@pytest.mark.parametrize("how", [{"gradient_accumulation_steps": 4}, {"max_tokens": 24}])
def test_micro_batches_change_memory_and_no_result(how: dict[str, int]) -> None:
    whole, parts = (new_policy() for _ in range(2))
    trained(whole, batch_size=8)
    trained(parts, batch_size=8, **how)
    assert torch.allclose(weights(whole), weights(parts), atol=2e-5)


def test_a_frozen_copy_is_the_same_reference_as_the_precomputed_numbers() -> None:
    once, always = (new_policy() for _ in range(2))
    trained(once, num_epochs=2)
    trained(always, num_epochs=2, precompute_reference=False)
    assert torch.allclose(weights(once), weights(always), atol=1e-5)


@pytest.mark.parametrize("loss", ["simpo", "orpo"])
def test_a_loss_without_reference_computes_none(loss: str) -> None:
    trainer = trained(new_policy(), loss=loss, precompute_reference=False)
    assert trainer.reference is None and "reference_logps" not in trainer.course.state


def test_every_pair_is_learned_from_once_an_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[int]] = []
    real = DPOTrainer.step
    monkeypatch.setattr(
        DPOTrainer, "step", lambda self, rows, *a: seen.append(list(rows)) or real(self, rows, *a)
    )
    trained(new_policy(), batch_size=3, num_epochs=2)
    assert [len(rows) for rows in seen] == [3, 3, 2] * 2
    epochs = [sum(seen[:3], []), sum(seen[3:], [])]
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(8)) and epochs[0] != epochs[1]


def test_num_iterations_overrides_the_passes_over_pairs(tmp_path: Path) -> None:
    trained(new_policy(), batch_size=3, num_epochs=9, num_iterations=4, folder=tmp_path)
    assert [row["episodes"] for row in read_metrics(tmp_path)] == [3, 6, 8, 11]


def test_held_out_pairs_are_measured_and_not_trained_on(tmp_path: Path) -> None:
    trainer = trained(
        new_policy(), validation_share=0.25, num_epochs=12, folder=tmp_path, evaluate_every=5
    )
    rows = read_metrics(tmp_path)
    measured = [row["iteration"] for row in rows if "validation_accuracy" in row]
    assert measured == [5, 10, 15, 20, 24]
    _, held_out = trainer.data.hold_out(0.25, 0)
    with torch.no_grad():
        _, metrics = trainer.loss(trainer._pair_logps(held_out))
    assert rows[-1]["validation_margin"] == pytest.approx(metrics["reward_margin"].item(), abs=1e-5)
    assert rows[-1]["episodes"] == 12 * 6


def test_a_run_that_was_interrupted_ends_as_one_that_was_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = trained(new_policy(), num_epochs=3, folder=tmp_path / "whole")

    def stopped(self, rows, *rest):
        if self.course.iteration == 3:
            raise KeyboardInterrupt
        return real(self, rows, *rest)

    real = DPOTrainer.step
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(DPOTrainer, "step", stopped)
        trained(new_policy(), num_epochs=3, folder=tmp_path / "part", checkpoint_every=1)
    policy = new_policy()
    config = DPOConfig(batch_size=4, num_epochs=3)
    trainer = DPOTrainer(config, policy, folder=tmp_path / "part", show=False)
    trainer.load_checkpoint()
    assert trainer.course.iteration == 3
    trainer.train(PAIRS)
    assert torch.equal(weights(policy), weights(whole.policy))
    timing = ("seconds", "tokens_per_second")
    lines = [
        [{k: v for k, v in row.items() if k not in timing} for row in read_metrics(tmp_path / name)]
        for name in ("whole", "part")
    ]
    assert lines[0] == lines[1]


def test_a_run_does_not_go_on_with_other_pairs(tmp_path: Path) -> None:
    trained(new_policy(), folder=tmp_path)
    trainer = DPOTrainer(DPOConfig(batch_size=4), new_policy(), folder=tmp_path, show=False)
    trainer.load_checkpoint()
    with pytest.raises(ValueError, match="these are not the pairs that the run began with"):
        trainer.train(PAIRS[:7])


def test_a_run_without_a_step_yet_does_not_go_on_with_other_pairs_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The numbers of the first ones' reference lie in its checkpoint."""
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(DPOTrainer, "step", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        trained(new_policy(), folder=tmp_path)
    trainer = DPOTrainer(DPOConfig(batch_size=4), new_policy(), folder=tmp_path, show=False)
    trainer.load_checkpoint()
    with pytest.raises(ValueError, match="these are not the pairs that the run began with"):
        trainer.train(PAIRS[:7])


def test_a_loss_of_ones_own_has_metrics_of_its_own_and_is_validated_by_the_configs(
    tmp_path: Path,
) -> None:
    def louder(pairs, *, count):
        return -pairs.chosen.sum() / count, {"mine": torch.tensor(7.0)}

    config = DPOConfig(batch_size=4, validation_share=0.25)
    trainer = DPOTrainer(config, new_policy(), loss=louder, folder=tmp_path, show=False)
    trainer.train(PAIRS)
    row = read_metrics(tmp_path)[-1]
    assert math.isfinite(row["validation_margin"]) and row["loss/mine"] % 7 == 0


def test_dropout_is_off_so_that_policy_and_reference_agree(tmp_path: Path) -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    with torch.random.fork_rng(devices=[]):
        config = GPT2Config(
            vocab_size=100, n_embd=8, n_layer=1, n_head=1, bos_token_id=1, eos_token_id=2
        )
        model = GPT2LMHeadModel(config)
    assert config.resid_pdrop > 0
    trained(Policy(model.train(), "char"), folder=tmp_path)
    assert read_metrics(tmp_path)[0]["reward_margin"] == 0.0


def test_a_length_of_0_is_no_missing_limit() -> None:
    trainer = DPOTrainer(DPOConfig(batch_size=4), new_policy(), show=False)
    with pytest.raises(ValueError, match=r"nothing to learn from: 0 of 8 rows kept \(8 too_long\)"):
        trainer.train(PAIRS, max_length=0)


def test_pairs_longer_than_the_models_context_are_left_out() -> None:
    policy = new_policy()
    policy.model.config.max_position_embeddings = 8
    trainer = DPOTrainer(DPOConfig(), policy)
    with pytest.warns(UserWarning, match=r"7 of 8 rows kept \(1 too_long\)"):
        trainer.train([*PAIRS[:7], Preference("1234567:", "a", "b")])


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"loss": "kl"}, "loss is 'kl', expected one of"),
        ({"beta": 0.0}, "beta is 0.0, expected a positive number"),
        ({"label_smoothing": 0.5}, "label_smoothing is 0.5 with loss 'sigmoid', expected less"),
        ({"label_smoothing": 0.1, "loss": "ipo"}, "label_smoothing is 0.1 with loss 'ipo'"),
        ({"validation_share": 1.0}, "validation_share is 1, expected less"),
        ({"num_epochs": 0}, "num_epochs is 0"),
    ],
)
def test_a_config_out_of_range_is_refused(settings: dict[str, object], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        DPOTrainer(DPOConfig(**settings), new_policy())


def test_a_model_needs_its_tokenizer() -> None:
    with pytest.raises(TypeError, match="tokenizer"):
        DPOTrainer(DPOConfig(), new_tiny_model(0, hidden_size=32, num_layers=1))


# ------------------------------------------------------------------- online


class Letters(Task):
    """Say small letters and nothing else: graded by their share."""

    max_response_tokens = 4

    def sample(self, rng):
        return Problem(f"{rng.integers(1000)}:")

    def grade(self, problem, response):
        return {"correct": sum(map(str.islower, response)) / 4}


def rollout_of(responses: list[str], returns: list[float], problems: list[int]) -> Rollout:
    encode, length = CharTokenizer().encode, 2 + max(map(len, responses)) + 1
    tokens = torch.zeros((len(responses), length), dtype=torch.int64)
    mask = torch.zeros_like(tokens, dtype=torch.bool)
    rewards = torch.zeros((len(responses), length))
    for i, (response, value) in enumerate(zip(responses, returns, strict=True)):
        row = [*encode("q:" + response), 2]
        tokens[i, : len(row)], mask[i, 2 : len(row)] = torch.tensor(row), True
        rewards[i, len(row) - 1] = value
    return Rollout(
        tokens=tokens,
        mask=mask,
        log_probs=torch.zeros_like(rewards),
        values=torch.zeros_like(rewards),
        rewards=rewards,
        terminated=torch.ones(len(responses), dtype=torch.bool),
        problem=torch.tensor(problems),
        lengths=mask.sum(1) + 2,
    )


def test_the_higher_return_is_chosen_and_ties_are_left_out() -> None:
    rollout = rollout_of(
        ["a", "b", "c", "d", "e", "e"], [0.1, 0.9, 0.5, 0.5, 0.0, 1.0], [7, 7, 8, 8, 9, 9]
    )
    chosen, rejected = pairs_of(rollout, CharTokenizer(), None, torch.Generator())
    # Problem 8 is a tie; of 9, the same tokens earned different returns.
    assert (chosen.tolist(), rejected.tolist()) == ([1], [0])


def test_of_four_responses_the_best_meets_the_worst() -> None:
    rollout = rollout_of(["a", "b", "c", "d"], [0.4, 0.9, 0.1, 0.5], [7, 7, 7, 7])
    chosen, rejected = pairs_of(rollout, CharTokenizer(), None, torch.Generator())
    assert sorted(zip(chosen.tolist(), rejected.tolist(), strict=True)) == [(1, 2), (3, 0)]


def test_a_preference_function_gets_texts_and_its_label_is_drawn() -> None:
    asked = []

    def longer(prompt: str, a: str, b: str) -> float:
        asked.append((prompt, a, b))
        return 1.0 if len(a) > len(b) else 0.0 if len(a) < len(b) else 0.5

    rollout = rollout_of(["a", "bbb", "c", "d"], [1.0, 0.0, 0.3, 0.2], [7, 7, 8, 8])
    chosen, rejected = pairs_of(rollout, CharTokenizer(), longer, torch.Generator())
    assert (chosen.tolist(), rejected.tolist()) == ([1], [0])
    assert {(p, *sorted((a, b))) for p, a, b in asked} == {("q:", "a", "bbb"), ("q:", "c", "d")}


def test_online_learning_raises_what_the_environment_rewards(tmp_path: Path) -> None:
    policy = new_policy()
    config = DPOConfig(batch_size=64, num_iterations=12, learning_rate=1e-2, warmup_iterations=2)
    env = RLEnvironment(Letters())
    DPOTrainer(config, policy, folder=tmp_path, show=False).train_online(env)
    rows = read_metrics(tmp_path)
    assert rows[0]["kl"] == pytest.approx(0.0, abs=1e-6) and rows[-1]["kl"] > 0
    assert all(0 < row["pairs"] <= 32 for row in rows if row["success"] > 0)
    assert rows[-1]["success"] > 0.4 > 0.33 > rows[0]["success"]


def test_an_online_run_that_goes_on_has_the_reference_that_it_began_with(tmp_path: Path) -> None:
    def train(name: str, num_iterations: int) -> Policy:
        policy, folder = new_policy(), tmp_path / name
        config = DPOConfig(batch_size=32, num_iterations=4, learning_rate=1e-2)
        trainer = DPOTrainer(config, policy, folder=folder, show=False)
        if folder.exists():
            trainer.load_checkpoint()
        step = trainer.step_online

        def stopped(*given) -> dict[str, float]:
            if trainer.course.iteration + 1 == num_iterations:
                os.kill(os.getpid(), signal.SIGINT)
            return step(*given)

        trainer.step_online = stopped
        trainer.train_online(RLEnvironment(Letters()))
        return policy

    with pytest.raises(KeyboardInterrupt):
        train("part", 2)
    assert torch.equal(weights(train("part", 9)), weights(train("whole", 9)))


def test_online_pairs_have_margin_0_at_first_under_any_sampling(tmp_path: Path) -> None:
    from agents.sampling import Sampling

    config = DPOConfig(batch_size=32, num_iterations=1, sampling=Sampling(0.7, top_k=20))

    def first(prompt: str, a: str, b: str) -> float:
        return 1.0

    trainer = DPOTrainer(config, new_policy(), folder=tmp_path, show=False)
    trainer.train_online(RLEnvironment(Letters()), preference=first)
    (row,) = read_metrics(tmp_path)
    assert row["preference_loss"] == pytest.approx(math.log(2), abs=1e-5)
    assert row["reward_margin"] == pytest.approx(0.0, abs=1e-6)


def test_every_field_of_the_config_is_read() -> None:
    attributes = {
        node.attr
        for node in ast.walk(ast.parse(Path(module.__file__).read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute)
    }
    of_all = {field.name for field in dataclasses.fields(module.RolloutConfig)}
    own = {field.name for field in dataclasses.fields(DPOConfig)} - of_all
    assert own <= attributes


def test_tokenised_pairs_are_kept_for_looking_at() -> None:
    trainer = trained(new_policy())
    assert trainer.data.prompts == tokenise_preferences(PAIRS, "char").prompts


# ------------------------------------------------------------- the command line

SMALL = ["--env", "TextTaste-v0", "--batch-size", "8", "--warm-up", "0", "--num-pairs", "16"]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agents.runs.TEST_EPISODES", 8)


def test_the_command_trains_measures_and_leaves_a_run_folder(
    tmp_path: Path, quick: None, capsys: pytest.CaptureFixture[str]
) -> None:
    from agents.cli import main
    from agents.models import load_policy

    out = tmp_path / "run"
    assert main(["dpo", *SMALL, "--out", str(out), "--validation-share", "0.2"]) == 0
    summary = json.loads((out / "summary.json").read_text())
    assert (summary["algorithm"], summary["iterations"], summary["test_episodes"]) == ("dpo", 2, 8)
    printed = capsys.readouterr().out
    assert (out / "learning_curve.png").is_file() and "accuracy" in printed
    # TextTaste's only component is from -8 to 8.
    assert summary["success_before"] is summary["success_after"] is None
    assert "success" not in printed and "return, sampled" in printed
    assert len(read_metrics(out)) == 2 and load_policy(out).eos == 2


def test_the_command_takes_a_file_of_pairs_and_goes_on(
    tmp_path: Path, quick: None, capsys: pytest.CaptureFixture[str]
) -> None:
    from agents.cli import main

    lines = [{"prompt": p.prompt, "chosen": p.chosen, "rejected": p.rejected} for p in PAIRS]
    pairs, out = tmp_path / "pairs.jsonl", tmp_path / "run"
    pairs.write_text("\n".join(map(json.dumps, lines)))
    assert main(["dpo", *SMALL, "--out", str(out), "--pairs", str(pairs)]) == 0
    assert [row["episodes"] for row in read_metrics(out)] == [8]
    assert "\n8 pairs, " in capsys.readouterr().out
    assert main(["dpo", "--resume", "--out", str(out), "--num-epochs", "2"]) == 0
    assert [row["episodes"] for row in read_metrics(out)] == [8, 16]


def test_the_command_says_in_one_line_what_is_wrong_with_a_file(
    tmp_path: Path, quick: None, capsys: pytest.CaptureFixture[str]
) -> None:
    from agents.cli import main

    path = str(tmp_path / "none.jsonl")
    assert main(["dpo", *SMALL, "--out", str(tmp_path / "run"), "--pairs", path]) == 2
    shown = capsys.readouterr()
    assert "none.jsonl" in shown.err and shown.out == ""  # before anything is loaded and measured
