"""An engine over an OpenAI-compatible server: vLLM, SGLang, `transformers serve` and their like.

The server is asked for whole turns, of all slots at once; they are replayed token by token, as the
environment takes them. What it knows decides what its episodes are good for: see `Server.engine`.
"""

from __future__ import annotations

import functools
import http.client
import json
import time
import urllib.error
import urllib.request
import warnings
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn

from agents.generation import Choice
from agents.models import Policy, source_of
from agents.packing import split
from agents.sampling import Sampling
from textgym.tokenizer import Tokenizer, Vocabulary, load_tokenizer

LogProbs = Literal["none", "server", "local"]

DIALECTS = ("tokens", "transformers", "text")
"""Ways to ask, best first. tokens: ids there and back (vLLM, SGLang). transformers: text, and all
of the distribution (`transformers serve`). text: text, temperature and top_p: what all know."""

TRY_AGAIN = {408, 409, 425, 429, 500, 502, 503, 504}
"""Answers of a server that is busy or starting."""

MOST_BIASES = 300
"""Tokens that a request may rule out, as OpenAI has it."""

LOCAL_TOKENS = 16384
"""Tokens, padding included, of one local forward pass."""


class Rejected(ValueError):
    """The server refuses a request for good: another model, too long, a field it does not know."""


class Server:
    """A server's completions, as `POST URL/completions` gives them.

    Example:
        >>> server = Server("http://localhost:8000/v1", "my-model")
        >>> policy = ServedPolicy("my-model")  # the tokenizer alone: no weights here
        >>> evaluate(policy, "TextMath-v0", engine=server.engine())  # doctest: +SKIP

    Args:
        url: with the version, as in http://localhost:8000/v1.
        model: its name there.
        concurrency: requests under way at a time.
        timeout: seconds for one answer.
        retries: how often a request is repeated that finds the server busy or away.
        backoff: seconds before the first repetition; each further one waits twice as long.
        api_key: for servers that want one.
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        concurrency: int = 64,
        timeout: float = 600.0,
        retries: int = 4,
        backoff: float = 1.0,
        api_key: str | None = None,
    ) -> None:
        if not url.startswith(("http://", "https://")):
            raise ValueError(f"url is {url!r}, expected one such as http://localhost:8000/v1")
        if concurrency < 1:
            raise ValueError(f"concurrency is {concurrency}, expected at least 1")
        self.url, self.model, self.concurrency = url.rstrip("/"), model, concurrency
        self.timeout, self.retries, self.backoff = timeout, retries, backoff
        self._headers = {"Content-Type": "application/json"}
        if api_key is not None:
            self._headers["Authorization"] = f"Bearer {api_key}"
        self.dialect: str | None = None  # found out with the first request

    def engine(self, log_probs: LogProbs = "none", *, chunk: int | None = None) -> Any:
        """What `agents.rollout.collect` takes as its engine.

        Args:
            log_probs: "none": all are 0, and the values too: for evaluation. "server": those that
                the server reports, of exactly the tokens that it drew; for servers that give ids.
                "local": a forward pass of the policy, whose weights should be the server's. Where
                the server gives no ids, its text is tokenised anew: these are the tokens that the
                environment sees and whose log-probabilities are told, but the server may have drawn
                others that read the same.
            chunk: tokens per request (None: the whole turn), for tasks that end turns early; of no
                effect where the server speaks text, which cannot be cut at any token.

        Raises:
            ValueError: if an argument is none of these.
        """
        if log_probs not in get_args(LogProbs):
            raise ValueError(f"log_probs is {log_probs!r}, expected one of {get_args(LogProbs)}")
        if chunk is not None and chunk < 1:
            raise ValueError(f"chunk is {chunk}, expected at least 1 or None")
        return functools.partial(ServerEngine, self, log_probs=log_probs, chunk=chunk)

    def complete(self, ways: Sequence[dict[str, dict[str, Any]]]) -> list[dict[str, Any]]:
        """The server's answers to requests, each told in every dialect that could express it.

        Raises:
            Rejected: if it refuses one.
            ConnectionError: if it does not answer.
        """
        answers = []
        if self.dialect is None:
            answers = [self._first(ways[0])]
        bodies = [self._said(way) for way in ways[len(answers) :]]
        with ThreadPoolExecutor(min(self.concurrency, max(len(bodies), 1))) as pool:
            return answers + list(pool.map(self._complete, bodies))

    def _first(self, ways: dict[str, dict[str, Any]]) -> dict[str, Any]:
        """Find out which dialect the server understands."""
        refused = Rejected("there is no way to ask for this distribution")
        for dialect, body in ways.items():
            try:
                answer = self._complete(body)
            except Rejected as error:
                refused = error
            else:
                self.dialect = dialect
                return answer
        raise refused

    def _said(self, ways: dict[str, dict[str, Any]]) -> dict[str, Any]:
        if self.dialect not in ways:
            raise Rejected(f"{self.url} knows temperature and top_p, but neither top_k nor min_p")
        return ways[self.dialect]

    def _complete(self, body: dict[str, Any]) -> dict[str, Any]:
        answer = self._post("/completions", {"model": self.model, **body})
        if not answer.get("choices"):
            raise Rejected(f"{self.url} answered without choices: {str(answer)[:300]}")
        return answer

    def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        data = json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, self._headers)
        for attempt in range(self.retries + 1):
            if attempt:
                time.sleep(self.backoff * 2 ** (attempt - 1))
            try:
                with urllib.request.urlopen(request, timeout=self.timeout) as answer:
                    return json.load(answer)
            except urllib.error.HTTPError as error:
                reason = f"{error.code}: {_message(error)}"
                if error.code not in TRY_AGAIN:
                    raise Rejected(f"{self.url}, model {self.model}: {reason}") from None
            except (OSError, http.client.HTTPException, json.JSONDecodeError) as error:
                reason = str(getattr(error, "reason", error)) or type(error).__name__
        raise ConnectionError(
            f"{self.url} did not answer in {self.retries + 1} attempts ({reason}): is the server "
            "up, and the address right?"
        )


def _message(error: urllib.error.HTTPError) -> str:
    """What the body of an error says."""
    text = error.read().decode("utf-8", "replace")
    try:
        said = json.loads(text)
    except json.JSONDecodeError:
        return text.strip()[:300]
    for name in ("error", "detail", "message"):
        said = said.get(name, said) if isinstance(said, dict) else said
    return str(said)[:300]


class ServedPolicy(nn.Module):
    """A policy whose weights are elsewhere: its tokenizer, and which tokens are legal.

    Args:
        tokenizer: the served model's, or what has it: a Hugging Face name, a folder, a run folder.
    """

    def __init__(self, tokenizer: str | Tokenizer) -> None:
        super().__init__()
        if isinstance(tokenizer, str):
            tokenizer = source_of(tokenizer)
        self.tokenizer = load_tokenizer(tokenizer)
        vocabulary = Vocabulary(self.tokenizer)
        self.pad, self.eos = vocabulary.pad, vocabulary.eos
        self.illegal, self.device = torch.from_numpy(vocabulary.illegal), torch.device("cpu")


class Said(NamedTuple):
    """A token that the server said, its log-probability, and the value of the state before it."""

    token: int
    log_prob: float = 0.0
    value: float = 0.0


class ServerEngine:
    """The engine that `Server.engine` makes; see `agents.generation.Generator`.

    Raises:
        TypeError: if log_probs are to be "local" and the policy has no weights here.
        ValueError: if they are to be the "server"'s, which cannot report those of this sampling.
    """

    def __init__(
        self,
        server: Server,
        policy: Policy | ServedPolicy,
        num_slots: int,
        capacity: int,
        sampling: Sampling,
        *,
        log_probs: LogProbs,
        chunk: int | None,
    ) -> None:
        if log_probs == "local" and not isinstance(policy, Policy):
            raise TypeError("log_probs is 'local', which needs a Policy with the server's weights")
        if log_probs == "server" and sampling != Sampling():
            raise ValueError(
                "log_probs is 'server': servers report those of temperature 1 without filters, "
                f"and the sampling is {sampling}; log_probs='local' can be of any"
            )
        self.server, self.policy, self.sampling = server, policy, sampling
        self.log_probs, self.chunk, self.capacity = log_probs, chunk, capacity
        self.held: list[list[int]] = [[] for _ in range(num_slots)]
        self.turns: list[deque[Said]] = [deque() for _ in range(num_slots)]
        self.is_asked = [False] * num_slots  # whether it is the policy's turn
        self.goes_on = [False] * num_slots  # whether the last turn was cut off, not ended

    def feed(self, slots: Tensor | None, tokens: Tensor, starts: Tensor, counts: Tensor) -> None:
        """Append tokens: a prompt, what was said last, or what the environment said."""
        rows = range(len(tokens)) if slots is None else slots.tolist()
        own = (row[-count:] for row, count in zip(tokens.tolist(), counts.tolist(), strict=True))
        for slot, start, new in zip(rows, starts.tolist(), own, strict=True):
            held, turn = self.held[slot], self.turns[slot]
            if start == 0:
                held.clear()
                turn.clear()
            elif start != len(held):  # the episode is over
                turn.clear()
                self.is_asked[slot] = False
                continue
            held += new
            if len(new) == 1 and turn and turn[0].token == new[0]:
                turn.popleft()
                self.is_asked[slot] = bool(turn) or self.goes_on[slot]
            else:
                turn.clear()
                self.is_asked[slot] = True

    def choose(self, points: Tensor | None, legal: Tensor | None = None) -> Choice:
        """The next token of every slot; of one whose episode is over, eos."""
        if legal is not None:
            raise ValueError("a server cannot be told at each token which ones are legal")
        asked = [
            slot
            for slot, turn in enumerate(self.turns)
            if self.is_asked[slot] and not turn and len(self.held[slot]) < self.capacity
        ]
        if asked:
            self._ask(asked, points)
        over = Said(self.policy.eos)
        tokens, log_probs, values = zip(*(t[0] if t else over for t in self.turns), strict=True)
        return Choice(torch.tensor(tokens), torch.tensor(log_probs), torch.tensor(values))

    def values(self) -> Tensor:
        """[slots] v(s) of the states in which the slots stand; 0 unless they are local."""
        if self.log_probs != "local":
            return torch.zeros(len(self.held))
        said = [[Said(self.policy.eos)]] * len(self.held)
        return torch.tensor([turn[0].value for turn in self._judge(self.held, said)])

    def keep(self, slots: Tensor) -> None:
        """Forget all slots but these; they are renumbered in this order."""
        for name in ("held", "turns", "is_asked", "goes_on"):
            values = getattr(self, name)
            setattr(self, name, [values[slot] for slot in slots.tolist()])

    def _ask(self, slots: list[int], points: Tensor | None) -> None:
        """Get the next turn of these slots."""
        seeds = [None] * len(slots)
        if points is not None:
            seeds = (points[slots].double() * 2**31).long().tolist()
        ways = [self._ways(self.held[i], seed) for i, seed in zip(slots, seeds, strict=True)]
        turns = []
        for slot, answer in zip(slots, self.server.complete(ways), strict=True):
            turn = self._read(answer, len(self.held[slot]))
            self.goes_on[slot] = turn[-1].token != self.policy.eos
            turns.append(turn)
        if self.log_probs == "local":
            turns = self._judge([self.held[slot] for slot in slots], turns)
        for slot, turn in zip(slots, turns, strict=True):
            self.turns[slot] = deque(turn)

    def _ways(self, held: list[int], seed: int | None) -> dict[str, dict[str, Any]]:
        """A request for what follows these tokens, in each dialect."""
        policy, how, tokenizer = self.policy, self.sampling, self.policy.tokenizer
        room = self.capacity - len(held)
        illegal = policy.illegal[: len(tokenizer)].nonzero()[:MOST_BIASES, 0].tolist()
        # The server's tokenizer puts its bos before a text by itself.
        text = tokenizer.decode(held[int(held[0] == tokenizer.bos_token_id) :])
        greedy = {"temperature": 0.0} if seed is None else {"seed": seed}
        common = {"max_tokens": room, "temperature": how.temperature, "top_p": how.top_p} | greedy
        ways = {
            "tokens": {
                **common,
                "max_tokens": min(room, self.chunk or room),
                "prompt": held,
                "return_token_ids": True,
                "logprobs": 1 if self.log_probs == "server" else None,
                "top_k": how.top_k or -1,
                "min_p": how.min_p,
                "repetition_penalty": 1.0,
                "logit_bias": {str(token): -100 for token in illegal},
            },
            "transformers": {"prompt": text, "max_tokens": room, "seed": seed or 0},
            "text": {"prompt": text, **common},
        }
        drawn = {"do_sample": True, "temperature": how.temperature, "top_k": how.top_k}
        drawn |= {"top_p": how.top_p, "min_p": how.min_p or None}
        config = {"do_sample": False} if seed is None else drawn
        config |= {"eos_token_id": policy.eos, "pad_token_id": policy.pad}
        ways["transformers"]["generation_config"] = json.dumps(
            {**config, "suppress_tokens": illegal or None}
        )
        if how.top_k or how.min_p:
            del ways["text"]
        return ways

    def _read(self, answer: dict[str, Any], num_held: int) -> list[Said]:
        """The turn that an answer tells."""
        choice, eos = answer["choices"][0], self.policy.eos
        tokens, reported = choice.get("token_ids"), []
        if tokens is None:
            self._compare((answer.get("usage") or {}).get("prompt_tokens"), num_held)
            tokens = self.policy.tokenizer.encode(choice["text"], add_special_tokens=False)
        elif self.log_probs == "server":
            reported = (choice.get("logprobs") or {}).get("token_logprobs") or []
        if not tokens or (choice.get("finish_reason") == "stop" and tokens[-1] != eos):
            tokens = [*tokens, eos]  # servers leave it out of the text
        if self.log_probs != "server":
            reported = [0.0] * len(tokens)
        elif len(reported) != len(tokens):
            raise ValueError(
                f"{self.server.url} does not tell the ids of the tokens that it drew and their "
                "log-probabilities: log_probs='local' computes those of its text"
            )
        return list(map(Said, tokens[: self.capacity - num_held], reported))

    def _compare(self, num_seen: int | None, num_held: int) -> None:
        """Tell if the server's tokenizer reads a prompt otherwise."""
        if num_seen not in (None, num_held):
            warnings.warn(
                f"{self.server.url} made {num_seen} tokens of a prompt of {num_held}: it was not "
                "asked quite what a policy here is (its tokenizer is another one, or adds bos)",
                stacklevel=2,
            )

    @torch.no_grad()
    def _judge(self, held: list[list[int]], turns: list[list[Said]]) -> list[list[Said]]:
        """The turns with the local policy's log-probabilities and values."""
        policy, judged = self.policy, list(turns)
        lengths = torch.tensor([len(h) + len(t) for h, t in zip(held, turns, strict=True)])
        for rows in split(lengths, max_tokens=LOCAL_TOKENS):
            shape = len(rows), int(lengths[rows].max())
            tokens, mask = torch.full(shape, policy.pad), torch.zeros(shape, dtype=torch.bool)
            for i, row in enumerate(rows.tolist()):
                said, begin = [x.token for x in turns[row]], len(held[row])
                tokens[i, : begin + len(said)] = torch.tensor(held[row] + said)
                mask[i, begin : begin + len(said)] = True
            device = policy.device
            stats = policy(tokens.to(device), mask.to(device), sampling=self.sampling)
            pairs = torch.stack([stats.log_probs, stats.values], dim=-1).cpu()
            for i, row in enumerate(rows.tolist()):
                found = zip(turns[row], pairs[i][mask[i]].tolist(), strict=True)
                judged[row] = [Said(said.token, *pair) for said, pair in found]
        return judged
