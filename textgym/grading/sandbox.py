"""A sandbox for untrusted Python programs, with nothing but Python on Linux."""

from __future__ import annotations

import importlib.util
import os
import sys
import sysconfig
import threading
from collections.abc import Sequence
from pathlib import Path

from textgym.grading.isolation import wire
from textgym.grading.isolation.probe import PROGRAM
from textgym.grading.pool import MIB, Child, Launch, Outcome, Pool, Steps, T, Worker, WorkerError

BACKENDS = ("auto", "bubblewrap", "unsafe-subprocess")
LADDER = ("namespaces", "landlock", "seccomp")
"""The embedded sandbox's rungs, best first."""

_PROBE_SECONDS = 30.0


class SandboxUnavailable(RuntimeError):
    """This machine cannot isolate untrusted programs; the message says what to do."""


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
            rungs = LADDER if rung is None else (rung,)
        for self.rung in rungs:
            self.pool = Pool(self._make_worker, num_workers)
            problem = "" if self.rung == "none" else self._probe()
            if not problem:
                break
            self.reasons[self.rung] = problem
            self.pool.close()
        else:
            tried = "; ".join(f"{rung}: {why}" for rung, why in self.reasons.items())
            raise SandboxUnavailable(
                f"untrusted programs cannot be isolated on this machine ({tried}). Use Linux 5.13 "
                'or later on x86-64 or aarch64, or say sandbox="unsafe-subprocess", which does not '
                "protect this machine from the programs"
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
            return [
                *(sys.executable, "-s", "-P", "-S", "-B", "-X", "utf8", "-c"),
                # Appended: the grading folder has a math.py of its own.
                f"import sys; sys.path.append({str(Path(__file__).parent)!r}); "
                f"from isolation.zygote import main; main({filled!r})",
            ]

        env = {"PYTHONHASHSEED": "0", "MALLOC_ARENA_MAX": "1"}
        env.update(dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"), "1"))
        return Worker(command, env)

    def _probe(self) -> str:
        """Try what is forbidden in a throw-away child; what is wrong with this rung, or ""."""

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
