"""The fork-server: a bare interpreter that forks one locked-down child for each program.

It has what honest programs import already loaded, so that a child costs a fork and not the start of
an interpreter. It passes file descriptors on and sees neither programs nor inputs nor results, so
nothing of one submission is in the memory of the next. Spoken to over a socket, one message each:

    to it      RUN + struct of (children, memory, seconds), with five descriptors a child
               END: kill what still runs, collect all, clean up
               LEFT: as END, but the first child has hung up: see first how it ended by itself
    from it    {"ready": ...} once, at the start
               a struct of (wait status, whether it was killed here), one a child, for each END
"""

from __future__ import annotations

import array
import builtins
import ctypes
import datetime
import fcntl
import gc
import importlib
import json
import os
import random
import select
import signal
import socket
import struct
import sys
import time
from collections.abc import Sequence

from . import runner
from .lockdown import Lockdown

_fork = ctypes.PyDLL(None).fork
"""Without what os.fork does for threads, of which there are none: a fifth of a child's time."""

RUN, END, LEFT = b"R", b"E", b"L"
HEADER = struct.Struct("!BQI")
STATUS = struct.Struct("!i?")
FDS_PER_CHILD = 5
"""Its standard input, output and error, its job, and its line to the other child of the job."""
RESERVED = 8
_GRACE = 0.1
"""Seconds that a child which has hung up may take to end."""

PRELOADED = """
__future__ _thread abc argparse array ast asyncio atexit base64 bisect bz2 calendar cmath codecs
collections collections.abc colorsys concurrent.futures concurrent.futures.thread contextlib
contextvars copy copyreg csv dataclasses datetime decimal difflib doctest encodings.ascii
encodings.idna encodings.latin_1 encodings.utf_16 encodings.utf_32 enum errno fcntl fnmatch
fractions functools gc genericpath getopt glob graphlib grp hashlib heapq hmac html inspect io
ipaddress itertools json json.decoder json.encoder keyword linecache locale logging lzma math mmap
multiprocessing multiprocessing.dummy numbers operator os os.path pathlib pickle platform pprint
profile pstats queue random re reprlib resource sched secrets select selectors shlex shutil signal
socket stat statistics string stringprep struct subprocess sys tempfile termios textwrap threading
time timeit token tokenize traceback tracemalloc types typing unicodedata unittest unittest.mock
urllib.parse uuid warnings weakref xml.etree.ElementTree zlib zoneinfo
"""
"""What programs may import on every rung. The lowest opens no file any more, and none loads machine
code, so modules of C that are not here cannot be imported at all."""


def main(config: dict) -> None:
    """Load, lock down and serve until the other side hangs up. Never returns.

    Args:
        config: "control": the socket's descriptor, "owner": a pidfd of the process that uses this
            one, or -1; "rung"; "modules": further modules to load, and "paths" to find them;
            "readable": folders that programs may read.
    """
    # The lowest numbers are a child's: keep what is open here, and what arrives, above them.
    given = [fd for fd in (config["control"], config["owner"]) if fd >= 0]
    fds = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, RESERVED) for fd in given]
    for fd in given:
        os.close(fd)
    control, owner = socket.socket(fileno=fds[0]), fds[-1] if len(fds) == 2 else -1
    os.closerange(3, RESERVED)
    for fd in range(3, RESERVED):
        os.dup2(0, fd)
    try:
        sys.path.extend(config["paths"])
        _preload(config["modules"])
        sys.path[:] = [path for path in sys.path if _is_below(path, config["readable"])]
        lockdown = Lockdown(config["rung"], config["readable"])
    except BaseException as error:
        control.send(json.dumps({"failed": f"{type(error).__name__}: {error}"}).encode())
        os._exit(1)
    os.environ.clear()
    builtins.exit = builtins.quit = sys.exit  # as the site module does, which -S leaves out
    runner.warm_up()
    random.setstate(random.Random(0).getstate())  # a program fares the same in every child
    gc.collect()
    gc.freeze()
    gc.disable()
    control.send(json.dumps({"ready": config["rung"]}).encode())
    try:
        Server(control, owner, lockdown).serve()
    except BaseException as error:
        os.write(2, f"{type(error).__name__}: {error}\n".encode())
    finally:
        os._exit(0)


def _preload(modules: Sequence[str]) -> None:
    # OpenSSL is large, and each page that a child has costs time; the builtin hashes do.
    sys.modules["_hashlib"] = sys.modules["_ssl"] = None
    for name in (*PRELOADED.split(), *modules):
        importlib.import_module(name)
    # And what they load at first use.
    for name in modules:
        module = sys.modules[name]
        for attribute in getattr(module, "__all__", ()):
            getattr(module, attribute, None)
    datetime.datetime.strptime("2000-01-01", "%Y-%m-%d")
    "".encode("idna")


def _is_below(path: str, folders: Sequence[str]) -> bool:
    return any(os.path.commonpath((path, folder)) == folder for folder in folders)


class Server:
    """Forks children on demand.

    Args:
        control: the socket to the owner.
        owner: a pidfd that becomes readable when the owner ends, or -1.
        lockdown: what children enter.
    """

    def __init__(self, control: socket.socket, owner: int, lockdown: Lockdown) -> None:
        self._control, self._lockdown = control, lockdown
        self._poll = select.poll()
        self._poll.register(control, select.POLLIN)
        if owner >= 0:
            # A fork of the owner may hold the other end of the socket open for longer than it.
            self._poll.register(owner, select.POLLIN)
        self._children: list[int] = []

    def serve(self) -> None:
        """Until the owner hangs up or ends."""
        try:
            while True:
                ready = self._poll.poll()
                if any(fd != self._control.fileno() for fd, _ in ready):
                    return
                message, fds = self._receive()
                if message[:1] == RUN:
                    self._run(message[1:], fds)
                elif message[:1] in (END, LEFT):
                    statuses = self._collect(patient=message[:1] == LEFT)
                    self._lockdown.clean()
                    self._control.send(b"".join(STATUS.pack(*status) for status in statuses))
                else:
                    return
        finally:
            self._collect()
            self._lockdown.end()

    def _receive(self) -> tuple[bytes, list[int]]:
        message, ancillary, _, _ = self._control.recvmsg(64, socket.CMSG_SPACE(4 * 16))
        fds = array.array("i")
        for _, _, data in ancillary:
            fds.frombytes(data[: len(data) // 4 * 4])
        return message, fds.tolist()

    def _run(self, header: bytes, fds: list[int]) -> None:
        count, memory, seconds = HEADER.unpack(header)
        for index in range(count):
            own = fds[FDS_PER_CHILD * index : FDS_PER_CHILD * (index + 1)]
            pid = _fork()
            if pid == 0:
                _be_child(own, self._lockdown, memory, seconds)
            self._children.append(pid)
        for fd in fds:
            os.close(fd)

    def _collect(self, patient: bool = False) -> list[tuple[int, bool]]:
        """End the children: the wait status of each, and whether it had to be killed."""
        if patient and self._children:
            deadline = time.monotonic() + _GRACE
            how = os.WEXITED | os.WNOHANG | os.WNOWAIT
            while os.waitid(os.P_PID, self._children[0], how) is None:
                if time.monotonic() > deadline:
                    break
                time.sleep(0.0005)
        statuses = []
        for pid in self._children:
            ended, status = os.waitpid(pid, os.WNOHANG)
            if not ended:
                os.kill(pid, signal.SIGKILL)  # not collected yet, so the id is still its own
                status = os.waitpid(pid, 0)[1]
            statuses.append((status, not ended))
        self._children = []
        return statuses


def _be_child(fds: list[int], lockdown: Lockdown, memory: int, seconds: int) -> None:
    """Lock down and run the job. Never returns."""
    try:
        for target, fd in enumerate(fds):
            os.dup2(fd, target)
        lockdown.enter(memory, seconds)
        os.closerange(len(fds), 64)
    except BaseException as error:
        os.write(2, f"cannot lock down: {error}\n".encode())
        os.kill(os.getpid(), signal.SIGKILL)  # no program can do so: see loop._finish
    try:
        runner.main()
    finally:
        os._exit(1)
