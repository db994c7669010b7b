"""Drives jobs on a pool's workers from one thread: starts processes, reads them, ends them."""

from __future__ import annotations

import array
import math
import os
import secrets
import select
import signal
import socket
import time
from collections import deque
from collections.abc import Sequence
from typing import Any, Generic

from textgym.grading.isolation import wire, zygote
from textgym.grading.isolation.frames import frame
from textgym.grading.pool import (
    END_SECONDS,
    MAX_RETRIES,
    Child,
    Ended,
    Launch,
    Outcome,
    Pool,
    Steps,
    T,
    Worker,
    WorkerError,
)

_CHUNK = 1 << 16
_END = b'"end": 1}\n'
"""How the last reply of a child ends which has nothing more to say."""
_RETRY_PAUSE = 0.05
"""Seconds before another attempt where this process lacks a resource, such as descriptors."""


class _Process:
    """This side of one child: its job, and its standard output and error.

    Args:
        child: what to run.
        peer: its end of a line to another child, or -1.

    Raises:
        OSError: no descriptors are left.
    """

    def __init__(self, child: Child, peer: int = -1) -> None:
        self.child = child
        token = secrets.token_hex(8)
        self._mark = token.encode()
        self._request = memoryview(frame({**child.job, "token": token}))
        self.opened: list[int] = []
        self.theirs: list[int] = []
        self.read: dict[int, bytearray] = {}
        try:
            self._open(child.stdin, peer)
        except BaseException:
            self.close()
            raise

    def _open(self, stdin: bytes, peer: int) -> None:
        if stdin:
            source = os.memfd_create("stdin")
            self.theirs.append(source)
            rest = memoryview(stdin)
            while rest:
                rest = rest[os.write(source, rest) :]
            os.lseek(source, 0, os.SEEK_SET)
        else:
            self.theirs.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
        for _ in range(2):
            ours, theirs = os.pipe2(os.O_CLOEXEC)
            self.opened.append(ours)
            self.theirs.append(theirs)
            os.set_blocking(ours, False)
            self.read[ours] = bytearray()
        ours, theirs = socket.socketpair()
        self.job = ours.detach()
        self.opened.append(self.job)
        self.theirs.append(theirs.detach())
        self.read[self.job] = bytearray()
        os.set_blocking(self.job, False)
        self.theirs.append(peer if peer >= 0 else os.dup(self.theirs[0]))

    @property
    def events(self) -> int:
        """What to wait for at the job's descriptor."""
        return select.POLLIN | select.POLLOUT if self._request else select.POLLIN

    def send(self) -> None:
        """Send as much of the job as there is room for."""
        try:
            while self._request:
                self._request = self._request[os.write(self.job, self._request) :]
        except BlockingIOError:
            pass
        except OSError:  # it has gone; its replies, or none, tell the rest
            self._request = memoryview(b"")

    def receive(self, fd: int) -> str:
        """Read what there is: "end" at the end of the replies, the name of a limit, or ""."""
        data = self.read[fd]
        is_job = fd == self.job
        limit = self.child.reply_bytes if is_job else self.child.output_bytes
        try:
            while part := os.read(fd, _CHUNK):
                data += part
                if len(data) > limit:
                    del data[limit:]
                    return "replies" if is_job else "output"
        except BlockingIOError:
            return "end" if is_job and data.endswith(_END) else ""
        except OSError:  # a reset: it ended before it had read the job
            pass
        return "left" if is_job else "closed"

    def ended(self, status: int, stopped: str) -> Ended:
        """What it has said, read to the end. For a child that is dead."""
        stdout, stderr, job = self.opened
        for fd in self.opened:
            limit = self.receive(fd) if fd in self.read else ""
            stopped = stopped or (limit if limit in ("output", "replies") else "")
        replies = []
        for line in bytes(self.read[job]).split(b"\n"):
            place = line.find(self._mark)
            if place >= 0:
                try:
                    replies.append(wire.parse(line[place + len(self._mark) :]))
                except wire.NotPlain:
                    continue  # a forgery, or cut off: as if it had not been said
        return Ended(replies, bytes(self.read[stdout]), bytes(self.read[stderr]), status, stopped)

    def close_theirs(self) -> None:
        """Close the ends that the child has."""
        for fd in self.theirs:
            os.close(fd)
        self.theirs = []

    def close(self) -> None:
        """Close everything."""
        self.close_theirs()
        for fd in self.opened:
            os.close(fd)
        self.opened = []


class _Running:
    """A launch on a worker, until its outcome.

    Args:
        worker: serves it, and nothing else meanwhile.
        launch: what to run.

    Raises:
        OSError: no descriptors are left, or the worker is dead.
        WorkerError: the worker does not start.
    """

    def __init__(self, worker: Worker, launch: Launch) -> None:
        self.worker, self.launch = worker, launch
        self.processes: list[_Process] = []
        self._stopped = [""] * len(launch.children)
        self.outcome: Outcome | None = None
        self._is_ending = self._left = False
        worker.wait_until_ready()
        try:
            self._start()
        except BaseException:
            self.close()
            raise
        self._start_time = time.monotonic()
        self.deadline = self._start_time + launch.seconds

    def _start(self) -> None:
        peers = [-1]
        if len(self.launch.children) == 2:
            peers = [end.detach() for end in socket.socketpair()]
        for index, child in enumerate(self.launch.children):
            try:
                self.processes.append(_Process(child, peers[index]))
            except BaseException:
                for peer in peers[index + 1 :]:
                    os.close(peer)
                raise
            self.processes[-1].send()
        fds = array.array("i", [fd for process in self.processes for fd in process.theirs])
        seconds = math.ceil(self.launch.seconds) + 1
        header = zygote.HEADER.pack(len(self.processes), self.launch.memory, seconds)
        self.worker.control.sendmsg(
            [zygote.RUN + header], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)]
        )
        for process in self.processes:
            process.close_theirs()

    def watch(self, poll: select.poll) -> list[int]:
        """Register what to wait for; the descriptors."""
        fds = []
        for process in self.processes:
            for fd in process.read:
                poll.register(fd, process.events if fd == process.job else select.POLLIN)
                fds.append(fd)
        poll.register(self.worker.control, select.POLLIN)
        return [*fds, self.worker.control.fileno()]

    def on_event(self, fd: int, events: int, poll: select.poll) -> None:
        """Something can be read or written. Sets the outcome, or raises WorkerError."""
        if fd == self.worker.control.fileno():
            self._finish()
            return
        index = next(i for i, process in enumerate(self.processes) if fd in process.read)
        process = self.processes[index]
        if fd == process.job and events & select.POLLOUT:
            process.send()
            if process.events == select.POLLIN:
                poll.modify(fd, select.POLLIN)
        if not events & ~select.POLLOUT:
            return
        said = process.receive(fd)
        if said in ("closed", "left", "output", "replies"):
            poll.unregister(fd)
        if said in ("output", "replies"):
            self._stopped[index] = said
            self._end()
        elif said in ("left", "end") and index == 0:
            self._left = said == "left"
            self._end()

    def on_time(self) -> None:
        """The deadline has passed. Raises WorkerError if it was that of the worker."""
        if self._is_ending:
            raise WorkerError("the fork-server does not answer")
        self._stopped = [stopped or "time" for stopped in self._stopped]
        self._end()

    def _end(self) -> None:
        if self._is_ending:
            return
        self._is_ending = True
        self.deadline = time.monotonic() + END_SECONDS
        try:
            self.worker.control.send(zygote.LEFT if self._left else zygote.END)
        except OSError as error:
            raise WorkerError(f"the fork-server has ended: {error}") from None

    def _finish(self) -> None:
        """The fork-server has spoken: all children are dead."""
        try:
            message = self.worker.control.recv(4096)
        except BlockingIOError:
            return
        except OSError as error:
            raise WorkerError(f"the fork-server has ended: {error}") from None
        size = zygote.STATUS.size
        if not self._is_ending or len(message) != size * len(self.processes):
            raise WorkerError(f"the fork-server ended: {self.worker.last_words()}")
        children = []
        for index, process in enumerate(self.processes):
            status, was_killed = zygote.STATUS.unpack_from(message, index * size)
            ended = process.ended(status, self._stopped[index])
            if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL and not was_killed:
                # No program can do that to itself: a person did, or the kernel for want of memory,
                # or the child because it could not be locked down.
                words = ended.stderr.decode(errors="replace").strip()[-200:]
                words = f": {words}" if words.startswith("cannot lock down") else ""
                raise WorkerError(f"a child was killed from outside{words}")
            children.append(ended)
        self.outcome = Outcome(children, seconds=time.monotonic() - self._start_time)

    def close(self) -> None:
        """Close all descriptors."""
        for process in self.processes:
            process.close()


class _Job(Generic[T]):
    """A generator, where it stands, and its place in the results."""

    def __init__(self, index: int, steps: Steps[T]) -> None:
        self.index, self.steps = index, steps
        self.launch: Launch | None = None
        self.attempts = 0


class Loop(Generic[T]):
    """Runs jobs to their ends.

    Args:
        pool: whose workers to use.
        jobs: generators, see textgym.grading.pool.
    """

    def __init__(self, pool: Pool, jobs: Sequence[Steps[T]]) -> None:
        self._pool = pool
        self._results: list[Any] = [None] * len(jobs)
        self._queue = deque(_Job(index, steps) for index, steps in enumerate(jobs))
        self._poll = select.poll()
        self._at: dict[int, tuple[_Running, _Job[T]]] = {}
        self._active: dict[_Running, tuple[_Job[T], list[int]]] = {}

    def run(self) -> list[T]:
        """The results, in the jobs' order. Raises what a job raises."""
        try:
            while self._queue or self._active:
                self._start_more()
                self._wait()
        finally:
            for running in list(self._active):
                self._drop(running, broken=True)
        return self._results

    def _start_more(self) -> None:
        """Give jobs to as many workers as can be had; wait for one only if none is ours."""
        workers: list[Worker] = []
        while len(workers) < len(self._queue):
            try:
                worker = self._pool.acquire(wait=not self._active and not workers)
            except (OSError, WorkerError) as error:
                if not workers and not self._active:
                    self._fail(self._queue.popleft(), f"cannot start a worker: {error}")
                break
            if worker is None:
                break
            workers.append(worker)  # new ones start side by side
            if self._pool.is_wanted():
                break
        try:
            while workers:
                self._start(self._queue.popleft(), workers.pop(0))
        finally:  # a job raised: the workers are the pool's all the same
            for worker in workers:
                self._pool.release(worker)

    def _start(self, job: _Job[T], worker: Worker) -> None:
        """Start the job's next launch on a worker; a job without one leaves the worker."""
        if job.launch is None and not self._advance_on(worker, job, None):
            self._pool.release(worker)
            return
        try:
            running = _Running(worker, job.launch)
        except (OSError, WorkerError) as error:
            self._pool.release(worker, broken=True)
            self._fail(job, str(error))
            return
        fds = running.watch(self._poll)
        self._active[running] = (job, fds)
        self._at.update((fd, (running, job)) for fd in fds)

    def _advance(self, job: _Job[T], outcome: Outcome | None) -> bool:
        """Give a job its outcome; False if that was its last."""
        try:
            job.launch = job.steps.send(outcome)
        except StopIteration as stop:
            self._results[job.index] = stop.value
            return False
        job.attempts = 0
        return True

    def _advance_on(self, worker: Worker, job: _Job[T], outcome: Outcome | None) -> bool:
        """The same, while holding a worker: it goes back to the pool if the job raises."""
        try:
            return self._advance(job, outcome)
        except BaseException:
            self._pool.release(worker)
            raise

    def _fail(self, job: _Job[T], error: str) -> None:
        """The machinery failed under a job: try again, or tell it."""
        if job.launch is None:  # not even begun
            if not self._advance(job, None):
                return
        job.attempts += 1
        if job.attempts <= MAX_RETRIES:
            if not self._active:
                time.sleep(_RETRY_PAUSE)
            self._queue.append(job)
        elif self._advance(job, Outcome([], error)):
            self._queue.append(job)

    def _wait(self) -> None:
        """Handle what happens next, or the deadlines that have passed."""
        if not self._active:
            return
        rest = min(running.deadline for running in self._active) - time.monotonic()
        for fd, events in self._poll.poll(max(0, math.ceil(rest * 1000))):
            if fd in self._at:
                self._handle(
                    *self._at[fd],
                    lambda running, fd=fd, events=events: running.on_event(fd, events, self._poll),
                )
        now = time.monotonic()
        for running, (job, _) in list(self._active.items()):
            if now >= running.deadline:
                self._handle(running, job, lambda running: running.on_time())

    def _handle(self, running: _Running, job: _Job[T], event: Any) -> None:
        try:
            event(running)
        except WorkerError as error:
            self._drop(running, broken=True)
            self._fail(job, str(error))
            return
        if running.outcome is not None:
            worker = self._drop(running)
            if not self._advance_on(worker, job, running.outcome):
                self._pool.release(worker)
            elif self._pool.is_wanted():
                self._queue.appendleft(job)
                self._pool.release(worker)
            else:
                self._start(job, worker)

    def _drop(self, running: _Running, *, broken: bool = False) -> Worker:
        """Forget a launch; a broken worker goes back to the pool, a good one to the caller."""
        for fd in self._active.pop(running)[1]:
            del self._at[fd]
            try:
                self._poll.unregister(fd)
            except KeyError:
                pass
        running.close()
        if broken:
            self._pool.release(running.worker, broken=True)
        return running.worker
