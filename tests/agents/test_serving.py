"""The engine over a server: whole turns are asked for and replayed, and nothing is made up."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import torch

from agents.cli import main
from agents.models import Policy, load_policy
from agents.rollout import as_vector_env, collect, evaluate
from agents.sampling import Sampling
from agents.serving import Rejected, ServedPolicy, Server, ServerEngine
from textgym import CharTokenizer, Problem, RLEnvironment, Task

TOKENIZER = CharTokenizer()
EOS = TOKENIZER.eos_token_id


class Copy(Task):
    """Say the word again."""

    max_response_tokens = 12

    def sample(self, rng):
        word = "".join(rng.choice(list("abc"), size=int(rng.integers(2, 6))))
        return Problem(prompt=f"{word}=", answer=word)


class Stops(Copy):
    """The same; the letter b ends the response."""

    stop_strings = ("b",)


class Fake:
    """A server whose model says a word again: what it knows, and what it was asked."""

    speaks_ids = True
    speaks_transformers = False
    model = "copier"
    bos = 0
    """How many tokens its tokenizer puts before a text."""

    def __init__(self, **settings: Any) -> None:
        self.asked: list[dict[str, Any]] = []
        self.busy = 0
        """So many answers are 503 first."""
        vars(self).update(settings)

    def answer(self, body: dict[str, Any]) -> tuple[int, Any]:
        self.asked.append(body)
        if self.busy:
            self.busy -= 1
            return 503, {"error": {"message": "loading"}}
        if body["model"] != self.model:
            return 404, {"error": {"message": f"The model {body['model']} does not exist."}}
        prompt = body["prompt"]
        if isinstance(prompt, list) and not self.speaks_ids:
            return 422, {"detail": "prompt must be a string."}
        if "generation_config" in body and not self.speaks_transformers:
            return 400, {"message": "unknown field generation_config"}
        text = TOKENIZER.decode(prompt) if isinstance(prompt, list) else prompt
        word, _, done = text.rpartition("<eos>")[2].partition("=")
        said = word[len(done) :][: body["max_tokens"]]
        is_cut = len(said) == body["max_tokens"]
        choice = {"text": said, "finish_reason": "length" if is_cut else "stop"}
        usage = {"prompt_tokens": len(text) + self.bos}
        if isinstance(prompt, list):
            ids = TOKENIZER.encode(said) + ([] if is_cut else [EOS])
            choice["token_ids"] = ids
            if body["logprobs"] is not None:
                choice["logprobs"] = {"token_logprobs": [-0.5 - i for i in range(len(ids))]}
        return 200, {"choices": [choice], "usage": usage}


@contextmanager
def served(fake: Fake) -> Iterator[Server]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            code, content = fake.answer(body)
            data = json.dumps(content).encode()
            self.send_response(code)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *arguments: Any) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        url = f"http://127.0.0.1:{http.server_port}/v1/"
        yield Server(url, "copier", retries=2, backoff=0.01, timeout=10)
    finally:
        http.shutdown()
        http.server_close()
        thread.join()


def play(server: Server, policy: Any = None, *, task: Task | None = None, n: int = 9, **how: Any):
    envs = as_vector_env(RLEnvironment(task or Copy()), 4)
    engine = server.engine(how.pop("log_probs", "none"), chunk=how.pop("chunk", None))
    policy = policy or ServedPolicy("char")
    generator = torch.Generator().manual_seed(0)
    return collect(policy, envs, n, generator=generator, seed=0, engine=engine, **how)


DIALECTS = {
    "tokens": {},
    "transformers": {"speaks_ids": False, "speaks_transformers": True},
    "text": {"speaks_ids": False},
}


@pytest.mark.parametrize("dialect", DIALECTS)
def test_whole_turns_are_asked_for_once_and_replayed(dialect: str) -> None:
    fake = Fake(**DIALECTS[dialect])
    with served(fake) as server:
        rollout, episodes = play(server)
    assert server.dialect == dialect and episodes.success.tolist() == [1] * 9
    refused = list(DIALECTS).index(dialect)
    assert len(fake.asked) == 9 + refused  # a request an episode, once it is known how to ask
    assert (rollout.log_probs == 0).all() and (rollout.values == 0).all()
    assert episodes.stop_reasons == ["eos"] * 9


def test_a_served_policy_is_evaluated_like_one_that_is_here() -> None:
    with served(Fake()) as server:
        env = RLEnvironment(Copy())
        found = evaluate(ServedPolicy("tiny"), env, num_episodes=5, engine=server.engine())
    assert found.success.tolist() == [1] * 5


def test_requests_name_the_distribution_and_rule_out_what_is_illegal() -> None:
    fake = Fake()
    with served(fake) as server:
        play(server, sampling=Sampling(temperature=0.7, top_k=5, top_p=0.9, min_p=0.1), n=4)
        envs = as_vector_env(RLEnvironment(Copy()), 1)
        collect(ServedPolicy("char"), envs, 1, generator=None, seed=0, engine=server.engine())
    first, *_, greedy = fake.asked
    expected = {"temperature": 0.7, "top_k": 5, "top_p": 0.9, "min_p": 0.1}
    assert {name: first[name] for name in expected} == expected
    assert first["logit_bias"] == {"0": -100, "1": -100, "3": -100}  # pad, bos, unk
    assert len({body["seed"] for body in fake.asked[:4]}) == 4
    assert greedy["temperature"] == 0 and "seed" not in greedy


def test_a_response_that_the_environment_ends_asks_for_nothing_more() -> None:
    fake = Fake()
    with served(fake) as server:
        _, episodes = play(server, task=Stops())
    assert len(fake.asked) == 9
    assert set(episodes.stop_reasons) == {"eos", "stop"}


def test_a_turn_in_chunks_is_the_same_turn() -> None:
    fake = Fake()
    with served(fake) as server:
        whole, _ = play(server)
        requests = len(fake.asked)
        parts, episodes = play(server, chunk=2)
    assert torch.equal(whole.tokens, parts.tokens) and torch.equal(whole.mask, parts.mask)
    assert episodes.success.tolist() == [1] * 9
    assert len(fake.asked) - requests > requests
    assert all(len(body["prompt"]) > 1 for body in fake.asked)


def engine_of(server: Server, num_slots: int = 2, **settings: Any) -> ServerEngine:
    policy = settings.pop("policy", None) or ServedPolicy("char")
    return server.engine(**settings)(policy, num_slots, 32, Sampling())


def feed(engine: ServerEngine, slot: int, tokens: list[int], start: int) -> None:
    engine.feed(
        torch.tensor([slot]),
        torch.tensor([tokens]),
        torch.tensor([start]),
        torch.tensor([len(tokens)]),
    )


def test_what_the_environment_says_in_between_begins_a_new_turn() -> None:
    fake = Fake()
    with served(fake) as server:
        engine = engine_of(server, 1)
        feed(engine, 0, TOKENIZER.encode("ab="), 0)
        said = []
        for start in range(3, 6):
            said.append(int(engine.choose(None).tokens[0]))
            # The last one, eos, comes with what the environment answers.
            reply = TOKENIZER.encode("c=") if said[-1] == EOS else []
            feed(engine, 0, [said[-1], *reply], start)
        engine.choose(None)
    assert said == [*TOKENIZER.encode("ab"), EOS]
    assert [body["prompt"] for body in fake.asked] == [
        TOKENIZER.encode("ab="),
        [*TOKENIZER.encode("ab=ab"), EOS, *TOKENIZER.encode("c=")],
    ]


def test_slots_that_are_over_or_gone_are_not_asked_about() -> None:
    fake = Fake()
    with served(fake) as server:
        engine = engine_of(server, 3)
        for slot in range(3):
            feed(engine, slot, TOKENIZER.encode("abc"[slot] + "="), 0)
        assert TOKENIZER.decode(engine.choose(None).tokens.tolist()) == "abc"
        feed(engine, 1, TOKENIZER.encode("="), 1)  # its last token again
        engine.keep(torch.tensor([2, 1]))
        assert engine.choose(None).tokens.tolist() == [*TOKENIZER.encode("c"), EOS]
    assert len(fake.asked) == 3


def test_the_command_line_measures_a_served_model(capsys: pytest.CaptureFixture[str]) -> None:
    fake = Fake()
    with served(fake) as server:
        where = ["--server", server.url, "--model", "copier"]
        what = ["--policy", "tiny", "--env", "TextMath-v0", "--episodes", "4"]
        assert main(["evaluate", *what, *where]) == 0
        found = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert (found["server"], found["model"], found["episodes"]) == (server.url, "copier", 4)
        where[-1] = "other"
        assert main(["evaluate", *what, *where]) == 2
    error = capsys.readouterr().err
    assert "model other: 404: The model other does not exist." in error and error.count("\n") == 1


# ------------------------------------------------------------------- log-probabilities


def test_the_servers_log_probs_are_those_of_the_tokens_that_it_drew() -> None:
    with served(Fake()) as server:
        rollout, _ = play(server, log_probs="server")
    for row, mask in zip(rollout.log_probs, rollout.mask, strict=True):
        assert row[mask].tolist() == [-0.5 - i for i in range(int(mask.sum()))]


def test_a_server_that_tells_no_ids_is_not_learned_from() -> None:
    with served(Fake(**DIALECTS["text"])) as server:
        with pytest.raises(ValueError, match="does not tell the ids of the tokens that it drew"):
            play(server, log_probs="server")


def test_log_probs_of_another_distribution_than_the_servers_are_refused() -> None:
    with served(Fake()) as server:
        with pytest.raises(ValueError, match="temperature 1 without filters"):
            play(server, log_probs="server", sampling=Sampling(temperature=0.5))


@pytest.mark.parametrize("dialect", ["tokens", "text"])
def test_local_log_probs_and_values_are_those_of_one_forward_pass(dialect: str) -> None:
    policy = load_policy("tiny").eval()
    torch.nn.init.normal_(policy.value_head.weight, generator=torch.Generator().manual_seed(1))
    sampling = Sampling(temperature=0.8)
    with served(Fake(**DIALECTS[dialect])) as server:
        rollout, _ = play(server, policy, log_probs="local", sampling=sampling)
    with torch.no_grad():
        stats = policy(rollout.tokens, rollout.mask, sampling=sampling)
    torch.testing.assert_close(rollout.log_probs, stats.log_probs, atol=1e-5, rtol=0)
    torch.testing.assert_close(rollout.values, stats.values, atol=1e-5, rtol=0)
    assert (rollout.log_probs[rollout.mask] < 0).all()


def test_the_value_of_a_state_is_the_local_policys() -> None:
    policy = load_policy("tiny").eval()
    torch.nn.init.normal_(policy.value_head.weight, generator=torch.Generator().manual_seed(1))
    tokens = TOKENIZER.encode("1+1=")
    with served(Fake()) as server:
        engine = engine_of(server, 1, policy=policy, log_probs="local")
        feed(engine, 0, tokens, 0)
        expected = policy(torch.tensor([[*tokens, EOS]]), torch.tensor([[False] * 4 + [True]]))
        assert engine.values().item() == pytest.approx(expected.values[0, -1].item(), abs=1e-6)
        assert engine_of(server, 1).values().tolist() == [0]


def test_local_log_probs_need_the_weights() -> None:
    with served(Fake()) as server, pytest.raises(TypeError, match="needs a Policy"):
        play(server, log_probs="local")


# ------------------------------------------------------------------- errors


def test_a_busy_server_is_asked_again() -> None:
    fake = Fake(busy=2)
    with served(fake) as server:
        _, episodes = play(server, n=4)
    assert episodes.success.tolist() == [1] * 4 and len(fake.asked) == 6


def test_a_server_that_stays_busy_is_named_with_its_reason() -> None:
    with served(Fake(busy=99)) as server:
        with pytest.raises(ConnectionError, match=r"/v1 did not answer in 3 attempts \(503: load"):
            play(server)


def test_no_server_at_all() -> None:
    server = Server("http://127.0.0.1:9/v1", "copier", retries=1, backoff=0.0)
    with pytest.raises(ConnectionError, match=r"2 attempts \(.*refused\): is the server up"):
        play(server)


def test_another_model_than_the_servers_is_named() -> None:
    with served(Fake()) as server:
        server.model = "other"
        with pytest.raises(Rejected, match="model other: 404: The model other does not exist"):
            play(server)


def test_a_distribution_that_plain_text_cannot_ask_for_is_refused() -> None:
    with served(Fake(**DIALECTS["text"])) as server:
        play(server, n=4)
        with pytest.raises(Rejected, match="neither top_k nor min_p"):
            play(server, sampling=Sampling(top_k=3))


def test_a_prompt_that_the_server_reads_otherwise_is_told() -> None:
    with served(Fake(**DIALECTS["text"], bos=1)) as server:
        with pytest.warns(UserWarning, match=r"made \d tokens of a prompt of \d"):
            play(server, n=4)


def test_action_masks_are_refused() -> None:
    with served(Fake()) as server, pytest.raises(ValueError, match="which ones are legal"):
        play(server, action_masks=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("localhost:8000", "m"), "url is 'localhost:8000', expected one such as http://local"),
        (("http://x/v1", "m"), "concurrency is 0, expected at least 1"),
    ],
)
def test_a_server_that_cannot_be_is_refused(arguments: tuple[str, str], message: str) -> None:
    with pytest.raises(ValueError) as error:
        Server(*arguments, concurrency=0)
    assert str(error.value).startswith(message)


@pytest.mark.parametrize("arguments", [{"log_probs": "remote"}, {"chunk": 0}])
def test_an_engine_that_cannot_be_is_refused(arguments: dict[str, Any]) -> None:
    [(name, value)] = arguments.items()
    with pytest.raises(ValueError, match=f"^{name} is {value!r}, expected"):
        Server("http://x/v1", "m").engine(**arguments)


def test_a_policy_here_and_a_served_one_have_the_same_tokens() -> None:
    here, served_one = load_policy("tiny"), ServedPolicy("tiny")
    assert isinstance(here, Policy) and torch.equal(here.illegal, served_one.illegal)
    assert (here.pad, here.eos) == (served_one.pad, served_one.eos)
