"""What the ends of episodes add to the infos of a vector environment, and nothing else of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from textgym.core import STOP_REASONS, TokenMDP

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


def write_errors(infos: dict[str, Any], num_envs: int, errors: Mapping[int, str]) -> None:
    """Write `verifier_error`, from slot -> error, if there is one."""
    if errors:
        column = np.empty(num_envs, dtype=object)  # None everywhere
        column[list(errors)] = list(errors.values())
        infos["verifier_error"] = column
        infos["_verifier_error"] = _mask(num_envs, errors)


def write_facts(
    infos: dict[str, Any], num_envs: int, facts: Mapping[int, Mapping[str, Any]]
) -> None:
    """Write `verdict`, from slot -> its facts, if there are some.

    As Gymnasium's own vector environments do: of each name, the first value (by slot) says what its
    array holds.
    """
    columns: dict[str, tuple[list[int], list[Any]]] = {}
    for slot in sorted(facts):
        for name, value in facts[slot].items():
            where, values = columns.setdefault(name, ([], []))
            where.append(slot)
            values.append(value)
    if not columns:
        return
    verdict: dict[str, Any] = {}
    for name, (where, values) in columns.items():
        kind = type(values[0])
        column = np.full(num_envs, None) if kind is str else np.zeros(num_envs, dtype=kind)
        column[where] = values
        verdict[name], verdict[f"_{name}"] = column, _mask(num_envs, where)
    infos["verdict"] = verdict
    infos["_verdict"] = _mask(num_envs, (slot for slot, found in facts.items() if found))


def _mask(num_envs: int, slots: Iterable[int]) -> np.ndarray:
    mask = np.zeros(num_envs, dtype=bool)
    mask[list(slots)] = True
    return mask
