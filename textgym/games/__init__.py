"""Games for two: their rules, matches, opponents, and the tasks that play them.

`nim_v0` and `kuhn_v0` are PettingZoo environments, imported only when asked for:
`from textgym.games import nim_v0`.
"""

from __future__ import annotations

from textgym.games.game import Game, expected_payoff
from textgym.games.kuhn import Kuhn
from textgym.games.match import Match
from textgym.games.nim import Nim
from textgym.games.task import GameTask
from textgym.games.text_nim import TextNim

__all__ = ["Game", "GameTask", "Kuhn", "Match", "Nim", "TextNim", "expected_payoff"]
