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
import sys
import threading
import traceback
import types
from collections.abc import Callable
from typing import Any

from . import wire
from .frames import read_frame
from .remote import Peer, names_of

JOB, PEER = 3, 4
"""Descriptors: the job and its replies; the other child of a split job."""

PROGRAM = "<program>"
_TEXT = 300
"""Characters of an error message that are sent back."""

_write, _exit, _dumps = os.write, os._exit, json.dumps  # a program may replace the names


class _NotFound(Exception):
    """The program lacks a function; the message says which."""


def main() -> None:
    """Do the one job of this process and end it. Never returns."""
    job = json.loads(read_frame(JOB))
    mode = _MODES[job["mode"]]
    token = job.pop("token").encode()

    def reply(**fields: Any) -> None:
        line = b"\n" + token + _dumps(fields).encode() + b"\n"
        while line:
            line = line[_write(JOB, line) :]

    gc.freeze()  # out of gc.get_objects()
    gc.enable()
    code = 1
    try:
        code = mode(job, reply)
    except BaseException as error:
        try:
            reply(x=describe(error))
        except BaseException:
            _exit(1)
    _exit(code)


def warm_up() -> None:
    """Run a small job in the fork-server, to no effect.

    What the interpreter writes at the first uses of a function it then need not write in each
    child, where every page written to is copied first.
    """
    program = "def f(x, y):\n    for i in range(3):\n        y = [x, i]\n    return x"
    job = json.dumps({"program": program, "calls": [["f", '[1,{"t":[1,2]}]']] * 3})
    for _ in range(30):
        _call(json.loads(job), lambda **fields: _dumps(fields).encode())
    del sys.modules["program"]


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


def _program_frames(error: BaseException) -> types.TracebackType | None:
    """The part of a traceback that is the program's."""
    step = error.__traceback__
    while step is not None and step.tb_frame.f_code.co_filename != PROGRAM:
        step = step.tb_next
    return step


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
        raise _NotFound(f"the program does not define {name}")
    found = module.__dict__[name]
    if rest and isinstance(found, type):
        found = found()
    for name in rest:
        found = getattr(found, name)
    return found


def load_reason(error: BaseException) -> str:
    """Why a program could not be loaded."""
    if isinstance(error, SystemExit):
        return "the program ended before it could be called (SystemExit)"
    return describe(error)


def _call(job: dict, reply: Callable[..., None]) -> int:
    """Call functions of the program."""
    try:
        module = load_program(job["program"], "program")
    except BaseException as error:
        reply(load=load_reason(error))
        return 0
    last = len(job["calls"]) - 1
    for index, (path, text) in enumerate(job["calls"]):
        answer = _answer(module, path, text)
        if index == last:
            _flush()
            answer["end"] = 1
        reply(i=index, **answer)  # at once: should the next call hang, this one has been made
    return 0


def _answer(module: types.ModuleType, path: str, text: str) -> dict[str, Any]:
    """Make one call. Function and arguments are found anew, so no call can change another's."""
    try:
        value = find(module, path)(*wire.loads(text))
        try:
            return {"v": wire.encode(value)}
        except wire.NotPlain as error:
            return {"x": str(error), "truth": bool(value)}
    except _NotFound as error:
        return {"x": str(error)}
    except BaseException as error:
        return {"x": describe(error)}


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
        traceback.print_exception(error.with_traceback(_program_frames(error)), limit=-20)
        code = 1
    threading._shutdown()  # the interpreter's own way: wait for threads, then
    atexit._run_exitfuncs()
    _flush()
    # No end is announced: the exit code is to be seen, so the process must end by itself.
    return code & 0xFF


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
        try:
            stream.flush()
        except BaseException:
            pass


def _serve(job: dict, reply: Callable[..., None]) -> int:
    """Be the candidate of a split job: load the program and answer calls."""
    module = None
    reason = ""
    try:
        module = load_program(job["program"], "program")
    except BaseException as error:
        reason = load_reason(error)
    names = json.loads(read_frame(PEER))
    peer = Peer(PEER)
    found = {} if module is None else names_of(module, names)
    peer.send({"load": reason, "names": wire.encode(found, peer.refer)})
    peer.serve()
    _flush()
    return 0


def _test(job: dict, reply: Callable[..., None]) -> int:
    """Be the tests of a split job. The steps come from the tests' author, not from the program."""
    peer = Peer(PEER, guarded=True)
    peer.send(job["names"])
    answer = peer.receive()
    if answer["load"]:
        reply(load=answer["load"])
        return 0
    tests = types.ModuleType("tests")
    sys.modules["tests"] = tests
    names = tests.__dict__
    given = peer.decode(answer["names"])
    for name in job["names"]:  # and no others: the tests' own names are not for the program to set
        found = given.get(name)
        if type(found) is list:
            names[name] = found[0]
        elif type(found) is str and found in sys.modules:  # what the program imports, unspoilt
            names[name] = sys.modules[found]
    for alias, name in job["aliases"].items():
        if name not in names:
            reply(load=f"the program does not define {name}")
            return 0
        names[alias] = names[name]
    index, broken = 0, ""
    for kind, text in job["steps"]:
        reason = broken
        if not reason:
            try:
                exec(compile(text, "<tests>", "exec", dont_inherit=True), names)
            except BaseException as error:
                reason = f"{describe(error)} in {text}"[: 2 * _TEXT]
        if kind == "test":
            reply(**({"i": index, "x": reason} if reason else {"i": index, "v": True}))
            index += 1
        elif reason:
            broken = reason
    if broken:
        reply(late=broken)
    reply(end=1)
    return 0


_MODES: dict[str, Callable[[dict, Callable[..., None]], int]] = {
    "call": _call,
    "script": _main_program,
    "serve": _serve,
    "test": _test,
}
