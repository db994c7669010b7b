"""A sandbox for untrusted Python programs, with nothing but Python on Linux.

A fork-server, a fresh bare interpreter with an empty environment, forks one child for each program;
the child gives up what it can before it runs anything; and what the program returns is judged here,
outside, as plain data. Which of the kernel's means are to be had is found out by trying what is
forbidden (`python -m textgym check-sandbox`); the best rung that holds is taken:

    namespaces   namespaces + Landlock + seccomp     user namespaces, or root
    landlock     Landlock + seccomp                  a kernel with Landlock (5.13), as in Docker
    seccomp      seccomp, no path may be opened      no imports but those loaded beforehand

    threat                                stopped by
    forged verdicts: exit codes, printed  the expected values never enter the program's process;
      markers, == that is always true,    it sends typed JSON over a pipe of its own, and plain
      patched modules, frames, gc         values are compared outside. Asserts run in a process
                                          of their own, where the program's objects equal nothing
    reading secrets: environment, files,  a fresh interpreter, empty environment; no files but the
      memory, other submissions           standard library; one child and one set of pipes for
                                          each, which the fork-server itself cannot read
    writing, deleting, filling disks      read-only empty root and a small folder in memory that is
                                          made anew (namespaces); Landlock; or no path at all
    network, local sockets                seccomp: no socket(); an empty network namespace
    signals, ptrace, /proc, other users   seccomp; own process namespace; another user id (root);
                                          not dumpable; no capabilities, no_new_privs
    execve, fork bombs, survivors         seccomp: no exec and no fork, so one SIGKILL ends it all;
                                          death with the fork-server, which dies with its owner
    threads, memory, files, output        RLIMIT_NPROC, AS, NOFILE, FSIZE; capped readers
    hangs, in C too; ignored signals      a deadline outside, then SIGKILL; RLIMIT_CPU
    code in results                       nothing is unpickled, evaluated or imported; size and
                                          depth are bounded

    not stopped
    a flaw in the kernel's system calls that are left (about a hundred), or in the processor
    a program that guesses, or is made for inputs that it has been shown
    a program that forges its own replies: it finds the pipe and the token that marks them in its
      own memory, and then has said a wrong value, as it could have returned it
    a helper that the tests take from the program itself: put helpers into the tests' source
    learning hidden inputs by acting on them over many episodes
    using the processor until the deadline, and metadata of files (stat) without namespaces

"unsafe-subprocess" has the separate process, the limits and the judging outside, and no more.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import sysconfig
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from textgym.grading.bubblewrap import wrap
from textgym.grading.isolation import wire
from textgym.grading.isolation.probe import PROGRAM
from textgym.grading.pool import MIB, Child, Launch, Outcome, Pool, Steps, T, Worker, WorkerError

BACKENDS = ("auto", "bubblewrap", "unsafe-subprocess")
LADDER = ("namespaces", "landlock", "seccomp")
"""The embedded sandbox's rungs, best first."""

_PROBE_SECONDS = 30.0


class SandboxUnavailable(RuntimeError):
    """This machine cannot isolate untrusted programs; the message says what to do.

    Args:
        message: one line.
        reasons: what is wrong with each rung.
    """

    def __init__(self, message: str, reasons: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.reasons = reasons or {}


@dataclass(frozen=True)
class RunResult:
    """What became of one program.

    Attributes:
        reason: why it failed; "" if it did not.
        value: what a call returned.
        stdout: what it wrote, as far as the limit went; stderr likewise.
        error: None, or why the sandbox failed; the program has no part in that.
    """

    reason: str
    value: Any = None
    stdout: str = ""
    stderr: str = ""
    error: str | None = None


class Sandbox:
    """Runs untrusted programs in locked-down processes of their own.

    Args:
        backend: "auto": the best rung of the embedded ladder that passes the probe here;
            "bubblewrap": the same inside of bwrap(1); "unsafe-subprocess": resource limits alone.
        workers: fork-servers that run at the same time; None: one a processor.
        modules: modules to load beforehand, beside the standard library: ("numpy",).
        rung: take this rung of the ladder and no other.

    Raises:
        SandboxUnavailable: no rung passes the probe.
        ValueError: an argument is unknown.
    """

    def __init__(
        self,
        backend: str = "auto",
        *,
        workers: int | None = None,
        modules: Sequence[str] = (),
        rung: str | None = None,
    ) -> None:
        if backend not in BACKENDS:
            raise ValueError(f"sandbox is {backend!r}, expected one of {', '.join(BACKENDS)}")
        if workers is not None and workers < 1:
            raise ValueError(f"workers is {workers}, expected at least 1")
        self.backend, self.modules = backend, tuple(modules)
        num_workers = workers or len(os.sched_getaffinity(0))
        self.reasons: dict[str, str] = {}
        if backend == "unsafe-subprocess":
            rungs: Sequence[str] = ("none",)
        else:
            ladder = LADDER[1:] if backend == "bubblewrap" else LADDER
            rungs = ladder if rung is None else (rung,)
        for self.rung in rungs:
            self.pool = Pool(self._make_worker, num_workers)
            problem = "" if self.rung == "none" else self.probe()
            if not problem:
                break
            self.reasons[self.rung] = problem
            self.pool.close()
        else:
            tried = "; ".join(f"{rung}: {why}" for rung, why in self.reasons.items())
            raise SandboxUnavailable(
                f"untrusted programs cannot be isolated on this machine ({tried}). Use Linux 5.13 "
                'or later on x86-64 or aarch64, or say sandbox="unsafe-subprocess", which does not '
                "protect this machine from the programs",
                self.reasons,
            )

    @property
    def isolation(self) -> str:
        """What holds the programs: "namespaces+landlock+seccomp", or less."""
        if self.rung == "none":
            return "none"
        held = LADDER[LADDER.index(self.rung) :]
        return "+".join((*(["bubblewrap"] if self.backend == "bubblewrap" else []), *held))

    def run_all(self, jobs: Sequence[Steps[T]]) -> list[T]:
        """Run jobs, generators that yield launches, side by side; their results in order."""
        return self.pool.run_all(jobs)

    def run(
        self,
        program: str,
        stdin: str = "",
        *,
        timeout: float = 3.0,
        memory_mb: int = 512,
        output_bytes: int = MIB,
    ) -> RunResult:
        """Run a program as a script.

        Args:
            program: any text.
            stdin: its standard input.
            timeout: seconds of wall clock.
            memory_mb: mebibytes that it may map beyond the interpreter's own.
            output_bytes: most that it may write to standard output, and to standard error.

        Returns:
            What became of it. It raises for nothing that a program can do.
        """
        limits = {"timeout": timeout, "memory_mb": memory_mb, "output_bytes": output_bytes}
        return self.run_many([program], stdin, **limits)[0]

    def run_many(
        self,
        programs: Sequence[str],
        stdin: str = "",
        *,
        timeout: float = 3.0,
        memory_mb: int = 512,
        output_bytes: int = MIB,
    ) -> list[RunResult]:
        """Run several programs side by side, each as `run` would; what became of them, in order."""
        data = stdin.encode(errors="surrogatepass")
        jobs = ({"mode": "script", "program": program} for program in programs)
        children = [Child(job, data, output_bytes=output_bytes) for job in jobs]
        return self._run(children, timeout, memory_mb)

    def call(
        self,
        program: str,
        entry_point: str,
        args: Sequence[Any] = (),
        *,
        timeout: float = 3.0,
        memory_mb: int = 512,
        reply_bytes: int = MIB,
    ) -> RunResult:
        """Call a function that a program defines; arguments and value are plain values.

        Raises:
            ValueError: an argument is no plain value.
        """
        calls = [[entry_point, wire.dumps(list(args))]]
        job = {"mode": "call", "program": program, "calls": calls}
        return self._run([Child(job, reply_bytes=reply_bytes)], timeout, memory_mb)[0]

    def _run(self, children: Sequence[Child], timeout: float, memory_mb: int) -> list[RunResult]:
        def steps(child: Child) -> Steps[RunResult]:
            outcome = yield Launch((child,), timeout, memory_mb * MIB)
            return (
                RunResult("", error=outcome.error)
                if outcome.error
                else _result(outcome, "calls" in child.job)
            )

        return self.run_all(list(map(steps, children)))

    def close(self) -> None:
        """End the workers."""
        self.pool.close()

    def _make_worker(self) -> Worker:
        readable, paths = _library(), []
        for module in self.modules:
            spec = importlib.util.find_spec(module)
            if spec is None:
                raise WorkerError(f"there is no module {module!r} to load beforehand")
            for place in spec.submodule_search_locations or ():
                readable.append(place)
                paths.append(os.path.dirname(place))
        config = {
            "rung": self.rung,
            "modules": list(self.modules),
            "readable": readable,
            "paths": paths,
        }

        def command(control: int, owner: int) -> list[str]:
            filled = {**config, "control": control, "owner": owner}
            # -s -P and an environment of our own are -I, but for the seed of hashes: programs
            # that depend on the order of a set fare the same in every worker.
            arguments = [
                *(sys.executable, "-s", "-P", "-S", "-B", "-X", "utf8", "-c"),
                # Appended: the grading folder has a math.py of its own.
                f"import sys; sys.path.append({str(Path(__file__).parent)!r}); "
                f"from isolation.zygote import main; main({filled!r})",
            ]
            return wrap(arguments, paths) if self.backend == "bubblewrap" else arguments

        env = {"PYTHONHASHSEED": "0", "MALLOC_ARENA_MAX": "1"}
        env.update(dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"), "1"))
        return Worker(command, env)

    def probe(self) -> str:
        """Try what is forbidden, in a throw-away child; what is wrong with this rung, or ""."""

        def steps() -> Steps[str]:
            calls = [["probe", wire.dumps([os.getpid(), os.path.expanduser("~")])]]
            job = {"mode": "call", "program": PROGRAM, "calls": calls}
            outcome: Outcome = yield Launch((Child(job),), _PROBE_SECONDS, 256 * MIB)
            if outcome.error:
                return outcome.error
            (ended,) = outcome.children
            for reply in ended.replies:
                if "v" in reply:
                    done = wire.decode(reply["v"])
                    return f"a program could {', '.join(done)}" if done else ""
            return f"the probe did not answer: {ended.replies[-1:]}"

        return self.run_all([steps()])[0]


def _result(outcome: Outcome, is_call: bool) -> RunResult:
    (ended,) = outcome.children
    answers, value = ended.answers(), None
    reason = answers.get("load") or answers.get("x") or ""
    if is_call:
        answer = answers.get(0)
        try:
            if answer is not None and "v" in answer:
                value = wire.decode(answer["v"])
            else:
                reason = reason or ended.ending()
        except wire.NotPlain as error:
            reason = str(error)
    elif ended.stopped or ended.status:
        reason = reason or ended.ending()
    texts = (output.decode(errors="replace") for output in (ended.stdout, ended.stderr))
    return RunResult(reason, value, *texts)


def _library() -> list[str]:
    """The standard library's folders."""
    paths = (sysconfig.get_path(name) for name in ("stdlib", "platstdlib"))
    return list(dict.fromkeys(path for path in paths if path and os.path.isdir(path)))


_shared: dict[tuple[str, tuple[str, ...]], Sandbox] = {}
_lock = threading.Lock()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release)
    os.register_at_fork(after_in_child=_lock.release)


def default_sandbox(backend: str = "auto", modules: Sequence[str] = ()) -> Sandbox:
    """The sandbox that this process shares, made at the first call. Raises as `Sandbox` does."""
    key = (backend, tuple(modules))
    with _lock:
        if key not in _shared:
            _shared[key] = Sandbox(backend, modules=modules)
        return _shared[key]
