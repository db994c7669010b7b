"""Dialogues of messages, as data sets hold them: checked, and as the text that a policy reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from textgym.data_sets import read_text

Message = tuple[str, str]
"""A message's role and content."""

Messages = tuple[Message, ...]

Render = Callable[[list[dict[str, str]]], str]
"""Messages that await the assistant's -> the prompt. A chat template is one. It raises a ValueError
where it does not take them."""

ASSISTANT = "\n\nAssistant:"
"""What a turn of the assistant begins with in a dialogue that is one text, as HH writes it."""

SPEAKERS = {"user": "\n\nHuman: ", "assistant": f"{ASSISTANT} ", "system": "\n\nSystem: "}
"""Role -> what a turn begins with where messages have to become one text."""


def read_messages(value: Any, where: str) -> Messages:
    """A list of {"role": ..., "content": ...}, at least one.

    Raises:
        ValueError: if it is none; the message begins with `where`.
    """
    if not isinstance(value, list | tuple):
        raise ValueError(f"{where} is {value!r:.60}, expected a list of messages")
    if not value:
        raise ValueError(f"{where} is an empty list, expected messages")
    for message in value:
        if not isinstance(message, Mapping) or not {"role", "content"} <= message.keys():
            raise ValueError(
                f"{where} has the message {message!r:.60}, expected an object with role and content"
            )
        if message["role"] not in list(SPEAKERS):
            raise ValueError(
                f"{where} has the role {message['role']!r:.60}, expected one of {list(SPEAKERS)}"
            )
    return tuple((message["role"], read_text(message["content"], where)) for message in value)


def read_dialogue(value: Any, where: str) -> str | Messages:
    """A text, which may be empty, or messages; raises as `read_text` and `read_messages` do."""
    return (
        read_messages(value, where) if isinstance(value, list | tuple) else read_text(value, where)
    )


def read_filled_dialogue(value: Any, where: str) -> str | Messages:
    """The same, but no text is empty."""
    found = read_dialogue(value, where)
    if isinstance(found, str) and not found.strip():
        raise ValueError(f"{where} is empty, expected a text or messages")
    return found


def split_last(messages: Messages, where: str) -> tuple[Messages, str]:
    """The messages before the last one, and its content: the assistant's response.

    Raises:
        ValueError: if it is not the assistant's; the message begins with `where`.
    """
    *before, (role, content) = messages
    if role != "assistant":
        raise ValueError(f"{where}: the last message is the {role}'s, expected the assistant's")
    return tuple(before), content


def as_messages(dialogue: str | Messages) -> Messages:
    """Messages as they are; a text as the user's only one."""
    return (("user", dialogue),) if isinstance(dialogue, str) else dialogue


def as_prompt(dialogue: str | Messages, where: str, render: Render | None = None) -> str:
    """A dialogue as the text of a prompt: a text as it stands, messages as `render` writes them.

    Without `render`, a user's only message as it stands, and more of them as HH writes a dialogue.

    Raises:
        ValueError: if `render` does not take them; the message begins with `where`.
    """
    if isinstance(dialogue, str):
        return dialogue
    if render is not None:
        try:
            return render([{"role": role, "content": content} for role, content in dialogue])
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error
    if len(dialogue) == 1 and dialogue[0][0] == "user":
        return dialogue[0][1]
    return "".join(SPEAKERS[role] + content for role, content in dialogue) + f"{ASSISTANT} "
