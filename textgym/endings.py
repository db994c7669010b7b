"""What the ends of episodes add to the infos of a vector environment, and nothing else of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from textgym.mdp import STOP_REASONS, TokenMDP

_REASON_NAMES = np.array(STOP_REASONS, dtype=object)


def write_ending(
    infos: dict[str, Any],
    mdp: TokenMDP,
    slots: np.ndarray,
    reasons: np.ndarray,
    texts: np.ndarray,
    grades: np.ndarray,
) -> None:
    """Write why episodes ended, with which responses, and their components.

    Args:
        infos: where to.
        mdp: what is played.
        slots: [k] those that ended.
        reasons: [N] codes of core.STOP_REASONS, 0 in the other slots.
        texts: [k] object, the responses.
        grades: [k, K] float64.
    """
    num, done = len(reasons), reasons.astype(bool)
    responses = np.empty(num, dtype=object)  # None everywhere
    responses[slots] = texts
    columns = np.zeros((num, grades.shape[1]), dtype=np.float64)
    columns[slots] = grades
    components: dict[str, Any] = {}
    for i, name in enumerate(mdp.components):
        components[name], components[f"_{name}"] = columns[:, i], done
    infos["stop_reason"], infos["_stop_reason"] = _REASON_NAMES.take(reasons), done
    infos["response"], infos["_response"] = responses, done
    infos["components"], infos["_components"] = components, done


def write_facts(
    infos: dict[str, Any],
    slots: np.ndarray,
    facts: Mapping[int, Mapping[str, Any]],
    num_envs: int,
) -> None:
    """Write `verdict`: position in `slots` [k] -> the facts about the grade of what ended there.

    As Gymnasium's own vector environments do: of each name, the first value (by slot) says what its
    array holds.
    """
    columns: dict[str, tuple[list[int], list[Any]]] = {}
    for i in sorted(facts):
        for name, value in facts[i].items():
            where, values = columns.setdefault(name, ([], []))
            where.append(slots[i])
            values.append(value)
    if not columns:
        return
    told = np.zeros(num_envs, dtype=bool)
    told[slots[[i for i, found in facts.items() if found]]] = True
    verdict: dict[str, Any] = {}
    for name, (where, values) in columns.items():
        kind = type(values[0])
        column = np.full(num_envs, None) if kind is str else np.zeros(num_envs, dtype=kind)
        column[where] = values
        mask = np.zeros(num_envs, dtype=bool)
        mask[where] = True
        verdict[name], verdict[f"_{name}"] = column, mask
    infos["verdict"], infos["_verdict"] = verdict, told
