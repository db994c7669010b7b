"""Objects of another process, for two children that run one job: the tests and the candidate.

The tests hold a stub of the candidate's function. A call goes over as typed JSON, and so does what
comes back; an object that is no plain value stays where it is and is referred to by number. What
the tests compare are therefore plain values of their own process: no comparison, arithmetic or
truth of theirs ever runs the candidate's code on an expected value. A `Remote` can be called, asked
for attributes and items and gone through, and that is all; it equals nothing but itself.
"""

from __future__ import annotations

import builtins
import os
import types
from collections import deque
from collections.abc import Iterator
from typing import Any

from . import frames, wire

MAX_FRAME = 16 << 20
"""Bytes of one message."""
_NEVER = (SystemExit, KeyboardInterrupt, GeneratorExit, StopIteration, StopAsyncIteration)
"""Raised by a call, these would end a loop or a process on the other side instead of failing it."""


class RemoteError(Exception):
    """An exception of the other process whose type is not builtin."""


class Remote:
    """An object of the other process."""

    __slots__ = ("_peer", "_number")

    def __init__(self, peer: Peer, number: int) -> None:
        object.__setattr__(self, "_peer", peer)
        object.__setattr__(self, "_number", number)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:  # noqa: D102
        return self._peer.call(self, args, kwargs)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self._peer.ask("get", self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        self._peer.ask("set", self, name, value)

    def __getitem__(self, key: Any) -> Any:
        return self._peer.ask("item", self, key)

    def __len__(self) -> int:
        return int(self._peer.ask("len", self))

    def __bool__(self) -> bool:
        return self._peer.ask("bool", self) is True

    def __iter__(self) -> Iterator[Any]:
        iterator = self._peer.ask("iter", self)
        while True:
            item = self._peer.ask("next", iterator)
            if type(item) is not list or len(item) != 1:
                return
            yield item[0]

    def __next__(self) -> Any:
        item = self._peer.ask("next", self)
        if type(item) is not list or len(item) != 1:
            raise StopIteration
        return item[0]

    def __str__(self) -> str:
        return str(self._peer.ask("str", self))

    __repr__ = __str__


class Peer:
    """The line to the other child, and the objects that either side knows of the other.

    Args:
        fd: a connected socket.
        guarded: whether the other side is hostile: it may then call the functions that it was
            given, go through the iterators, and use the objects of classes that the tests define;
            never reach, say, a function's globals, and by them the answers.
    """

    def __init__(self, fd: int, *, guarded: bool = False) -> None:
        self._fd, self._guarded = fd, guarded
        self._own: list[Any] = []
        self._numbers: dict[int, int] = {}
        self._theirs: dict[int, Remote] = {}

    # ------------------------------------------------------------ asking

    def ask(self, what: str, *operands: Any) -> Any:
        """Have the other side do something with its objects; what comes of it.

        Raises:
            Exception: what was raised there, by the name of its builtin type.
        """
        return self._exchange({"op": what, "on": self._encode(list(operands))})["v"]

    def call(self, function: Remote, args: tuple, kwargs: dict[str, Any]) -> Any:
        """Call a function of the other side. What it changes in its arguments is changed here."""
        given = [list(args), kwargs]
        answer = self._exchange({"op": "call", "on": self._encode([function, *given])})
        if "a" in answer:
            _copy_back(given, answer["a"])
        return answer["v"]

    def _exchange(self, request: dict[str, Any]) -> dict[str, Any]:
        self.send(request)
        while True:
            message = self.receive()
            if "op" in message:  # it calls back before it answers
                self.send(self._answer(message))
            elif "e" in message:
                raise _exception(message)
            else:
                return {key: self.decode(message[key]) for key in ("v", "a") if key in message}

    # --------------------------------------------------------- answering

    def serve(self) -> None:
        """Answer until the other side hangs up."""
        while True:
            try:
                message = self.receive()
            except EOFError:
                return
            self.send(self._answer(message))

    def refer(self, value: Any) -> int:
        """The number of an object: of one's own from 0 up, of the other side's from -1 down."""
        if type(value) is Remote:
            return -1 - value._number
        number = self._numbers.get(id(value))
        if number is None:
            number = self._numbers[id(value)] = len(self._own)
            self._own.append(value)
        return number

    def _answer(self, message: dict[str, Any]) -> dict[str, Any]:
        try:
            what, operands = message["op"], self.decode(message["on"])
            if self._guarded:
                _check(what, operands)
            if what == "call":
                function, args, kwargs = operands
                before = self._text([args, kwargs])
                answer = {"v": self._encode(function(*args, **kwargs))}
                # Compared as text: whatever the function has kept of its arguments is its own.
                if self._text([args, kwargs]) != before:
                    answer["a"] = self._encode([args, kwargs])
                return answer
            return {"v": self._encode(_DOINGS[what](*operands))}
        except BaseException as error:
            kind = type(error)
            return {"e": kind.__name__ if kind.__module__ == "builtins" else "", "m": _text(error)}

    # ------------------------------------------------------------- frames

    def _encode(self, value: Any) -> Any:
        return wire.encode(value, self.refer)

    def _text(self, value: Any) -> str:
        return wire.dumps(value, self.refer)

    def decode(self, tree: Any) -> Any:
        """The value behind a tree; references become objects."""
        return wire.decode(tree, self._object)

    def _object(self, number: int) -> Any:
        if number < 0:
            return self._own[-1 - number]
        return self._theirs.setdefault(number, Remote(self, number))

    def send(self, message: Any) -> None:
        """Send a message."""
        data = memoryview(frames.frame(message))
        while data:
            data = data[os.write(self._fd, data) :]

    def receive(self) -> dict[str, Any]:
        """The next message. Raises EOFError, or ValueError if it is none."""
        message = wire.parse(frames.read_frame(self._fd, MAX_FRAME))
        if type(message) is not dict:
            raise wire.NotPlain("a message was expected")
        return message


def _check(what: Any, operands: list[Any]) -> None:
    """Whether a hostile side may do this. Raises AttributeError if not."""
    if what in ("call", "iter", "next"):
        return
    holder, *names = operands
    is_plain_name = type(names[0]) is str and not names[0].startswith("_") if names else True
    if what not in _DOINGS or type(holder).__module__ != "tests" or not is_plain_name:
        raise AttributeError("out of reach")


def names_of(module: types.ModuleType, names: list[str]) -> dict[str, Any]:
    """What a program defines under these names; of a module that it imports, the name.

    Values are in lists of one, names of modules are strings.
    """
    found = {name: module.__dict__[name] for name in names if name in module.__dict__}
    return {
        name: value.__name__ if type(value) is types.ModuleType else [value]
        for name, value in found.items()
    }


_DOINGS = {
    "get": lambda holder, name: getattr(holder, str.__str__(name)),
    "set": setattr,
    "item": lambda holder, key: holder[key],
    "len": len,
    "bool": bool,
    "str": str,
    "iter": lambda holder: _Steps(iter(holder)),
    "next": lambda steps: list(_first(steps)),
}


class _Steps:
    """An iterator behind a type that is no plain value, so that it is never sent as a whole."""

    def __init__(self, iterator: Iterator[Any]) -> None:
        self._iterator = iterator

    def __iter__(self) -> _Steps:
        return self

    def __next__(self) -> Any:
        return next(self._iterator)


def _first(iterator: Iterator[Any]) -> Iterator[Any]:
    for item in iterator:
        yield item
        return


def _exception(message: dict[str, Any]) -> Exception:
    """The exception that an answer tells of, safe to raise here."""
    name, text = str(message["e"]), str(message.get("m", ""))
    kind = getattr(builtins, name, None)
    if not (isinstance(kind, type) and issubclass(kind, Exception)) or issubclass(kind, _NEVER):
        return RemoteError(f"{name}: {text}" if name else text)
    try:
        return kind(text)
    except TypeError:  # such as UnicodeDecodeError, of five arguments
        return RemoteError(f"{name}: {text}")


def _text(error: BaseException) -> str:
    try:
        return str.__str__(str(error))[:1000]
    except BaseException:
        return ""


def _copy_back(old: Any, new: Any) -> None:
    """Make the containers in `old` hold what `new` holds; containers within keep their identity."""
    if type(old) is not type(new):
        return
    if type(old) in (list, tuple, deque):
        merged = [_merged(*pair) for pair in zip(old, new, strict=False)] + list(new)[len(old) :]
        if type(old) is list:
            old[:] = merged
        elif type(old) is deque:
            old.clear()
            old.extend(merged)
    elif type(old) is dict:
        merged = {key: _merged(old.get(key), value) for key, value in new.items()}
        old.clear()
        old.update(merged)
    elif type(old) is set:
        old.clear()
        old.update(new)
    elif type(old) is bytearray:
        old[:] = new


def _merged(old: Any, new: Any) -> Any:
    """The old object where it can be made to hold the new value, else the new value."""
    if type(old) is type(new) and type(old) in (list, dict, set, deque, bytearray, tuple):
        _copy_back(old, new)
        return new if type(old) is tuple and old != new else old
    return new
