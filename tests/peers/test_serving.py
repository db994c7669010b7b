"""A real `transformers serve` on localhost: the same model, served and here, says the same."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from agents.models import load_policy
from agents.rollout import as_vector_env, collect, evaluate
from agents.sampling import Sampling
from agents.serving import Rejected, ServedPolicy, Server

for package in ("fastapi", "uvicorn", "openai"):
    pytest.importorskip(package, reason="`transformers serve` needs it")

SECONDS = 90


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("served") / "tiny"
    load_policy("tiny").save(folder)
    return folder


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Server]:
    port = free_port()
    command = [sys.executable, "-m", "transformers.cli.transformers", "serve", str(folder)]
    command += ["--port", str(port), "--host", "127.0.0.1", "--device", "cpu"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    log = (folder.parent / "log").open("w+")
    process = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
    try:
        for _ in range(SECONDS):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1).close()
                break
            except OSError:
                if process.poll() is not None:
                    break
                time.sleep(1)
        else:
            process.kill()
        if process.poll() is not None:
            log.seek(0)
            pytest.fail(f"the server did not start: {log.read()[-2000:]}")
        yield Server(f"http://127.0.0.1:{port}/v1", str(folder), concurrency=4)
    finally:
        process.terminate()
        process.wait(SECONDS)
        log.close()


def test_greedy_responses_are_those_of_the_model_here(server: Server, folder: Path) -> None:
    here = evaluate(load_policy(folder), "TextMath-v0", num_episodes=24, greedy=True)
    there = evaluate(
        ServedPolicy(str(folder)),
        "TextMath-v0",
        num_episodes=24,
        greedy=True,
        engine=server.engine(),
    )
    assert server.dialect == "transformers"
    assert there.responses == here.responses and there.stop_reasons == here.stop_reasons
    assert 0 < here.success.mean() < 1


def test_sampled_tokens_have_the_log_probs_of_what_they_were_drawn_from(
    server: Server, folder: Path
) -> None:
    policy, sampling = load_policy(folder).eval(), Sampling(temperature=0.5, top_k=8)
    envs = as_vector_env("TextMath-v0", 48, tokenizer=policy.tokenizer)
    generator = torch.Generator().manual_seed(0)
    rollout, episodes = collect(
        policy,
        envs,
        48,
        generator=generator,
        seed=0,
        sampling=sampling,
        engine=server.engine("local"),
    )
    assert len(set(episodes.responses)) > 12
    with torch.no_grad():
        stats = policy(rollout.tokens, rollout.mask, sampling=sampling)
    torch.testing.assert_close(rollout.log_probs, stats.log_probs, atol=1e-5, rtol=0)
    # Of tokens drawn from a distribution, -log p is its entropy on average.
    surprise, entropy = -rollout.log_probs[rollout.mask], stats.entropies[rollout.mask]
    error = (surprise - entropy).std() / len(surprise) ** 0.5
    assert abs(surprise.mean() - entropy.mean()) < 4 * error
    assert entropy.mean() > 0.2


def test_a_model_that_it_does_not_serve_is_named(server: Server) -> None:
    other = Server(server.url, "another", retries=0)
    with pytest.raises(Rejected, match="another.*pinned to"):
        evaluate(ServedPolicy("char"), "TextMath-v0", num_episodes=1, engine=other.engine())


def test_the_command_line_measures_what_is_served(server: Server, folder: Path) -> None:
    command = [sys.executable, "-m", "agents", "evaluate", "--policy", str(folder)]
    command += ["--server", server.url, "--env", "TextMath-v0", "--episodes", "8", "--greedy"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=2 * SECONDS)
    assert done.returncode == 0, done.stderr
    assert "greedy success" in done.stdout and f'"server": "{server.url}"' in done.stdout
