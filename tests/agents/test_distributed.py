"""Several processes: together they do what one would, and decide alike; one folder comes of it."""

from __future__ import annotations

import importlib
import json
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, distributed, nn

from agents import cli
from agents import distributed as ours
from agents.commands.on_policy import LEARNERS
from agents.dpo import DPOConfig, DPOTrainer
from agents.metrics import TIMING, read_metrics
from agents.models import Policy, new_tiny_model
from agents.optimization import update
from agents.play import slots
from agents.ppo import PPOConfig, PPOTrainer
from agents.reward_model import RewardModel
from agents.sft import SFTConfig, SFTTrainer
from tests.agents.learners import Words, assert_same_weights, new_policy, seeded, weights
from tests.agents.test_verifier_errors import Broken
from textgym import CharTokenizer, Problem, RLEnvironment, Task

ROOT = Path(__file__).parent.parent.parent
SECONDS = 60
"""In which the processes of a test end, or else wait for each other for good."""

Work = Callable[[Path], Any]


def together(work: Work, folder: Path, num_ranks: int = 2) -> list[Any]:
    """What `work(folder)` returns in each of several processes: tensors and plain values.

    Forked, because each new interpreter would load torch and transformers again.
    """
    folder.mkdir(parents=True, exist_ok=True)
    context = multiprocessing.get_context("fork")
    processes = [
        context.Process(target=_join, args=(work, folder, rank, num_ranks))
        for rank in range(num_ranks)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(SECONDS)
    hung = [process for process in processes if process.is_alive()]
    for process in hung:
        process.kill()
    assert not hung, "the processes wait for each other"
    assert [process.exitcode for process in processes] == [0] * num_ranks
    return [torch.load(folder / f"{rank}.pt") for rank in range(num_ranks)]


def _join(work: Work, folder: Path, rank: int, num_ranks: int) -> None:
    store = f"file://{folder}/store"
    distributed.init_process_group("gloo", init_method=store, rank=rank, world_size=num_ranks)
    torch.save(work(folder), folder / f"{rank}.pt")
    ours.stop()


# ------------------------------------------------------------------- numbers and decisions


def test_alone_everything_is_what_is_given() -> None:
    x = torch.arange(3.0)
    assert (ours.rank(), ours.num_ranks()) == (0, 1)
    assert ours.total(2) == 2 and ours.least(3) == 3 and ours.any_(True)
    assert ours.gather("a") == ["a"] and ours.by_first(lambda: 5) == 5 and ours.summed(x) is x
    ours.sum_([x])
    assert x.tolist() == [0, 1, 2]


def test_numbers_are_of_all_processes(tmp_path: Path) -> None:
    def work(folder: Path) -> list[Any]:
        rank, seen = ours.rank(), []

        def make() -> int:
            seen.append((ours.rank(), ours.num_ranks(), ours.total(10)))
            return rank + 7

        return [
            [ours.total(rank + 1), ours.least(rank + 4), ours.any_(rank == 1), ours.any_(False)],
            ours.gather({"rank": rank}),
            [ours.by_first(make), seen],
        ]

    first, second = together(work, tmp_path)
    assert first[:2] == second[:2] == [[3, 4, True, False], [{"rank": 0}, {"rank": 1}]]
    # Who makes a thing for all of them is alone meanwhile: it meets nobody, or would wait for good.
    assert first[2] == [7, [(0, 1, 10)]] and second[2] == [7, []]


def test_tensors_of_any_sizes_and_dtypes_are_added_up(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(ours, "BUCKET", 10)

    def make(seed: int) -> list[Tensor]:
        shapes = [(2, 3), (), (25,), (4,), (5, 1), (0,), (3,)]
        made = [torch.randn(shape, generator=seeded(seed)) for shape in shapes]
        return [x.double() if i % 4 == 3 else x.mT if x.ndim > 1 else x for i, x in enumerate(made)]

    def work(folder: Path) -> list[Tensor]:
        tensors = make(ours.rank())
        ours.sum_(tensors)
        return tensors

    expected = [x + y for x, y in zip(make(0), make(1), strict=True)]
    for got in together(work, tmp_path):
        torch.testing.assert_close(got, expected, rtol=0, atol=0)


def linear() -> tuple[nn.Module, torch.optim.Optimizer]:
    model = nn.ModuleDict({"used": nn.Linear(3, 1), "unused": nn.Linear(3, 1)})
    with torch.no_grad():
        for i, parameter in enumerate(model.parameters()):
            parameter.fill_(0.1 * (i + 1))
    return model, torch.optim.SGD(model.parameters(), lr=0.1)


def test_a_step_is_that_of_all_rows_however_they_are_shared_out(tmp_path: Path) -> None:
    rows = torch.randn(7, 3, generator=seeded())

    def step(parts: list[Tensor]) -> tuple[dict[str, float], dict[str, Tensor]]:
        model, optimizer = linear()

        def losses():
            for part in parts:
                loss = model["used"](part).square().sum() / len(rows)
                yield loss, {"policy_loss": loss.detach()}

        numbers = update(model, optimizer, losses(), max_grad_norm=0.5)
        return numbers, weights(model)

    numbers, expected = step([rows])
    # Two micro-batches and one, three and none at all.
    for i, shares in enumerate([[[rows[:2], rows[2:4]], [rows[4:]]], [list(rows.split(3)), []]]):
        both = together(lambda _, s=shares: step(s[ours.rank()]), tmp_path / str(i))
        assert both[0][0] == both[1][0] == pytest.approx(numbers, rel=1e-6)
        for _, got in both:
            torch.testing.assert_close(got, expected)
            assert torch.equal(got["unused.weight"], expected["unused.weight"])


def test_a_number_that_is_not_finite_in_one_process_stops_all(tmp_path: Path) -> None:
    def work(folder: Path) -> str:
        model, optimizer = linear()
        loss = model["used"](torch.ones(2, 3)).sum() * (1.0 if ours.rank() else torch.inf)
        with pytest.raises(FloatingPointError) as error:
            update(model, optimizer, [(loss, {"policy_loss": loss.detach()})], max_grad_norm=1.0)
        return str(error.value)

    first, second = together(work, tmp_path)
    assert first == second and first.startswith("policy_loss is inf")


# ------------------------------------------------------------------- learners


def trainer_of(algorithm: str, folder: Path | None = None, **settings: Any) -> Any:
    module, name, _ = LEARNERS[algorithm]
    module = importlib.import_module(module)
    config = getattr(module, name + "Config")(
        **{"batch_size": 16, "num_iterations": 3, "warmup_iterations": 1, "learning_rate": 1e-3}
        | settings
    )
    return getattr(module, name + "Trainer")(config, new_policy(), folder=folder, show=False)


def trained(trainer: Any, task: Task | None = None) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Its weights and its last iteration's metrics."""
    rows, step = [], trainer.step
    trainer.step = lambda envs: rows.append(step(envs)) or rows[-1]
    trainer.train(RLEnvironment(task or Words()))
    return weights(trainer.policy), {k: v for k, v in rows[-1].items() if k not in TIMING}


def whole_batches(algorithm: str) -> dict[str, Any]:
    """Settings under which an iteration is one step: minibatches are drawn in each process."""
    return {"num_minibatches": 1} if algorithm in ("ppo", "grpo") else {}


@pytest.mark.parametrize("algorithm", LEARNERS)
def test_two_processes_with_half_a_batch_each_do_what_one_does_with_all(
    algorithm: str, tmp_path: Path
) -> None:
    settings = whole_batches(algorithm)
    expected, metrics = trained(trainer_of(algorithm, **settings))
    (first, its_metrics), (second, same_metrics) = together(
        lambda _: trained(trainer_of(algorithm, **settings)), tmp_path
    )
    assert_same_weights(first, second)
    assert its_metrics == same_metrics == pytest.approx(metrics, rel=1e-3, abs=1e-5)
    start = new_policy().state_dict()
    for name, tensor in expected.items():
        torch.testing.assert_close(first[name], tensor, atol=2e-5, rtol=0, msg=name)
    assert max((expected[name] - start[name]).abs().max() for name in start) > 1e-3


WORDS = ["ab", "cde", "f", "ghij", "kl", "mno", "p"]
"""In batches of two, the last of which is one row: of two processes, one has none."""


def on_responses(_: Path) -> dict[str, Tensor]:
    config = SFTConfig(batch_size=2, num_epochs=2, warmup_iterations=1, learning_rate=1e-3)
    trainer = SFTTrainer(config, new_policy(), show=False)
    trainer.train_on_responses([f"say {word}: " for word in WORDS], WORDS)
    return weights(trainer.policy)


def on_preferences(_: Path) -> dict[str, Tensor]:
    config = DPOConfig(batch_size=2, num_epochs=2, warmup_iterations=1, learning_rate=1e-3)
    trainer = DPOTrainer(config, new_policy(), show=False)
    trainer.train_on_preferences(
        [f"say {word}: " for word in WORDS], WORDS, [word[::-1] + "x" for word in WORDS]
    )
    return weights(trainer.policy)


def on_pairs_by_the_command_line(folder: Path) -> dict[str, Tensor]:
    """A reward model; of several processes one writes the folder."""
    policy, out = folder / "policy", folder / f"judge of {ours.num_ranks()}"
    ours.by_first(lambda: new_policy().save(policy))
    line = ["reward-model", "--env", "TextTaste-v0", "--num-pairs", "16", "--batch-size", "3"]
    line += ["--num-iterations", "3", "--policy", str(policy), "--out", str(out)]
    assert cli.main(line) == 0
    assert [row["episodes"] for row in read_metrics(out)] == [3, 6, 9]
    return RewardModel.load(out).state_dict()


@pytest.mark.parametrize("work", [on_responses, on_preferences, on_pairs_by_the_command_line])
def test_given_rows_are_shared_out_too(work: Work, tmp_path: Path) -> None:
    expected = work(tmp_path)
    first, second = together(work, tmp_path)
    assert_same_weights(first, second)
    for name, tensor in expected.items():
        torch.testing.assert_close(first[name], tensor, atol=2e-5, rtol=0, msg=name)


def test_minibatches_and_an_early_end_keep_the_processes_equal(tmp_path: Path) -> None:
    def work(folder: Path) -> tuple[dict[str, Tensor], int]:
        trainer = trainer_of(
            "ppo", num_epochs=4, num_minibatches=4, target_kl=1e-3, max_tokens=40, kl_target=0.01
        )
        steps, step = [], trainer.optimizer.step
        trainer.optimizer.step = lambda: steps.append(1) or step()
        return trained(trainer)[0], len(steps)

    (first, num_steps), (second, same) = together(work, tmp_path)
    assert_same_weights(first, second)
    assert num_steps == same and 3 <= num_steps < 48


@pytest.mark.parametrize("algorithm", LEARNERS)
def test_a_process_without_a_verdict_takes_part(algorithm: str, tmp_path: Path) -> None:
    def work(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
        trainer = trainer_of(algorithm, **whole_batches(algorithm))
        return trained(trainer, Broken() if ours.rank() else Words())

    (first, metrics), (second, same) = together(work, tmp_path)
    assert_same_weights(first, second)
    assert metrics == same and metrics["verifier_errors"] == 8 and metrics["episodes"] == 48
    assert not torch.equal(first["value_head.weight"], new_policy().value_head.weight) or any(
        not torch.equal(first[name], x) for name, x in new_policy().state_dict().items()
    )


@pytest.mark.filterwarnings("ignore:iteration")
def test_where_no_process_has_a_verdict_nothing_is_learned(tmp_path: Path) -> None:
    first, second = together(lambda _: trained(trainer_of("ppo"), Broken())[0], tmp_path)
    for got in (first, second):
        assert_same_weights(got, new_policy().state_dict())


class Steps(Task):
    """Two levels: an answer at the first one is always right, at the second never."""

    difficulties = ("easy", "hard")
    max_response_tokens = 3

    def sample(self, rng, difficulty="easy"):
        return Problem(prompt=f"{difficulty}{rng.integers(10**6)}")

    def grade(self, problem, response):
        return {"correct": float(problem.prompt.startswith("easy"))}


def test_the_curriculum_sees_the_episodes_of_all_processes(tmp_path: Path) -> None:
    def work(folder: Path) -> list[Any]:
        trainer = trainer_of("ppo", batch_size=192, num_iterations=2, num_minibatches=1)
        trainer.train(RLEnvironment(Steps(), difficulty="adaptive"))
        return [trainer.course._curriculum.state_dict()]

    first, second = together(work, tmp_path)
    # 256 episodes are enough for the next level: 96 of each process's 192 would not be.
    assert first == second and first[0]["level"] == 1


def test_other_weights_in_one_process_are_refused(tmp_path: Path) -> None:
    def work(folder: Path) -> str:
        model = new_tiny_model(ours.rank(), hidden_size=32, num_layers=1)
        trainer = PPOTrainer(PPOConfig(batch_size=8), Policy(model, CharTokenizer()), show=False)
        with pytest.raises(ValueError) as error:
            trainer.train(RLEnvironment(Words()))
        return str(error.value)

    for message in together(work, tmp_path):
        assert message.startswith("process 1 begins with other weights")


def test_slots_are_shared_out(tmp_path: Path) -> None:
    config = PPOConfig(batch_size=8, num_envs=4)
    work = lambda _: slots(RLEnvironment(Words()), new_policy(), config).num_envs  # noqa: E731
    assert together(work, tmp_path) == [2, 2]


def test_a_batch_that_cannot_be_shared_out_is_refused(tmp_path: Path) -> None:
    def work(folder: Path) -> str:
        with pytest.raises(ValueError) as error:
            trainer_of("ppo", batch_size=9).train(RLEnvironment(Words()))
        return str(error.value)

    for message in together(work, tmp_path):
        assert message == "batch_size is 9, expected a multiple of 2 processes"


# ------------------------------------------------------------------- the run folder


def test_a_resumed_run_equals_an_uninterrupted_one_in_all_processes(tmp_path: Path) -> None:
    def straight(folder: Path) -> dict[str, Tensor]:
        return trained(trainer_of("ppo", folder / "run", checkpoint_every=1))[0]

    def begun(folder: Path) -> None:
        trainer = trainer_of("ppo", folder / "run", checkpoint_every=1)
        step = trainer.step

        def stop_after_two(envs: Any) -> dict[str, float]:
            metrics = step(envs)
            if trainer.course.iteration == 2:
                os.kill(os.getpid(), signal.SIGINT) if ours.rank() == 1 else None
            return metrics

        trainer.step = stop_after_two
        # Ctrl-C in one process stops both, after the same iteration.
        with pytest.raises(KeyboardInterrupt):
            trainer.train(RLEnvironment(Words()))
        assert trainer.course.iteration == 2

    def resumed(folder: Path) -> dict[str, Tensor]:
        trainer = trainer_of("ppo", folder / "run", checkpoint_every=1)
        trainer.load_checkpoint()
        return trained(trainer)[0]

    first, second = together(straight, tmp_path / "straight")
    together(begun, tmp_path / "begun")
    for got in together(resumed, tmp_path / "begun"):
        assert_same_weights(got, first)
    assert_same_weights(first, second)
    rows, expected = (
        [
            {k: v for k, v in row.items() if k not in TIMING}
            for row in read_metrics(tmp_path / name / "run")
        ]
        for name in ("begun", "straight")
    )
    assert rows == expected and [row["iteration"] for row in rows] == [1, 2, 3]


def test_the_command_line_leaves_one_whole_run_folder(tmp_path: Path) -> None:
    policy = new_policy()
    policy.save(tmp_path / "start")
    run = tmp_path / "run"
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu"]
    launch += ["--num_processes", "2", "--main_process_port", "0", "-m", "agents", "ppo"]
    settings = "--env TextMath-v0 --warm-up 0 --num-iterations 2 --batch-size 16".split()
    done = subprocess.run(
        [*launch, *settings, "--policy", str(tmp_path / "start"), "--out", str(run)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=2 * SECONDS,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("iterations 1 to 2") == done.stdout.count("measure ") == 1
    files = {path.name for path in run.iterdir() if "tfevents" not in path.name}
    assert files == {
        *("config.json", "initial", "before.json", "metrics.jsonl", "checkpoint.safetensors"),
        *("policy", "summary.json", "learning_curve.png"),
    }
    assert len(list(run.glob("*tfevents*"))) == 1
    summary = json.loads((run / "summary.json").read_text())
    assert (summary["iterations"], summary["episodes"]) == (2, 32)
    assert [row["episodes"] for row in read_metrics(run)] == [16, 32]


def test_one_process_where_several_were_asked_for_is_refused(monkeypatch) -> None:
    for name, value in {"MASTER_ADDR": "127.0.0.1", "ACCELERATE_USE_CPU": "True"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with pytest.raises(RuntimeError, match="started one process, whatever --num_processes says"):
        ours.start()
