"""The ends of episodes in a vector environment: their texts, their grades, what infos tell of them.

Text is graded only where it has to be: not if its tokens are the reference answer's or can earn
nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from textgym.mdp import ILLEGAL, STOP_REASONS, TokenMDP
from textgym.tokenizer import CharTokenizer
from textgym.turns import Turns

_REASON_NAMES = np.array(STOP_REASONS, dtype=object)


class Endings:
    """Grades the episodes that end in one step.

    Works on the vector environment's own arrays: `flat` [N * L] tokens, `cursor` [N] where each
    slot's next token goes in `flat`, `limit` [N] the cursor at which its budget is spent.

    Args:
        mdp: what is played.
        flat, cursor, limit: see above.
        turns: of a dialogue or a task with stop strings; None: a response is one run of tokens.
        details: whether infos also tell how episodes ended.
    """

    def __init__(
        self,
        mdp: TokenMDP,
        flat: np.ndarray,
        cursor: np.ndarray,
        limit: np.ndarray,
        turns: Turns | None,
        details: bool,
    ) -> None:
        self.mdp, self.flat, self.cursor, self.limit = mdp, flat, cursor, limit
        self.turns, self.details = turns, details
        self._budget_columns = np.arange(mdp.budget)
        # Asking 150,000 tokens for their text takes seconds: only the built-in tokenizer is asked.
        self._worthless: np.ndarray | None = None
        if mdp.task.alphabet is not None and isinstance(mdp.vocabulary.tokenizer, CharTokenizer):
            self._worthless = ~mdp.vocabulary.in_alphabet(mdp.task.alphabet)

    def grade(
        self, slots: np.ndarray, rows: np.ndarray, reasons: np.ndarray, infos: dict[str, Any]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Grade the episodes that ended, and write into `infos` what there is to tell.

        Args:
            slots: [k] those that ended.
            rows: [k] their problems' rows in the bank.
            reasons: [N] codes of mdp.STOP_REASONS, 0 in the other slots.
            infos: where to.

        Returns:
            [k, K] float64 components, and [k] bool: where a verdict was reached.
        """
        mdp, bank, num_envs = self.mdp, self.mdp.bank, len(reasons)
        gradable = (reasons.take(slots) != ILLEGAL) | (not mdp.scoring.is_bounded)
        is_known = exact = np.zeros(len(slots), dtype=bool)
        if self.turns is not None:
            texts = np.array([self.turns.response(slot) for slot in slots.tolist()], dtype=object)
            grades = np.zeros((len(slots), len(mdp.components)))
            unknown = gradable.nonzero()[0]
        else:
            texts, exact, unknown = self._read(slots, rows, gradable)
            is_known = exact & bank.is_graded.take(rows)
            grades = bank.reference_grades.take(rows, axis=0) * is_known[:, None]
        facts: dict[int, Mapping[str, Any]] = {}
        errors: dict[int, str] = {}
        if unknown.size:
            ended = unknown.tolist()
            turns = (
                [(texts[i],) for i in ended]
                if self.turns is None
                else [self.turns.of(int(slots[i])) for i in ended]
            )
            verdicts = mdp.grade_many([int(rows[i]) for i in ended], turns)
            for i, verdict in zip(ended, verdicts, strict=True):
                grades[i] = verdict.values
                if verdict.facts:
                    facts[i] = verdict.facts
                if verdict.error is not None:
                    errors[i] = verdict.error
                elif exact[i]:
                    bank.keep_grade(int(rows[i]), verdict)
        if errors:
            _write_errors(infos, slots, errors, num_envs)
        if mdp.task.max_turns > 1:
            masks = self.turns.masks(slots)
            infos["response_mask"], infos["_response_mask"] = masks, reasons.astype(bool)
        if self.details:
            if bank.reference_facts:
                for i in is_known.nonzero()[0].tolist():
                    facts[i] = bank.reference_facts.get(int(rows[i]), {})
            if facts:
                _write_facts(infos, slots, facts, num_envs)
            _write_ending(infos, mdp, slots, reasons, texts, grades)
        graded = np.ones(len(slots), dtype=bool)
        graded[list(errors)] = False
        return grades, graded

    def _read(
        self, slots: np.ndarray, rows: np.ndarray, gradable: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Texts [k] object, which of them are the reference answer [k], and which to grade [j]."""
        bank, vocabulary = self.mdp.bank, self.mdp.vocabulary
        # Fewer tokens than the budget leave pad behind the end, in the references too: equal
        # tokens are the reference answer, whose text is known, and after the first its grade.
        first = self.limit.take(slots) - self.mdp.budget
        responses = self.flat.take(first[:, None] + self._budget_columns)
        same = responses == bank.references.take(rows, axis=0)
        exact = np.logical_and.reduce(same, axis=1)
        unknown = (~(exact & bank.is_graded.take(rows))).nonzero()[0]
        texts = bank.answers.take(rows) if self.details else np.empty(len(rows), object)
        if not unknown.size:
            return texts, exact, unknown
        responses, hopeful = responses.take(unknown, axis=0), gradable.take(unknown)
        if self._worthless is not None:
            hopeful &= ~np.logical_or.reduce(self._worthless.take(responses), axis=1)
        if not self.details:  # only the grader wants a text
            unknown, responses, hopeful = unknown[hopeful], responses[hopeful], hopeful[hopeful]
        lengths = self.cursor.take(slots.take(unknown)) - first.take(unknown)
        texts[unknown] = vocabulary.decode_rows(responses, lengths)
        return texts, exact, unknown[hopeful]


def _write_errors(
    infos: dict[str, Any], slots: np.ndarray, errors: Mapping[int, str], num_envs: int
) -> None:
    """Write `verifier_error`: position in `slots` [k] -> why no verdict was reached."""
    told, is_told = np.full(num_envs, None, dtype=object), np.zeros(num_envs, dtype=bool)
    where = slots[list(errors)]
    told[where], is_told[where] = list(errors.values()), True
    infos["verifier_error"], infos["_verifier_error"] = told, is_told


def _write_ending(
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
        reasons: [N] codes of mdp.STOP_REASONS, 0 in the other slots.
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


def _write_facts(
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
