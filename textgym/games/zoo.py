"""Games as PettingZoo environments, AEC and parallel, in which an action is one token."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium.spaces import Dict, Discrete
from gymnasium.utils.seeding import np_random

from textgym.games.game import Game
from textgym.games.tokens import TokenMatch

try:
    from pettingzoo import AECEnv, ParallelEnv
    from pettingzoo.utils.wrappers import AssertOutOfBoundsWrapper, OrderEnforcingWrapper
except ImportError as error:
    raise ImportError(
        "games for several policies need PettingZoo: pip install 'textgym[games]'"
    ) from error

AGENTS = ("player_0", "player_1")

Observation = dict[str, np.ndarray]


class _Table:
    """What both forms have: agents, spaces, a match, its beginning and its picture.

    Args:
        game: the rules.
        render_mode: None, "ansi" (`render` returns the game as text) or "human" (it is printed
            after each turn).
        **settings: tokenizer, difficulty, max_move_tokens; see TokenMatch.
    """

    render_mode: str | None
    agents: list[str]

    def _set_up(self, game: Game[Any], render_mode: str | None, settings: dict[str, Any]) -> None:
        if render_mode not in (None, "ansi", "human"):
            raise ValueError(f"render_mode is {render_mode!r}, expected None, 'ansi' or 'human'")
        self.metadata = {
            "name": f"{game.name}_v0",
            "render_modes": ["ansi", "human"],
            "is_parallelizable": False,  # for PettingZoo's converter, which has all agents act
        }
        self.render_mode, self.play = render_mode, TokenMatch(game, **settings)
        self.possible_agents, self.agents = list(AGENTS), []
        spaces = {agent: self.play.spaces() for agent in AGENTS}  # each agent has its own to seed
        self.observation_spaces = {agent: pair[0] for agent, pair in spaces.items()}
        self.action_spaces = {agent: pair[1] for agent, pair in spaces.items()}
        self._rng: np.random.Generator | None = None

    def observation_space(self, agent: str) -> Dict:
        """`observation` [L] int64, the agent's tokens; `action_mask` [V] int8."""
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> Discrete:
        """One of V tokens."""
        return self.action_spaces[agent]

    def observe(self, agent: str) -> Observation:
        """What an agent was told and said, and which tokens it may say."""
        return self.play.observe(AGENTS.index(agent))

    def _start(self, seed: int | None, options: dict[str, Any] | None) -> None:
        if seed is not None or self._rng is None:
            self._rng, _ = np_random(seed)
        if options and options.get("difficulty") is not None:
            self.play.set_difficulty(options["difficulty"])
        self.play.start(self._rng)
        self.agents = list(AGENTS)

    def _step(self, token: int | None) -> None:
        self.play.step(token)
        if self.render_mode == "human" and not self.play.turn:
            self.render()

    def _results(self) -> tuple[dict[str, float], dict[str, bool], dict[str, dict[str, Any]]]:
        """Of each agent: the reward, whether it is over, and info."""
        match, infos = self.play.match, {}
        for player, agent in enumerate(AGENTS):
            infos[agent] = {"length": self.play.lengths[player]}
            if match.is_over:
                infos[agent]["outcome"] = match.outcome(player)
        rewards = {agent: float(match.payoff(player)) for player, agent in enumerate(AGENTS)}
        return rewards, dict.fromkeys(AGENTS, match.is_over), infos

    def render(self) -> str | None:
        """The game so far as text; printed if render_mode is "human"."""
        if self.render_mode == "human":
            print(self.play.render())
        return self.play.render() if self.render_mode == "ansi" else None

    def close(self) -> None:
        """There is nothing to close."""


class GameEnv(_Table, AECEnv):
    """Agents in turn: an agent steps token by token until its eos ends its turn."""

    def __init__(self, game: Game[Any], render_mode: str | None = None, **settings: Any) -> None:
        super().__init__()
        self._set_up(game, render_mode, settings)

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> None:
        """Begin a game; `options={"difficulty": ...}` chooses the level from here on."""
        self._start(seed, options)
        self.rewards, self.terminations, self.infos = self._results()
        self.truncations = dict.fromkeys(AGENTS, False)
        self._cumulative_rewards = dict.fromkeys(AGENTS, 0.0)
        self._skip_agent_selection = None
        self.agent_selection = AGENTS[self.play.match.player]

    def step(self, action: int | None) -> None:
        """The selected agent's next token; None of an agent whose game is over."""
        agent = self.agent_selection
        if self.terminations[agent]:
            return self._was_dead_step(action)
        self._cumulative_rewards[agent] = 0.0
        self._step(action)
        self.rewards, self.terminations, self.infos = self._results()
        self.agent_selection = AGENTS[self.play.match.player]
        self._accumulate_rewards()


class ParallelGameEnv(_Table, ParallelEnv):
    """All agents at once: those who wait say eos (their masks allow nothing else), unheard."""

    def __init__(self, game: Game[Any], render_mode: str | None = None, **settings: Any) -> None:
        super().__init__()
        self._set_up(game, render_mode, settings)

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Observation], dict[str, dict[str, Any]]]:
        """Begin a game; `options={"difficulty": ...}` chooses the level from here on."""
        self._start(seed, options)
        return {agent: self.observe(agent) for agent in AGENTS}, self._results()[2]

    def step(
        self, actions: dict[str, int]
    ) -> tuple[
        dict[str, Observation],
        dict[str, float],
        dict[str, bool],
        dict[str, bool],
        dict[str, dict[str, Any]],
    ]:
        """The next token of the agent whose turn it is; other agents' actions are ignored."""
        match = self.play.match
        if match is not None and match.is_over:
            return {}, {}, {}, {}, {}  # as PettingZoo's own parallel form answers
        self._step(None if match is None else actions.get(AGENTS[match.player]))
        rewards, terminations, infos = self._results()
        observations = {agent: self.observe(agent) for agent in AGENTS}
        if self.play.match.is_over:
            self.agents = []
        return observations, rewards, terminations, dict.fromkeys(AGENTS, False), infos


def checked(env: GameEnv) -> OrderEnforcingWrapper:
    """An AEC environment in PettingZoo's usual wrappers, which say what is called wrongly."""
    return OrderEnforcingWrapper(AssertOutOfBoundsWrapper(env))
