"""Pairs of a policy's own responses to one prompt: which is better, says the return or a judge."""

from __future__ import annotations

import torch
from torch import Tensor

from agents.batch import Rollout
from textgym.preferences import PreferenceFunction, prefer_many
from textgym.tokenizer import Tokenizer, Vocabulary


def pairs_of(
    rollout: Rollout,
    tokenizer: Tokenizer,
    preference: PreferenceFunction | None,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Rows of the chosen and of the rejected responses, int64 [P] each.

    Of n responses to one problem the best is paired with the worst, the second best with the second
    worst, and so on. Ties, responses of the same tokens, and those that the judge failed on are
    left out.

    Args:
        rollout: episodes, each with a verdict.
        tokenizer: of their tokens.
        preference: labels a pair with the probability that it gives; None: the return decides.
        generator: of these labels (CPU).
    """
    first, second = _candidates(rollout)
    if preference is None:
        gap = rollout.returns[first] - rollout.returns[second]
    else:
        gap = _labels(rollout, first, second, tokenizer, preference, generator)
    same = (rollout.tokens[first] == rollout.tokens[second]).all(1)
    decided = (gap != 0) & ~same
    better = torch.where(gap > 0, first, second)[decided]
    worse = torch.where(gap > 0, second, first)[decided]
    return better, worse


def _candidates(rollout: Rollout) -> tuple[Tensor, Tensor]:
    """Rows to compare, [P] each; of more than two responses, by return from the outside in."""
    groups: dict[int, list[int]] = {}
    returns = rollout.returns.tolist()
    for row, problem in enumerate(rollout.problem.tolist()):
        groups.setdefault(problem, []).append(row)
    first, second = [], []
    for rows in groups.values():
        rows.sort(key=returns.__getitem__)
        half = len(rows) // 2
        first += rows[:half]
        second += rows[::-1][:half]
    device = rollout.tokens.device
    return torch.tensor(first, device=device, dtype=torch.int64), torch.tensor(
        second, device=device, dtype=torch.int64
    )


def _labels(
    rollout: Rollout,
    first: Tensor,
    second: Tensor,
    tokenizer: Tokenizer,
    preference: PreferenceFunction,
    generator: torch.Generator,
) -> Tensor:
    """[P] 1 where the first is preferred, -1 where the second is, 0 for a tie or a failure."""
    vocabulary = Vocabulary(tokenizer)

    def texts(rows: Tensor, *, prompt: bool) -> list[str]:
        found = []
        for row in rows.tolist():
            tokens, mask = rollout.tokens[row], rollout.mask[row]
            part = tokens[: int(mask.int().argmax())] if prompt else tokens[mask]
            found.append(vocabulary.decode(part.tolist()))
        return found

    prompts = texts(first, prompt=True)
    firsts, seconds = texts(first, prompt=False), texts(second, prompt=False)
    scores = prefer_many(preference, prompts, firsts, seconds)
    draws = torch.rand(len(scores), generator=generator).tolist()
    labels = [
        0 if score.error or score.value == 0.5 else 1 if draw < score.value else -1
        for score, draw in zip(scores, draws, strict=True)
    ]
    return torch.tensor(labels, device=rollout.tokens.device)
