"""Prompts with responses, as tokens whose border is exact; what cannot be learned from is counted.

Prompt and response are tokenised apart, as environments do it: a tokenizer that would merge the end
of the one with the beginning of the other never gets to see both. Every response ends with eos.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

import torch
from torch import Tensor, nn

from textgym.dialogues import Render
from textgym.tokenizer import Tokenizer, Vocabulary, load_tokenizer

TooLong = Literal["drop", "cut_prompt", "cut_response"]
"""What becomes of a row that exceeds `max_length`: it is left out; its prompt loses its beginning;
or its responses lose their end, and eos with it."""


@dataclass(slots=True)
class DataReport:
    """What became of the rows of a data set: `kept` of `rows`, the others left out by reason.

    empty: a response without any token. identical: responses that do not differ. unknown: a
    response with a character that the tokenizer does not have, so no policy could write it.
    too_long: no room in `max_length`. cut: how many of those kept were shortened to it.
    """

    rows: int = 0
    kept: int = 0
    empty: int = 0
    identical: int = 0
    unknown: int = 0
    too_long: int = 0
    cut: int = 0

    def __str__(self) -> str:
        told = [
            f"{getattr(self, item.name)} {item.name}"
            for item in fields(self)[2:]
            if getattr(self, item.name)
        ]
        return f"{self.kept} of {self.rows} rows kept" + (f" ({', '.join(told)})" if told else "")


@dataclass(frozen=True, slots=True, eq=False)
class TextData:
    """N prompts with k responses each (1: to imitate, 2: a preferred and a dispreferred one).

    prompts: N lists of tokens. responses: N tuples of k lists, eos included. pad: fills batches.
    report: what became of the rows that this was made from.
    """

    prompts: list[list[int]]
    responses: list[tuple[list[int], ...]]
    pad: int
    report: DataReport

    def __len__(self) -> int:
        """N, the number of prompts (equal ones count each)."""
        return len(self.prompts)

    def lengths(self, rows: Sequence[int]) -> Tensor:
        """[n] int64 tokens of the longest of each row's texts."""
        longest = [
            len(self.prompts[row]) + max(len(response) for response in self.responses[row])
            for row in rows
        ]
        return torch.tensor(longest, dtype=torch.int64)

    def num_tokens(self, rows: Sequence[int]) -> int:
        """How many tokens of responses there are in these rows."""
        return sum(len(response) for row in rows for response in self.responses[row])

    def digest(self) -> str:
        """A hash of all tokens, by which the same data are known again."""
        content = repr((self.prompts, self.responses)).encode()
        return hashlib.blake2b(content, digest_size=16).hexdigest()

    def batch(self, rows: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Tokens [n k, L] int64 and mask [n k, L] bool, True at responses' tokens.

        The k texts of a prompt are neighbours, so that a policy computes the prompt once for them.
        """
        texts = [(self.prompts[row], response) for row in rows for response in self.responses[row]]
        length = max((len(prompt) + len(response) for prompt, response in texts), default=0)
        tokens = torch.full((len(texts), length), self.pad, dtype=torch.int64)
        mask = torch.zeros((len(texts), length), dtype=torch.bool)
        for i, (prompt, response) in enumerate(texts):
            start, end = len(prompt), len(prompt) + len(response)
            tokens[i, :end] = torch.tensor(prompt + response)
            mask[i, start:end] = True
        return tokens, mask

    def hold_out(self, share: float, seed: int) -> tuple[list[int], list[int]]:
        """Rows to train on, and rows held out: at most `share` of them, and no prompt in both."""
        groups: dict[tuple[int, ...], list[int]] = {}
        for row, prompt in enumerate(self.prompts):
            groups.setdefault(tuple(prompt), []).append(row)
        shuffled = torch.randperm(len(groups), generator=torch.Generator().manual_seed(seed))
        members, held = list(groups.values()), set[int]()
        for group in shuffled.tolist():
            if len(held) + len(members[group]) > share * len(self):
                break
            held.update(members[group])
        return [row for row in range(len(self)) if row not in held], sorted(held)


def tokenise(
    prompts: Sequence[str],
    responses: Sequence[Sequence[str]],
    tokenizer: str | Tokenizer,
    *,
    max_length: int | None = None,
    too_long: TooLong = "drop",
) -> TextData:
    """Texts to tokens. Rows that nothing can be learned from are left out, with one warning.

    Args:
        prompts: N texts. They may hold the tokens of a chat template by name.
        responses: N times k texts. What looks like a special token in them is plain text.
        tokenizer: see `textgym.tokenizer.load_tokenizer`.
        max_length: most tokens of a prompt with a response, eos included. None: no limit.
        too_long: what becomes of longer ones. A row without room for a token of the prompt and of
            each response is left out in any case.

    Raises:
        TypeError: if a prompt or response is no text; names its position.
        ValueError: if a prompt has no token, too_long is unknown, or no row is left.
    """
    if too_long not in TooLong.__args__:
        raise ValueError(f"too_long is {too_long!r}, expected one of {list(TooLong.__args__)}")
    vocabulary = Vocabulary(load_tokenizer(tokenizer))
    report = DataReport(rows=len(prompts))
    data = TextData([], [], vocabulary.pad, report)
    for i, (prompt, texts) in enumerate(zip(prompts, responses, strict=True)):
        start = vocabulary.encode(_text(prompt, "prompt", i))
        if not start:
            raise ValueError(f"prompt {i} is {prompt!r}, expected at least one token")
        ends = [vocabulary.encode_plain(_text(text, "response", i)) for text in texts]
        if (reason := _fault(ends, vocabulary)) is None:
            row = [end + [vocabulary.eos] for end in ends]
            start, row, reason = _fit(start, row, max_length, too_long)
        if reason in (None, "cut"):
            data.prompts.append(start)
            data.responses.append(tuple(row))
            report.kept += 1
        if reason is not None:
            setattr(report, reason, getattr(report, reason) + 1)
    if not report.kept:
        raise ValueError(f"nothing to learn from: {report}")
    if report.kept < report.rows or report.cut:
        warnings.warn(str(report), stacklevel=3)
    return data


def chat_render(tokenizer: Tokenizer) -> Render | None:
    """How a tokenizer's chat template writes messages that await the assistant's; None without one.

    Warns, at the first messages, where the template ends a response by something else than eos, or
    puts something before it: then prompt, response and eos are not what the template makes of all.
    """
    if not getattr(tokenizer, "chat_template", None):
        return None

    is_compared = False

    def write(messages: list[dict[str, str]], **how: bool) -> str:
        try:
            return tokenizer.apply_chat_template(messages, tokenize=False, **how)
        except Exception as error:  # whatever somebody's template, a program, has to say
            reason = " ".join(str(error).split())
            raise ValueError(
                f"the tokenizer's chat template refuses these messages: {reason}"
            ) from error

    def render(messages: list[dict[str, str]]) -> str:
        nonlocal is_compared
        prompt = write(messages, add_generation_prompt=True)
        if not is_compared:
            whole = write([*messages, {"role": "assistant", "content": "A"}])
            _compare(whole.removeprefix(prompt).rstrip(), f"A{tokenizer.eos_token}")
            is_compared = True
        return prompt

    return render


def _compare(theirs: str, ours: str) -> None:
    """Warn where a template does not write a response as it is learned."""
    if theirs != ours.rstrip():
        warnings.warn(
            f"the tokenizer's chat template writes the response 'A' as {theirs!r:.100}, it is "
            f"learned as {ours!r}: set tokenizer.eos_token or the template if they shall agree",
            stacklevel=3,
        )


def context_of(model: nn.Module) -> int | None:
    """How many tokens a causal language model can see; None: its config does not say."""
    return getattr(model.config.get_text_config(), "max_position_embeddings", None)


def check_columns(**columns: Any) -> None:
    """Raise unless every column is a list of texts, all of one length of at least 1."""
    for name, column in columns.items():
        # A text is a sequence of texts too: its characters.
        if isinstance(column, str) or not isinstance(column, Sequence):
            raise TypeError(f"{name} is a {type(column).__name__}, expected a list of texts")
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1 or not all(lengths.values()):
        told = ", ".join(f"{length} {name}" for name, length in lengths.items())
        raise ValueError(f"got {told}; expected equally many, at least one of each")


def _text(text: Any, what: str, position: int) -> str:
    if not isinstance(text, str):
        raise TypeError(f"{what} {position} is a {type(text).__name__}, expected a text")
    return text


def _fault(ends: list[list[int]], vocabulary: Vocabulary) -> str | None:
    """Why nothing can be learned from these responses, as a field of DataReport."""
    if not all(ends):
        return "empty"
    if any(vocabulary.illegal[end].any() for end in ends):
        return "unknown"
    return _same(ends)


def _same(ends: list[list[int]]) -> str | None:
    return "identical" if len(ends) > 1 and all(end == ends[0] for end in ends) else None


def _fit(
    start: list[int], ends: list[list[int]], max_length: int | None, too_long: TooLong
) -> tuple[list[int], list[list[int]], str | None]:
    """The row within max_length, and why not or that it was cut, as a field of DataReport."""
    longest = max(map(len, ends))
    if max_length is None or len(start) + longest <= max_length:
        return start, ends, None
    room = max_length - (longest if too_long == "cut_prompt" else len(start))
    if too_long == "drop" or room < 1:
        return start, ends, "too_long"
    if too_long == "cut_prompt":
        return start[-room:], ends, "cut"
    ends = [end[:room] for end in ends]
    return start, ends, _same(ends) or "cut"
