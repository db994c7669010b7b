"""What a child gives up before it runs a program, on each rung of the ladder.

    namespaces   namespaces + Landlock + seccomp
    landlock     Landlock + seccomp
    seccomp      seccomp, with every system call that takes a path denied
    none         resource limits only: no isolation

The fork-server does what can be done once (`Lockdown(...)`), each child the rest (`enter`).
"""

from __future__ import annotations

import os
import resource
import signal
import sys
from collections.abc import Sequence
from functools import partial

MIB = 1 << 20
RUNGS = ("namespaces", "landlock", "seccomp", "none")
MAX_THREADS = 64
_CAPABILITIES = 1 << 5 | 1 << 6 | 1 << 7 | 1 << 21
"""What the fork-server of root keeps: KILL, SETGID, SETUID, and SYS_ADMIN to clean /tmp."""


class Lockdown:
    """Takes from this process, the fork-server, what no child needs; prepares `enter`.

    Args:
        rung: one of RUNGS.
        readable: folders that programs may read: the standard library.

    Raises:
        OSError: this rung is not to be had here.
    """

    def __init__(self, rung: str, readable: Sequence[str]) -> None:
        self.rung = rung
        self._uids = _unused_ids() if os.geteuid() == 0 else ()
        self._world = self._landlock = self._filter = None
        self._server = os.getpid()
        self.home = "/"
        self._shared_limits()
        self._base = _address_space()
        if rung == "none":
            return
        from . import landlock, linux, namespaces, seccomp

        self._linux = linux
        self._is_root = os.geteuid() == 0
        self._high_id = self._drop_to_id_works()
        if rung == "namespaces":
            self._world = namespaces.enter(readable)
            self.home = self._world.path
        linux.set_capabilities(_CAPABILITIES & linux.capabilities())
        linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)
        linux.prctl(linux.PR_SET_DUMPABLE, 0)  # /proc/<pid> and ptrace are closed to its own user
        self._make_ruleset = partial(
            landlock.Ruleset, readable, [self.home] if self._world else [], ["/dev/null"]
        )
        if rung != "seccomp":
            self._landlock = self._make_ruleset()
        os.chdir(self.home)
        seccomp.restrict_server(files=rung != "seccomp")
        threads = not self._is_root or bool(self._uids)
        self._filter = seccomp.ChildFilter(threads)

    def _drop_to_id_works(self) -> bool:
        """Find out, in a throw-away child, which user ids root may become here; keep the first."""
        for uid in self._uids:
            pid = os.fork()
            if pid == 0:
                try:
                    self._drop_to(uid)
                    os._exit(0)
                finally:
                    os._exit(1)
            if os.waitpid(pid, 0)[1] == 0:
                self._uids = (uid,)
                return uid > 65535
        self._uids = ()
        return False

    @staticmethod
    def _drop_to(uid: int) -> None:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)

    def _shared_limits(self) -> None:
        """Limits that are the same for every child; the fork-server can live with them too."""
        for name, value in {
            "RLIMIT_CORE": 0,
            "RLIMIT_NOFILE": 64,
            "RLIMIT_FSIZE": 8 * MIB,
            "RLIMIT_STACK": 64 * MIB,
            "RLIMIT_MEMLOCK": 0,
            "RLIMIT_MSGQUEUE": 0,
        }.items():
            _limit(getattr(resource, name, None), value)

    def enter(self, memory: int, seconds: int) -> None:
        """Lock this process, a child, in, for good.

        Args:
            memory: bytes that it may map on top of what the interpreter has.
            seconds: of processor time, after which it is killed.

        Raises:
            OSError: something could not be given up: the child must not run anything.
        """
        os.setsid()
        _limit(resource.RLIMIT_AS, self._base + memory)
        # The hard limit sends SIGKILL, which is to mean a failure of the machine: out of reach.
        _limit(resource.RLIMIT_CPU, seconds, 1000 * seconds)
        if self.rung == "none":
            return
        linux = self._linux
        # Threads of a user are counted together. Where others may run under the same id, allow for
        # all that the machine runs now.
        _limit(resource.RLIMIT_NPROC, MAX_THREADS + (0 if self._high_id else linux.num_tasks()))
        if self._landlock is not None:
            self._landlock.restrict()
        for uid in self._uids:
            self._drop_to(uid)
        # After the change of ids, which resets it. In a namespace the parent shows as 0.
        linux.prctl(linux.PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() not in (0, self._server):
            raise OSError("the fork-server has ended")
        linux.set_capabilities(0)
        self._filter.restrict(os.getpid())

    def clean(self) -> None:
        """After a child's end: nothing that it left behind meets the next one. Raises OSError."""
        if self._world is not None and self._world.clean():
            self._landlock.close()  # it speaks of the folder that was
            self._landlock = self._make_ruleset()

    def end(self) -> None:
        """End what was started for the children."""
        if self._world is not None:
            self._world.end()


def _unused_ids() -> tuple[int, ...]:
    """User ids for the children of root, best first: of nobody else, this fork-server's own."""
    return (0x70000000 + os.getpid() % 0x100000, 64000 + os.getpid() % 1000, 65534)


def _limit(which: int | None, value: int, hard: int | None = None) -> None:
    if which is None:
        return
    hard, most = value if hard is None else hard, resource.getrlimit(which)[1]
    if most != resource.RLIM_INFINITY:
        value, hard = min(value, most), min(hard, most)
    try:
        resource.setrlimit(which, (value, hard))
    except (OSError, ValueError):
        if sys.platform == "linux":  # macOS refuses some
            raise


def _address_space() -> int:
    """Bytes that this process has mapped."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[0]) * resource.getpagesize()
    except OSError:
        return 64 * MIB
