"""Environments of the built-in tasks by function, for those who have a tokenizer at hand."""

from __future__ import annotations

from typing import Any

import gymnasium

from textgym.tokenizer import Tokenizer


def create_code_generation_env(
    tokenizer: str | Tokenizer = "char", **settings: Any
) -> gymnasium.Env:
    """TextCode-v0: write programs, which a sandbox runs against hidden tests.

    Args:
        tokenizer: whose ids the actions are: "char", a Hugging Face name or folder, or an object.
        **settings: what `gymnasium.make("TextCode-v0", ...)` takes: `difficulty`, `dataset`,
            `reward_weights`, `max_response_tokens`, ...; see `textgym.tasks.TextCode`.

    Raises:
        RuntimeError: if this machine cannot isolate programs well enough; the message says what is
            missing.
    """
    return gymnasium.make("TextCode-v0", tokenizer=tokenizer, **settings)


def create_math_problem_env(tokenizer: str | Tokenizer = "char", **settings: Any) -> gymnasium.Env:
    """TextMath-v0: answer mathematical problems, which an exact grader judges.

    Args:
        tokenizer: whose ids the actions are: "char", a Hugging Face name or folder, or an object.
        **settings: what `gymnasium.make("TextMath-v0", ...)` takes: `difficulty`, `wording`,
            `dataset`, `answer_format`, `reward_weights`, ...; see `textgym.tasks.TextMath`.
    """
    return gymnasium.make("TextMath-v0", tokenizer=tokenizer, **settings)
