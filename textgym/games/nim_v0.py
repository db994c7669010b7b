"""Nim for two policies: PettingZoo environments in which an action is one token."""

from __future__ import annotations

from typing import Any

from textgym.games.nim import Nim
from textgym.games.zoo import GameEnv, OrderEnforcingWrapper, ParallelGameEnv, checked


def env(**kwargs: Any) -> OrderEnforcingWrapper:
    """The AEC environment in PettingZoo's usual wrappers; for keywords see GameEnv."""
    return checked(raw_env(**kwargs))


def raw_env(**kwargs: Any) -> GameEnv:
    """The AEC environment without wrappers."""
    return GameEnv(Nim(), **kwargs)


def parallel_env(**kwargs: Any) -> ParallelGameEnv:
    """The parallel environment."""
    return ParallelGameEnv(Nim(), **kwargs)
