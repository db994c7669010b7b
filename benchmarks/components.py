"""Does a reward model of several objectives rank held-out responses by each objective?

A `MultiObjectiveRewardModel` learns by regression from responses and their true components, each
response seen once, and is asked about others, to prompts of the test split. Responses are of all
qualities: on TextMultiObjective, characters that are the first, the second or any of 62, in
proportions drawn anew for each; on TextConcise, right terms and then random ones. One JSON line a
seed; CPU seconds are those of training, on one thread. Of each objective:

ranking      the share of pairs of responses to one prompt that are ordered rightly. Pairs that tie
             in truth are left out; equal predictions count half.
ranking_all  the same, of pairs of all responses, whatever their prompts
tied         the share of pairs of one prompt that tie in truth
correlation  Pearson's, of prediction and truth
error        root of the mean squared error; components are from 0 to 1

Of both together:

best_chosen  how often, of the front's responses to a test prompt, the best by the true weighted sum
             is the best by the learned components' too; mean over five weights

Trunks: an encoder of random weights, two layers of 64, whose tokens see both ways and have absolute
positions; causal, the Llama of random weights from the experiments on TextTaste, of the same size;
policy, the embedded policy after it was fitted to the front of TextMultiObjective, level four.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import BertConfig, BertModel

from agents.models import Policy
from agents.reward_heads import Pooling
from agents.reward_trainer import RewardModelConfig, RewardModelTrainer
from agents.reward_variants import MultiObjectiveRewardModel
from benchmarks import fronts
from benchmarks.taste import SMALL, Clock, reward_trunk, untrained
from textgym.task import Problem
from textgym.tasks.objectives import TextConcise, TextMultiObjective
from textgym.tasks.objectives.front import FrontTask
from textgym.tasks.objectives.text_multi_objective import CHARACTERS
from textgym.tokenizer import CharTokenizer

Responder = Callable[[Problem, np.random.Generator], str]

BATCH_SIZE = 64
NUM_PROMPTS, NUM_RESPONSES = 200, 8
"""Of the test: prompts, and responses to each."""
WEIGHTS = (0.1, 0.3, 0.5, 0.7, 0.9)
"""Of the first objective."""


@dataclass(frozen=True)
class Sample:
    """Responses, and the truth about them.

    Attributes:
        prompts, responses: N texts.
        truth: [N, K] components.
    """

    prompts: list[str]
    responses: list[str]
    truth: NDArray[np.float64]


def main(arguments: list[str] | None = None) -> None:
    """Print a line for each seed."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks components",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--env", choices=TASKS, default="TextMultiObjective-v0")
    parser.add_argument("--level", default="four", help="difficulty of the problems")
    parser.add_argument("--trunk", choices=TRUNKS, default="encoder")
    parser.add_argument("--pooling", choices=get_args(Pooling), default="mean")
    parser.add_argument("--iterations", type=int, default=1200, help=f"of {BATCH_SIZE} responses")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, help="where to append the lines too")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    for seed in options.seeds:
        asked = {n: getattr(options, n) for n in ("env", "level", "trunk", "pooling", "iterations")}
        found = measure(seed, **asked)
        line = json.dumps({"benchmark": "components", **asked, "seed": seed, **found})
        print(line, flush=True)
        if options.out is not None:
            with options.out.open("a", encoding="utf-8") as file:
                file.write(line + "\n")


def measure(
    seed: int, *, env: str, level: str, trunk: str, pooling: Pooling, iterations: int
) -> dict[str, Any]:
    """Train a model, and say how well its components rank test responses."""
    task, respond = TASKS[env][0](), TASKS[env][1]
    rng = np.random.default_rng(seed)
    train = [_problem(task, level, "train", rng) for _ in range(BATCH_SIZE * iterations)]
    test = [_problem(task, level, "test", rng) for _ in range(NUM_PROMPTS)]
    asked = [problem for problem in test for _ in range(NUM_RESPONSES)]
    lesson, exam = (sample(task, problems, respond, rng) for problems in (train, asked))
    objectives = dict.fromkeys(task.rewards, 0.5)
    model = MultiObjectiveRewardModel(
        TRUNKS[trunk](seed), CharTokenizer(), objectives=objectives, pooling=pooling, seed=seed
    )
    config = RewardModelConfig(
        learning_rate=3e-3, num_iterations=iterations, batch_size=BATCH_SIZE, seed=seed
    )
    trainer, clock = RewardModelTrainer(config, model, show=False), Clock()
    with clock.timed():
        trainer.train_on_scores(lesson.prompts, lesson.responses, lesson.truth)
    said = model.components(exam.prompts, exam.responses).double().numpy()
    together = np.array(exam.prompts)[:, None] == np.array(exam.prompts)
    found: dict[str, dict[str, float]] = {}
    for name, x, y in zip(objectives, said.T, exam.truth.T, strict=True):
        right, tied = ranking(x, y, together)
        found[name] = {
            "ranking": right,
            "ranking_all": ranking(x, y, np.ones_like(together))[0],
            "tied": tied,
            "correlation": float(np.corrcoef(x, y)[0, 1]),
            "error": float(np.sqrt(np.mean((x - y) ** 2))),
        }
    return {
        "cpu_seconds": clock.seconds,
        **found,
        "best_chosen": best_chosen(model, task, test),
    }


def sample(
    task: FrontTask, problems: list[Problem], respond: Responder, rng: np.random.Generator
) -> Sample:
    """A response to each problem, graded."""
    responses = [respond(problem, rng) for problem in problems]
    grades = [task.grade(p, text) for p, text in zip(problems, responses, strict=True)]
    truth = np.array([[grade[name] for name in task.rewards] for grade in grades])
    return Sample([problem.prompt for problem in problems], responses, truth)


def ranking(
    said: NDArray[np.float64], truth: NDArray[np.float64], comparable: NDArray[np.bool_]
) -> tuple[float, float]:
    """How well numbers order what is known.

    Args:
        said: [N] predictions; equal ones count as half right.
        truth: [N]; pairs that are equal in it are left out.
        comparable: [N, N], symmetric: which pairs are looked at.

    Returns:
        The share of pairs ordered rightly, and the share of pairs that tie in truth.
    """
    gaps = np.subtract.outer(truth, truth)
    pairs = np.triu(comparable, 1)
    decided = pairs & (np.abs(gaps) > 1e-9)  # equal up to rounding is equal
    signs = np.sign(np.subtract.outer(said, said)) * np.sign(gaps)
    return float((signs[decided] + 1).mean() / 2), float(1 - decided.sum() / pairs.sum())


def best_chosen(
    model: MultiObjectiveRewardModel, task: FrontTask, problems: list[Problem]
) -> float:
    """Share of problems and weights for which the learned components pick the front's best."""
    fronts = [list(task.optimal_responses(problem)) for problem in problems]
    rows = [(p, text) for p, front in zip(problems, fronts, strict=True) for text in front]
    grades = [task.grade(problem, text) for problem, text in rows]
    truth = np.array([[grade[name] for name in task.rewards] for grade in grades])
    said = model.components([p.prompt for p, _ in rows], [text for _, text in rows]).numpy()
    weights = np.array([[weight, 1 - weight] for weight in WEIGHTS])
    shape = len(fronts), len(fronts[0]), len(WEIGHTS)
    worth, guess = ((values @ weights.T).reshape(shape) for values in (truth, said))
    picked = np.take_along_axis(worth, guess.argmax(1)[:, None], 1)[:, 0]
    return float((picked > worth.max(1) - 1e-9).mean())  # by worth: two may be equally good


# ------------------------------------------------------------------ problems and responses


def _problem(task: FrontTask, level: str, split: str, rng: np.random.Generator) -> Problem:
    """A problem of a level and a split."""
    while (problem := task.sample(rng, level)).split != split:
        pass
    return problem


def _two_characters(problem: Problem, rng: np.random.Generator) -> str:
    """Up to one character too many, each the first, the second or any, in random proportions."""
    (first, second), n = problem.info["characters"], problem.info["n"]
    kinds = rng.choice(3, int(rng.integers(n + 2)), p=rng.dirichlet([1, 1, 1]))
    others = rng.integers(len(CHARACTERS), size=len(kinds))
    return "".join(
        [first, second, CHARACTERS[other]][kind] for kind, other in zip(kinds, others, strict=True)
    )


def _terms(problem: Problem, rng: np.random.Generator) -> str:
    """Right terms, any number of them, and then up to three random ones."""
    terms = problem.info["terms"]
    low, high = 10 ** (len(terms[0]) - 1), 10 ** len(terms[0])
    right = terms[: int(rng.integers(len(terms) + 1))]
    wrong = rng.integers(low, high, int(rng.integers(4)))
    return " ".join([*right, *map(str, wrong)])


TASKS: dict[str, tuple[type[FrontTask], Responder]] = {
    "TextMultiObjective-v0": (TextMultiObjective, _two_characters),
    "TextConcise-v0": (TextConcise, _terms),
}


# ------------------------------------------------------------------ trunks


def encoder_trunk(seed: int) -> BertModel:
    """An untrained BERT, two layers of 64; see `reward_trunk` for the size of its weights."""
    # Dropout would be noise in a count.
    config = BertConfig(**SMALL, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    trunk = untrained(lambda: BertModel(config, add_pooling_layer=False), seed)
    with torch.no_grad():
        trunk.embeddings.word_embeddings.weight.mul_(4.0)
        trunk.embeddings.position_embeddings.weight.mul_(4.0)
    return trunk


def policy_trunk(seed: int) -> Policy:
    """The embedded policy fitted to responses of the front, as `fronts` begins.

    It has seen prompts of both splits, but no components.
    """
    return fronts.supervised(seed, weights_in_prompt=False)


TRUNKS: dict[str, Callable[[int], Any]] = {
    "encoder": encoder_trunk,
    "causal": reward_trunk,
    "policy": policy_trunk,
}
