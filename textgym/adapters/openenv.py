"""OpenEnv: an id of textgym behind HTTP and WebSockets, for learners in other processes.

    uvicorn.run(make_app("TextGuess-v0", difficulty="code-3"), port=8000)

and elsewhere, without textgym:

    with GenericEnvClient("http://localhost:8000").sync() as env:
        env.reset(seed=0, problem=7).observation["text"]
        env.step({"text": "ABC"}).reward

Verified with openenv-core 0.3.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from openenv.core.env_server.http_server import create_fastapi_app
from openenv.core.env_server.interfaces import Environment
from openenv.core.env_server.types import Action, Observation, State
from pydantic import Field

from textgym.registration import find_spec


class Turn(Action):
    """A whole turn, as with `gymnasium.make(id, text_actions=True)`."""

    text: str = Field(description="what the policy says")


class Transcript(Observation):
    """The text so far, and Gymnasium's info."""

    text: str = Field(description="the prompt and everything said since")
    info: dict[str, Any] = Field(default_factory=dict)


class TextServer(Environment[Turn, Transcript, State]):
    """One session: an episode at a time of an environment that nobody else plays.

    Args:
        env: as `gymnasium.make(id, text_actions=True, text_observations=True)` gives it.
    """

    SUPPORTS_CONCURRENT_SESSIONS = True

    def __init__(self, env: gymnasium.Env) -> None:
        super().__init__()
        self._env, self._state = env, State()

    def reset(
        self, seed: int | None = None, episode_id: str | None = None, **options: Any
    ) -> Transcript:
        """Start an episode; `options` are `difficulty` and `problem`, as in Gymnasium's reset."""
        text, info = self._env.reset(seed=seed, options=options or None)
        self._state = State(episode_id=episode_id)
        return Transcript(text=text, info=_plain(info))

    def step(self, action: Turn, timeout_s: float | None = None, **_: Any) -> Transcript:
        """Say a turn."""
        text, reward, terminated, truncated, info = self._env.step(action.text)
        self._state.step_count += 1
        over = terminated or truncated
        return Transcript(text=text, reward=float(reward), done=over, info=_plain(info))

    @property
    def state(self) -> State:
        """The episode's id and its number of turns so far."""
        return self._state


def make_app(id: str, *, max_sessions: int = 64, **settings: Any) -> Any:
    """The FastAPI application that serves an id; each session has an environment of its own.

    Args:
        id: that of a textgym environment of a scalar reward.
        max_sessions: how many clients there may be at a time.
        **settings: as for `gymnasium.make`.

    Raises:
        ValueError: if the id belongs to another kind of environment, or its reward is a vector.
    """
    find_spec(id)
    settings |= {"text_actions": True, "text_observations": True}
    if gymnasium.make(id, **settings).unwrapped.vector_reward:
        raise ValueError(f"{id} has a vector as reward, expected a number: take it without mo-")
    return create_fastapi_app(
        lambda: TextServer(gymnasium.make(id, **settings)),
        Turn,
        Transcript,
        max_concurrent_envs=max_sessions,
    )


def _plain(info: dict[str, Any]) -> dict[str, Any]:
    """Info as JSON has it: lists for arrays."""
    return {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in info.items()}
