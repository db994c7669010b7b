"""What runs in the locked-down child: takes a job, executes the program, sends back plain values.

The only module of the project that may execute text. All that it sends can be forged by the
program that it runs, which shares its memory; so it is never told what a right answer is, and the
worst that a forgery achieves is a wrong answer.

A job is one JSON object after its length (4 bytes). The replies are JSON objects, each on a line
after the job's token: whatever else a program writes to the descriptor is passed over.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import random
import sys
import threading
import traceback
import types
from collections.abc import Callable
from typing import Any

from . import wire

JOB, PEER = 3, 4
"""Descriptors: the job and its replies; the other child of a split job."""

PROGRAM = "<program>"
_TEXT = 300
"""Characters of an error message that are sent back."""

_RANDOM = random.Random(0).getstate()
"""Where chance begins: the same program fares the same in every child."""

_write, _exit, _dumps = os.write, os._exit, json.dumps  # a program may replace the names


class _NotLoaded(Exception):
    """The program has no entry point; the message is the reason."""


def main() -> None:
    """Do the one job of this process and end it. Never returns."""
    job = json.loads(read_frame(JOB))
    mode = _MODES[job["mode"]]
    token = job.pop("token").encode()

    def reply(**fields: Any) -> None:
        line = b"\n" + token + _dumps(fields).encode() + b"\n"
        while line:
            line = line[_write(JOB, line) :]

    random.setstate(_RANDOM)
    gc.freeze()  # out of gc.get_objects()
    gc.enable()
    reply(started=1)
    code = 1
    try:
        code = mode(job, reply)
    except BaseException as error:
        try:
            reply(x=describe(error))
        except BaseException:
            _exit(1)
    _exit(code)


def read_exactly(fd: int, size: int) -> bytes:
    """So many bytes. Raises EOFError where the other side ends before."""
    parts = []
    while size:
        part = os.read(fd, min(size, 1 << 20))
        if not part:
            raise EOFError("the other side has hung up")
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def read_frame(fd: int) -> bytes:
    """A message after its length in 4 bytes."""
    return read_exactly(fd, int.from_bytes(read_exactly(fd, 4), "big"))


def describe(error: BaseException) -> str:
    """An exception in one line: "ZeroDivisionError: division by zero (line 3)"."""
    kind = type(error)
    name = kind.__name__ if type(kind) is type else "Exception"
    try:
        message = str.__str__(str(error))
    except BaseException:
        message = ""
    line = None
    step = error.__traceback__
    while step is not None:
        if step.tb_frame.f_code.co_filename == PROGRAM:
            line = step.tb_lineno
        step = step.tb_next
    text = f"{name}: {message}" if message else name
    return text[:_TEXT] + (f" (line {line})" if type(line) is int else "")


def load_program(text: str, name: str) -> types.ModuleType:
    """Execute a program as the body of a module. Raises whatever the program raises."""
    module = types.ModuleType(name)
    sys.modules[name] = module
    code = compile(text, PROGRAM, "exec", dont_inherit=True)
    exec(code, module.__dict__)
    return module


def find(module: types.ModuleType, path: str) -> Callable[..., Any]:
    """The function "name", or "Class.method" of a new object of the class."""
    name, *rest = path.split(".")
    if name not in module.__dict__:
        raise _NotLoaded(f"the program does not define {name}")
    found = module.__dict__[name]
    if rest and isinstance(found, type):
        found = found()
    for name in rest:
        found = getattr(found, name)
    if not callable(found):
        raise _NotLoaded(f"{path} is not callable")
    return found


def _load(job: dict, reply: Callable[..., None]) -> types.ModuleType | None:
    """The program as a module; None, once the reason is sent, where it cannot be loaded."""
    try:
        return load_program(job["program"], "program")
    except SystemExit:
        reply(load="the program ended before it could be called (SystemExit)")
    except BaseException as error:
        reply(load=describe(error))
    return None


def _call(job: dict, reply: Callable[..., None]) -> int:
    """Call a function of the program with each of the inputs."""
    module = _load(job, reply)
    if module is None:
        return 0
    try:
        function = find(module, job["entry"])
    except BaseException as error:
        reply(load=str(error) if isinstance(error, _NotLoaded) else describe(error))
        return 0
    for index, text in enumerate(job["inputs"]):
        try:
            # Read anew for each call: no call can change another's arguments.
            reply(i=index, v=wire.encode(function(*wire.loads(text))))
        except BaseException as error:
            reply(i=index, x=str(error) if type(error) is wire.NotPlain else describe(error))
    _flush()
    reply(end=1)
    return 0


def _main_program(job: dict, reply: Callable[..., None]) -> int:
    """Run the program as a script does: standard input and output, threads and exit functions."""
    code = 0
    try:
        load_program(job["program"], "__main__")
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        if code and not isinstance(stop.code, int):
            print(stop.code, file=sys.stderr)
    except BaseException as error:
        reply(x=describe(error))
        traceback.print_exc(limit=-20)
        code = 1
    threading._shutdown()  # the interpreter's own way: wait for threads, then
    atexit._run_exitfuncs()
    _flush()
    reply(end=1)
    return code & 0xFF


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
        try:
            stream.flush()
        except BaseException:
            pass


_MODES: dict[str, Callable[[dict, Callable[..., None]], int]] = {
    "call": _call,
    "script": _main_program,
}
