"""Processes that share out a policy's layers: they take the steps that whole policies take."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel

from agents import cli, runs
from agents import distributed as ours
from agents.adapters import Adapter, add_adapter
from agents.checkpoint import FILE_NAME
from agents.dpo import DPOConfig, DPOTrainer
from agents.environments import as_vector_env
from agents.hugging_face import enable_checkpointing
from agents.models import Policy, load_policy, new_tiny_model
from agents.optimization import update
from agents.rollout import collect
from agents.sft import SFTConfig, SFTTrainer
from agents.sharding import ShardedPolicy, whole_policy
from tests.agents.learners import WORDS as WORDS_TASK
from tests.agents.learners import Words, learner, move, new_policy, seeded, words
from tests.agents.test_distributed import WORDS, together, trained
from tests.agents.test_verifier_errors import Broken
from textgym import CharTokenizer, RLEnvironment

Weights = dict[str, Tensor]


def sharded(policy: Policy) -> Policy:
    """The policy as several processes hold it, or as one does."""
    return ShardedPolicy(policy) if ours.num_ranks() > 1 else policy


def whole_weights(policy: Policy) -> Weights:
    return {name: ours.whole(x).clone() for name, x in policy.state_dict().items()}


def is_in_layer(name: str) -> bool:
    return ".layers." in name or name.startswith("value_model.layers.")


def assert_close(got: Weights, expected: Weights, atol: float = 2e-5) -> None:
    assert got.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(got[name], tensor, atol=atol, rtol=0, msg=name)


def adapted_policy() -> Policy:
    policy = new_policy()
    model = add_adapter(policy.model, Adapter(rank=4))
    return Policy(model, policy.tokenizer)


def checkpointed_policy() -> Policy:
    policy = new_policy()
    enable_checkpointing(policy.model)
    return policy


def two_networks() -> Policy:
    policy = new_policy()
    policy.separate_values()
    return policy


# ------------------------------------------------------------------- steps


def played(
    algorithm: str, make: Callable[[], Policy] = new_policy, task: Any = None, **settings: Any
) -> Weights:
    """Whole weights after two iterations of Words."""
    kind = {"batch_size": 16, "num_iterations": 2, "warmup_iterations": 1, "learning_rate": 1e-3}
    if algorithm in ("ppo", "grpo"):
        kind |= {"num_minibatches": 1}
    config = learner(algorithm, "Config")(**kind | settings)
    trainer = learner(algorithm, "Trainer")(config, sharded(make()), show=False)
    trained(trainer, task)
    return whole_weights(trainer.policy)


def paired(make: Callable[[], Policy] = new_policy, **settings: Any) -> Weights:
    config = DPOConfig(
        batch_size=2, warmup_iterations=1, learning_rate=1e-3, max_tokens=30, **settings
    )
    policy = make()
    policy.longest_shared = 0.0  # whose rounding Adam makes 4e-5 of, in one weight
    trainer = DPOTrainer(config, sharded(policy), show=False)
    trainer.train_on_preferences(
        [f"say {word}: " for word in WORDS], WORDS, [word[::-1] + "x" for word in WORDS]
    )
    return whole_weights(trainer.policy)


def imitated() -> Weights:
    """In training mode, in which transformers itself does the gradient checkpointing."""
    config = SFTConfig(batch_size=2, warmup_iterations=1, learning_rate=1e-3)
    trainer = SFTTrainer(config, sharded(checkpointed_policy()), show=False)
    trainer.train_on_responses([f"say {word}: " for word in WORDS], WORDS)
    return whole_weights(trainer.policy)


STEPS: dict[str, Callable[[], Weights]] = {
    # Few tokens a micro-batch: the processes have unequal numbers of them.
    "ppo": lambda: played("ppo", kl_coef=0.1, max_importance_weight=2.0, max_tokens=40),
    "ppo, two networks": lambda: played(
        "ppo", two_networks, value="separate", value_iterations=1, max_tokens=40
    ),
    "grpo": lambda: played("grpo", kl_coef=0.1, entropy_coef=0.01, max_tokens=40),
    "grpo, checkpointing": lambda: played("grpo", checkpointed_policy, kl_coef=0.1),
    "grpo, adapter": lambda: played("grpo", adapted_policy, kl_coef=0.1, max_tokens=40),
    "dpo": paired,
    "dpo, adapter": lambda: paired(adapted_policy, precompute_reference=False),
    "sft": imitated,
}


@pytest.mark.parametrize("name", STEPS)
def test_two_processes_with_half_of_each_layer_do_what_one_does(name: str, tmp_path: Path) -> None:
    step = STEPS[name]
    expected = step()
    first, second = together(lambda _: step(), tmp_path)
    assert_close(first, second, atol=0.0)
    assert_close(first, expected)
    start = (adapted_policy if "adapter" in name else two_networks)().state_dict()
    moved = [name for name in expected if (expected[name] - start[name]).abs().max() > 1e-3]
    assert any(map(is_in_layer, moved))


@pytest.mark.parametrize("algorithm", ["rloo", "reinforce", "a2c"])
def test_a_process_without_a_verdict_takes_part(algorithm: str, tmp_path: Path) -> None:
    first, second = together(
        lambda _: played(algorithm, task=Broken() if ours.rank() else Words(), max_tokens=40),
        tmp_path,
    )
    assert_close(first, second, atol=0.0)
    start = new_policy().state_dict()
    assert any(not torch.equal(first[name], x) for name, x in start.items())


def test_who_has_fewer_micro_batches_gets_empty_ones(tmp_path: Path) -> None:
    def work(folder: Path) -> list[list[int]]:
        parts = [torch.tensor([1, 2]), torch.tensor([3])][ours.rank() :]
        before = [len(part) for part in ours.in_step(parts)]
        ours.keep_step()
        return [before, [len(part) for part in ours.in_step(parts)]]

    assert together(work, tmp_path) == [[[2, 1], [2, 1]], [[1], [1, 0]]]


def test_the_gradient_is_cut_by_its_norm_over_all_parts(tmp_path: Path) -> None:
    def step() -> float:
        policy = sharded(new_policy())
        optimizer = torch.optim.SGD(policy.parameters())
        tokens = torch.randint(4, 100, (4, 12), generator=seeded())[ours.rank() :: ours.num_ranks()]
        mask = (tokens > 30) & (torch.arange(12) > 2)
        loss = policy(tokens, mask).log_probs.sum() / 10
        numbers = update(policy, optimizer, [(loss, {"nll": loss.detach()})], max_grad_norm=0.5)
        grads = [ours.whole(x.grad) for x in policy.parameters() if x.grad is not None]
        return [numbers["grad_norm"], float(torch.nn.utils.get_total_norm(grads))]

    norm, cut = step()
    assert norm > 1 and cut == pytest.approx(0.5, rel=1e-5)
    for got in together(lambda _: step(), tmp_path):
        assert got == pytest.approx([norm, cut], rel=1e-5)


# ------------------------------------------------------------------- what each process holds


def test_a_process_holds_its_part_of_weights_gradients_and_moments(tmp_path: Path) -> None:
    def work(folder: Path) -> list[dict[str, list[int]]]:
        trainer = learner("grpo", "Trainer")(
            learner("grpo", "Config")(batch_size=16, num_iterations=1), sharded(new_policy())
        )
        trainer.show = trainer.course.show = False
        trained(trainer)
        sizes = {}
        for name, x in trainer.policy.named_parameters():
            moments = trainer.optimizer.state[x]
            held = [x, x.grad, moments.get("exp_avg"), moments.get("exp_avg_sq")]
            sizes[name] = [0 if y is None else ours.own_part(y).numel() for y in held]
        reference = [ours.own_part(x).numel() for x in trainer.reference.parameters()]
        return [sizes, {"reference": reference}]

    both = together(work, tmp_path)
    for name, parameter in new_policy().named_parameters():
        sizes = [process[0][name] for process in both]
        if is_in_layer(name) and parameter.ndim > 1:
            assert sizes == [[parameter.numel() // 2] * 4] * 2, name
        elif "value_head" not in name:
            # The weights whole; one process or the other updates them.
            assert [size[0] for size in sizes] == [parameter.numel()] * 2
            assert [sum(x) for x in zip(*sizes, strict=True)][1:] == [parameter.numel()] * 3
    everything = sum(x.numel() for x in new_policy().parameters())
    matrices = sum(x.numel() for x in new_policy().model.model.layers.parameters() if x.ndim > 1)
    for process in both:
        assert sum(process[1]["reference"]) == everything - matrices // 2


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [
        ("llama", torch.float32),
        ("llama, adapter", torch.bfloat16),
        ("gpt2", torch.float32),
        ("gpt2", torch.bfloat16),
    ],
)
def test_the_policy_that_plays_is_the_whole_one(
    kind: str, dtype: torch.dtype, tmp_path: Path
) -> None:
    def make() -> Policy:
        if kind == "gpt2":
            tokenizer, sizes = CharTokenizer(), {"n_embd": 32, "n_layer": 2, "n_head": 4}
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                model = GPT2LMHeadModel(GPT2Config(vocab_size=len(tokenizer), **sizes))
            return Policy(model, tokenizer, dtype=dtype)
        policy = (adapted_policy if "adapter" in kind else new_policy)()
        move(policy, 0.02)
        return Policy(policy.model, policy.tokenizer, dtype=dtype)

    def play(_: Path | None = None) -> list[Any]:
        policy = sharded(make().eval())
        envs = as_vector_env(RLEnvironment(WORDS_TASK), 8)
        rollout, _ = collect(policy, envs, 16, generator=seeded(3), seed=5)
        with torch.no_grad():
            stats = policy(rollout.tokens, rollout.mask)
        with whole_policy(policy) as player:
            sizes = [x.numel() for x in player.model.parameters()]
        again = [ours.own_part(x).numel() for x in policy.parameters()]
        return [rollout.tokens, rollout.log_probs, stats.log_probs, sum(sizes), sum(again)]

    tokens, log_probs, learned, size, _ = play()
    for got in together(play, tmp_path):
        assert torch.equal(got[0], tokens) and torch.equal(got[1], log_probs)
        torch.testing.assert_close(got[2], learned, atol=1e-5, rtol=0)
        assert got[3] == size and got[4] < size


# ------------------------------------------------------------------- files


def test_a_run_goes_on_sharded_or_not(tmp_path: Path) -> None:
    def iterate(folder: Path, first: int, last: int) -> list[Weights]:
        """Whole weights before and after these iterations; the later ones go on in the folder."""
        config = learner("ppo", "Config")(
            batch_size=16, num_iterations=3, num_minibatches=1, kl_coef=0.1
        )
        trainer = learner("ppo", "Trainer")(config, sharded(new_policy()), folder=folder)
        if first:
            trainer.load_checkpoint()
        before, envs = whole_weights(trainer.policy), words(trainer)
        for _ in range(first, last):
            trainer.step(envs)
        trainer.course.save_checkpoint()
        return [before, whole_weights(trainer.policy)]

    run = tmp_path / "run"
    (_, first), (_, same) = together(lambda _: iterate(run, 0, 1), tmp_path / "first")
    saved = load_file(run / FILE_NAME)
    assert_close(same, first, atol=0.0)
    for name in first.keys() - {"model.lm_head.weight"}:  # which is tied to the embedding
        assert torch.equal(saved[f"model.{name}"], first[name]), name
    loaded, second = iterate(run, 1, 2)
    assert_close(loaded, first, atol=0.0)
    expected = iterate(tmp_path / "straight", 0, 3)[1]
    for loaded, third in together(lambda _: iterate(run, 2, 3), tmp_path / "third"):
        assert_close(loaded, second, atol=0.0)
        assert_close(third, expected)
    assert max((third[name] - second[name]).abs().max() for name in third) > 1e-4


def test_what_stops_says_how_it_goes_on(tmp_path: Path) -> None:
    (tmp_path / "initial").mkdir()
    (tmp_path / "config.json").touch()
    with pytest.raises(KeyboardInterrupt, match=r"-m agents ppo --resume --out \S+ --shard$"):
        with runs.interruptible("ppo", tmp_path, shard=True):
            raise KeyboardInterrupt


def test_the_policy_is_saved_whole(tmp_path: Path) -> None:
    def work(folder: Path) -> None:
        policy = adapted_policy()
        move(policy, 0.02)
        sharded(policy).save(folder / "policy")

    work(tmp_path / "one")
    together(work, tmp_path / "two")
    expected, got = (load_policy(tmp_path / name / "policy") for name in ("one", "two"))
    assert_close(got.state_dict(), expected.state_dict(), atol=0.0)


def test_the_command_line(tmp_path: Path) -> None:
    new_policy().save(tmp_path / "start")
    run = tmp_path / "run"
    settings = "ppo --env TextMath-v0 --warm-up 0 --batch-size 16 --num-minibatches 1".split()
    settings += ["--policy", str(tmp_path / "start"), "--num-iterations"]
    start = ["2", "--shard", "--value", "separate", "--out", str(run)]
    together(lambda _: cli.main([*settings, *start]), tmp_path / "two")
    assert not cli.main(["ppo", "--resume", "--out", str(run), "--num-iterations", "3"])
    summary = json.loads((run / "summary.json").read_text())
    assert (summary["iterations"], summary["episodes"]) == (3, 48)


# ------------------------------------------------------------------- refusals


def test_one_process_is_refused(capsys, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="one process cannot share out a policy"):
        ShardedPolicy(new_policy())
    assert cli.main(["ppo", "--env", "TextMath-v0", "--shard", "--out", str(tmp_path / "run")]) == 2
    assert "shard is for several processes, and there is one" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_what_cannot_be_sharded_is_refused(tmp_path: Path) -> None:
    def work(folder: Path) -> list[str]:
        other = Policy(new_tiny_model(ours.rank(), hidden_size=32, num_layers=1), CharTokenizer())
        no_layers = new_policy()
        no_layers.model.model.layers.append(no_layers.model.model.layers[0])
        messages = []
        for make in (
            lambda: ShardedPolicy(other),
            lambda: ShardedPolicy(no_layers),
            lambda: ShardedPolicy(new_policy()).separate_values(),
        ):
            with pytest.raises(ValueError) as error:
                make()
            messages.append(str(error.value))
        return messages

    for messages in together(work, tmp_path):
        starts = ["process ", "LlamaModel has no list of 2 layers", "value is 'separate'"]
        assert all(m.startswith(s) for m, s in zip(messages, starts, strict=True))
