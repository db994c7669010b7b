"""Scripted experts of the dialogue tasks, and ways to play them token by token."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Generator
from functools import cache
from itertools import permutations
from typing import Any

import numpy as np

from textgym import Problem, RLEnvironment, TokenVectorEnv
from textgym.tasks.dialogue.text_guess import GAMES, compare

Turns = Generator[str, str, None]
"""Yields the turns to say, is sent the environment's replies."""

Expert = Callable[[Problem], Turns]


class Speaker:
    """An expert's turns as tokens."""

    def __init__(self, expert: Expert, env: Any, problem: Problem) -> None:
        self.tokenizer, self.stops = env.mdp.vocabulary.tokenizer, env.mdp.task.stop_strings
        self.turns, self.said = expert(problem), []
        self.queue = self._tokens(next(self.turns))

    def _tokens(self, turn: str) -> list[int]:
        tokens = self.tokenizer.encode(turn, add_special_tokens=False)
        return tokens + [self.tokenizer.eos_token_id] * (not turn.endswith(self.stops or "\0"))

    def speak(self) -> int:
        self.said.append(self.queue.pop(0))
        return self.said[-1]

    def hear(self, tokens: np.ndarray) -> None:
        if not self.queue:
            reply = self.tokenizer.decode(tokens.tolist())
            self.queue = self._tokens(self.turns.send(reply))


def converse(env: RLEnvironment, expert: Expert, **options: Any) -> tuple[Any, list[int]]:
    """The last result of an episode in a single environment, and the tokens that were chosen."""
    _, info = env.reset(options=options)
    mdp = env.mdp
    speaker = Speaker(expert, env, mdp.bank.problem(mdp.row(info["difficulty"], info["problem"])))
    while True:
        length = info["length"]
        result = env.step(speaker.speak())
        if result.terminated:
            return result, speaker.said
        info = result.info
        speaker.hear(result.observation[length + 1 : info["length"]])


def converse_vector(envs: TokenVectorEnv, expert: Expert, **options: Any) -> list[dict[str, Any]]:
    """How one episode in each slot of a vector environment (autoreset disabled) ended."""
    _, infos = envs.reset(options=options)
    rows = [envs.mdp.row(*pair) for pair in zip(infos["difficulty"], infos["problem"], strict=True)]
    speakers = [Speaker(expert, envs, envs.mdp.bank.problem(row)) for row in rows]
    endings: list[dict[str, Any]] = [{} for _ in speakers]
    while not all(endings):
        lengths = infos["length"]
        live = [i for i, ending in enumerate(endings) if not ending]
        actions = np.full(len(speakers), envs.mdp.vocabulary.eos)
        actions[live] = [speakers[i].speak() for i in live]
        observations, rewards, terminations, _, infos = envs.step(actions)
        for i in live:
            if terminations[i]:
                columns = {name: infos[name][i] for name in ("response", "response_mask", "length")}
                endings[i] = {"reward": rewards[i], "observation": observations[i], **columns}
            else:
                speakers[i].hear(observations[i, lengths[i] + 1 : infos["length"][i]])
    return endings


# --------------------------------------------------------------------- experts


def use_calculator(problem: Problem) -> Turns:
    question = problem.prompt.splitlines()[0]
    found = re.match(r"n is what (\S+) leaves .* by 1000\. n\*\(n\+(\d+)\)=", question)
    if found:
        n = int((yield f"<<{found[1]}>>").strip("=\n")) % 1000
        question = f"{n}*({n}+{found[2]})="
    yield (yield f"<<{question.rstrip('=')}>>").strip("=\n")


def use_python(problem: Problem) -> Turns:
    output = yield f"<python>\n{problem.info['program']}\n</python>"
    yield output.removeprefix("\n<output>\n").removesuffix("\n</output>\n")


def guess(problem: Problem) -> Turns:
    level, info = problem.info["level"], problem.info
    if not GAMES[level].length:
        low, high = info["low"], info["high"]
        while True:
            middle = (low + high) // 2
            if "higher" in (yield str(middle)):
                low = middle + 1
            else:
                high = middle - 1
    # Codes of the first letters of the alphabet, so that what is worked out serves all problems.
    names, codes = dict(zip("ABCDEF", info["letters"], strict=True)), all_codes(level)
    while True:
        code = best_code(codes)
        answer = yield "".join(names[letter] for letter in code)
        told = tuple(map(int, re.findall(r"\d", answer)))
        codes = tuple(c for c in codes if compare(code, c) == told)


def all_codes(level: str) -> tuple[str, ...]:
    return tuple(map("".join, permutations("ABCDEF", GAMES[level].length)))


@cache
def best_code(codes: tuple[str, ...]) -> str:
    """The code after which the sum of squares of the numbers of codes left is smallest."""
    answers = {code: Counter(compare(code, other) for other in codes) for code in codes}
    return min(codes, key=lambda code: sum(n * n for n in answers[code].values()))


EXPERTS: dict[str, Expert] = {
    "TextCalculator-v0": use_calculator,
    "TextPython-v0": use_python,
    "TextGuess-v0": guess,
}
