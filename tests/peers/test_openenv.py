"""OpenEnv's own client plays our environments through a real server."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import gymnasium as gym
import numpy as np
import pytest

pytest.importorskip("openenv.core")
uvicorn = pytest.importorskip("uvicorn")

from openenv.core.generic_client import GenericEnvClient  # noqa: E402 - these need openenv

from textgym.adapters.openenv import make_app  # noqa: E402


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        server = uvicorn.Server(uvicorn.Config(make_app("TextGuess-v0"), log_level="error"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        thread.join(timeout=30)


def plain(info: dict) -> dict:
    return {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in info.items()}


def test_a_client_sees_what_gymnasium_returns(address):
    ours = gym.make("TextGuess-v0", text_actions=True, text_observations=True)
    with GenericEnvClient(address).sync() as env:
        for options in ({"problem": 3}, {"difficulty": "code-3"}):
            found = env.reset(seed=0, **options)
            text, info = ours.reset(seed=0, options=options)
            assert found.observation == {"text": text, "info": plain(info)} and not found.done
            for _ in range(5):
                found = env.step({"text": "thé guess: 5000"})
                text, reward, terminated, _, info = ours.step("thé guess: 5000")
                assert found.observation == {"text": text, "info": plain(info)}
                assert found.reward == reward and found.done == terminated
                if terminated:
                    break
            assert terminated
            with pytest.raises(Exception, match="the episode is over"):
                env.step({"text": "more"})


def test_sessions_do_not_disturb_each_other(address):
    with GenericEnvClient(address).sync() as one, GenericEnvClient(address).sync() as other:
        prompt = one.reset(seed=1).observation["text"]
        assert other.reset(seed=2).observation["text"] != prompt
        other.step({"text": "5000"})
        assert one.state()["step_count"] == 0 and other.state()["step_count"] == 1
        assert one.step({"text": "5000"}).observation["text"].startswith(prompt + "5000")


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="vector as reward"):
        make_app("mo-TextMultiObjective-v0")
    with pytest.raises(ValueError, match="no text task"):
        make_app("CartPole-v1")
