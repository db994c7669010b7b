"""A pool of killable workers: fork-servers, each of which runs one job at a time to a deadline.

A job is a generator that yields a `Launch`, what to run next, and is sent its `Outcome`; what it
returns is its result. `Pool.run_all` drives many at once from the calling thread: no threads of its
own, no queue, one poll(2). Any number of threads may call it; workers pass from one to another. A
forked copy of this process makes workers of its own.
"""

from __future__ import annotations

import atexit
import json
import os
import socket
import subprocess
import threading
import weakref
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

MIB = 1 << 20
MAX_RETRIES = 2
"""Attempts on a fresh worker after the machinery, not the program, has failed."""
_START_SECONDS, _CLOSE_SECONDS = 60.0, 0.5
END_SECONDS = 10.0
"""Longest wait for a fork-server to start, and to end its children, before it counts as dead."""

LIMITS = {"time": "out of time", "output": "wrote too much", "replies": "returned too much"}
MAX_REASON, _TAIL = 400, 2000
"""Characters kept of a reason, and of what a program writes."""

T = TypeVar("T")


class WorkerError(RuntimeError):
    """The machinery failed; it says nothing about the program."""


@dataclass(frozen=True)
class Child:
    """One process of a launch.

    Attributes:
        job: what the runner is told, see textgym.grading.isolation.runner.
        stdin: its standard input.
        reply_bytes: how much it may reply.
        output_bytes: how much it may write to standard output, and to standard error.
    """

    job: dict[str, Any]
    stdin: bytes = b""
    reply_bytes: int = MIB
    output_bytes: int = MIB


@dataclass(frozen=True)
class Launch:
    """Processes that run together until the first of them ends, or time is up.

    Attributes:
        children: one, or two with a line between them.
        seconds: of wall clock, from the start of the children.
        memory: bytes that each may map beyond the interpreter's own.
    """

    children: tuple[Child, ...]
    seconds: float
    memory: int


@dataclass
class Ended:
    """What became of one process.

    Attributes:
        replies: JSON objects that it sent. Any program can forge them.
        stdout: the bytes written, at most `output_bytes`.
        stderr: likewise.
        status: the wait status, see os.WIFSIGNALED.
        stopped: "time", "output" or "replies" where a limit ended the launch; else "".
    """

    replies: list[Any] = field(default_factory=list)
    stdout: bytes = b""
    stderr: bytes = b""
    status: int = 0
    stopped: str = ""

    def answers(self) -> dict[Any, Any]:
        """Replies by index, and by name the texts that speak for all. The first of each counts."""
        found: dict[Any, Any] = {}
        for reply in self.replies:
            if isinstance(reply, dict):
                if type(reply.get("i")) is int:
                    found.setdefault(reply["i"], reply)
                for name in ("load", "late", "x"):
                    if isinstance(reply.get(name), str):
                        found.setdefault(name, printable(reply[name]))
        return found

    def ending(self) -> str:
        """How it ended, for where something is missing that it should have said."""
        if self.stopped:
            return LIMITS[self.stopped]
        if os.WIFSIGNALED(self.status):
            return f"the program was ended by signal {os.WTERMSIG(self.status)}"
        return f"the program ended early, with exit code {os.WEXITSTATUS(self.status)}"


@dataclass
class Outcome:
    """What became of a launch.

    Attributes:
        children: its processes; none if there is an error.
        error: of the machinery; None: none.
        seconds: that it took.
    """

    children: list[Ended]
    error: str | None = None
    seconds: float = 0.0


def printable(text: str) -> str:
    """The beginning of a program's text, without what would break or command whoever shows it."""
    kept = text[:MAX_REASON]
    return "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in kept)


def tail(output: bytes) -> str:
    """The end of what a program wrote, as text."""
    return output[-4 * _TAIL :].decode(errors="replace")[-_TAIL:]


Steps = Generator[Launch, Outcome, T]


class Worker:
    """A fork-server and the socket to it.

    Args:
        command: arguments that start it, given the descriptors of its socket and of this process.
    """

    def __init__(self, command: Callable[[int, int], list[str]], env: dict[str, str]) -> None:
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        owner = -1
        try:
            if hasattr(os, "pidfd_open"):
                try:
                    owner = os.pidfd_open(os.getpid())
                except OSError:  # an old kernel: the socket's end must do
                    pass
            passed = [fd for fd in (theirs.fileno(), owner) if fd >= 0]
            self._process = subprocess.Popen(
                command(theirs.fileno(), owner),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=env,
                pass_fds=passed,
                start_new_session=True,  # Ctrl-C in the terminal is for this process alone
            )
        except BaseException:
            self.control.close()
            raise
        finally:
            theirs.close()
            if owner >= 0:
                os.close(owner)
        self._owner = os.getpid()
        self.is_ready = False

    @property
    def pid(self) -> int:
        """The fork-server's process id."""
        return self._process.pid

    def wait_until_ready(self) -> None:
        """Return once it serves. Raises WorkerError with its own words if it does not."""
        if self.is_ready:
            return
        self.control.settimeout(_START_SECONDS)
        try:
            message = json.loads(self.control.recv(4096) or b"{}")
        except OSError as error:
            raise WorkerError(f"the fork-server does not start: {error}") from None
        self.control.setblocking(False)
        if "ready" not in message:
            raise WorkerError(
                message.get("failed") or f"the fork-server ended: {self.last_words()}"
            )
        self.is_ready = True

    def last_words(self) -> str:
        """The end of what a process that has just died wrote to its standard error."""
        self._process.kill()
        text = self._process.stderr.read().decode(errors="replace").strip()
        return text.splitlines()[-1] if text else "ended without a word"

    def close(self) -> None:
        """End it and all its children; in a fork of the owner, only forget it."""
        self.control.close()
        if os.getpid() == self._owner:
            try:
                self._process.wait(_CLOSE_SECONDS)  # it tidies up when the line is cut
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        else:
            self._process.returncode = 0  # not ours: keep Popen's destructor quiet
        for stream in (self._process.stdout, self._process.stderr):
            stream.close()


class Pool:
    """Workers, made as they are needed, up to a number.

    Args:
        make_worker: starts one. May raise OSError or WorkerError.
        num_workers: most at a time.
    """

    def __init__(self, make_worker: Callable[[], Worker], num_workers: int) -> None:
        self._make_worker, self.num_workers = make_worker, num_workers
        self._reset()
        _POOLS.add(self)

    def _reset(self) -> None:
        self._changed = threading.Condition()
        self._idle: list[Worker] = []
        self._workers: set[Worker] = set()
        self._num_starting = self._num_waiting = 0
        self._closed = False

    def forget(self) -> None:
        """In a forked copy of the process: leave the workers to the original."""
        for worker in self._workers:
            worker.close()
        self._reset()

    @property
    def worker_pids(self) -> list[int]:
        """Process ids of the fork-servers."""
        with self._changed:
            return sorted(worker.pid for worker in self._workers)

    def close(self) -> None:
        """End all workers; jobs that run now fail. A later call starts anew."""
        with self._changed:
            for worker in self._workers:
                worker.close()
            self._workers.clear()
            self._idle.clear()
            self._changed.notify_all()

    def acquire(self, wait: bool = True) -> Worker | None:
        """A worker of one's own, perhaps a new one that is not ready; None if none and not waiting.

        Raises:
            OSError, WorkerError: it cannot be started.
        """
        with self._changed:
            while not self._idle and len(self._workers) + self._num_starting >= self.num_workers:
                if not wait:
                    return None
                self._num_waiting += 1
                try:
                    self._changed.wait()
                finally:
                    self._num_waiting -= 1
            if self._idle:
                return self._idle.pop()
            self._num_starting += 1
        worker = None
        try:
            worker = self._make_worker()
        finally:
            with self._changed:
                self._num_starting -= 1
                if worker is not None:
                    self._workers.add(worker)
        return worker

    def release(self, worker: Worker, *, broken: bool = False) -> None:
        """Give a worker back; a broken one is ended and makes room for another."""
        with self._changed:
            if worker in self._workers:  # else the pool was closed meanwhile
                if broken:
                    self._workers.discard(worker)
                    worker.close()
                else:
                    self._idle.append(worker)
            self._changed.notify()

    def is_wanted(self) -> bool:
        """Whether another thread waits for a worker."""
        return self._num_waiting > 0

    def run_all(self, jobs: Sequence[Steps[T]]) -> list[T]:
        """Run the jobs to their ends, several at a time; their results, in order."""
        from textgym.grading.loop import Loop

        return Loop(self, jobs).run()


_POOLS: weakref.WeakSet[Pool] = weakref.WeakSet()


def _forget_all() -> None:
    for pool in list(_POOLS):
        pool.forget()


@atexit.register
def _close_all() -> None:
    for pool in list(_POOLS):
        pool.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)
