"""A seccomp filter made by hand: the system calls that an honest Python program needs, no others.

Two filters, because loading a long one costs as much as the rest of the lock-down. The first, an
allow-list, binds the fork-server once and with it every child. The second, short, is loaded by each
child: it takes away what only the fork-server needs, such as fork, kill and mount. Both also bind
every thread. A foreign instruction set (32 bit, x32) kills the process.
"""

from __future__ import annotations

import ctypes
import errno
import struct
from collections.abc import Sequence

from . import linux

_ARCHITECTURE = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}  # AUDIT_ARCH_*
_X32_BIT = 0x40000000
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _KILL, _FAIL = 0x7FFF0000, 0x80000000, 0x00050000
_SET_MODE_FILTER = 1

# x86_64 number / aarch64 number; "-" where an architecture lacks the call.
_RUN = """
read=0/63 write=1/64 readv=19/65 writev=20/66 pread64=17/67 pwrite64=18/68 close=3/57
close_range=436/436 lseek=8/62 fstat=5/80 munmap=11/215 mremap=25/216 madvise=28/233
brk=12/214 futex=202/98 rt_sigaction=13/134 rt_sigprocmask=14/135 rt_sigreturn=15/139
rt_sigpending=127/136 rt_sigtimedwait=128/137 rt_sigsuspend=130/133 sigaltstack=131/132
pause=34/- alarm=37/- getitimer=36/102 setitimer=38/103 pipe=22/- pipe2=293/59 select=23/-
pselect6=270/72 poll=7/- ppoll=271/73 epoll_create=213/- epoll_create1=291/20 epoll_ctl=233/21
epoll_wait=232/- epoll_pwait=281/22 eventfd2=290/19 dup=32/23 dup2=33/- dup3=292/24
nanosleep=35/101 clock_nanosleep=230/115 clock_gettime=228/113 clock_getres=229/114
gettimeofday=96/169 time=201/- times=100/153 getpid=39/172 getppid=110/173 gettid=186/178
getuid=102/174 geteuid=107/175 getgid=104/176 getegid=108/177 getresuid=118/148
getresgid=120/150 getgroups=115/158 getpgrp=111/- getpgid=121/155 getsid=124/156
getpriority=140/141 getrusage=98/165 getrlimit=97/163 sysinfo=99/179 uname=63/160
getrandom=318/278 set_robust_list=273/99 set_tid_address=218/96 rseq=334/293
restart_syscall=219/128 sched_yield=24/124 sched_getaffinity=204/123 sched_getparam=143/121
sched_getscheduler=145/120 sched_get_priority_max=146/125 sched_get_priority_min=147/126
membarrier=324/283 getcpu=309/168 exit=60/93 exit_group=231/94 recvfrom=45/207
getsockname=51/204 getpeername=52/205 getsockopt=55/209 shutdown=48/210 capget=125/90
umask=95/166 getcwd=79/17
"""
_FILES = """
openat=257/56 open=2/- stat=4/- lstat=6/- newfstatat=262/79 statx=332/291 access=21/-
faccessat=269/48 faccessat2=439/439 readlink=89/- readlinkat=267/78 getdents=78/-
getdents64=217/61 mkdir=83/- mkdirat=258/34 unlink=87/- unlinkat=263/35 rmdir=84/- rename=82/-
renameat=264/38 renameat2=316/276 ftruncate=77/46 fsync=74/82 fdatasync=75/83 chdir=80/49
fchdir=81/50 fstatfs=138/44 statfs=137/43
"""
_SERVE = """
recvmsg=47/212 sendmsg=46/211 wait4=61/260 waitid=247/95 kill=62/129 setsid=112/157
setrlimit=160/164 setgroups=116/159 setresuid=117/147 setresgid=119/149 capset=126/91
seccomp=317/277 landlock_create_ruleset=444/444 landlock_add_rule=445/445
landlock_restrict_self=446/446 mount=165/40 umount2=166/39
"""
_FILTERED = """
mmap=9/222 mprotect=10/226 ioctl=16/29 fcntl=72/25 clone=56/220 clone3=435/435 tgkill=234/131
prlimit64=302/261 prctl=157/167 socketpair=53/199 sendto=44/206 newfstatat=262/79
"""

_PROT_EXEC, _AT_EMPTY_PATH, _AF_UNIX = 4, 0x1000, 1
_CLONE_THREAD, _CLONE_NEW = 0x00010000, 0x7E020080
_SIGKILL, _SIGSTOP = 9, 19
_IOCTLS = (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)
"""TCGETS and TIOCGWINSZ (is it a terminal?), FIONREAD, FIONBIO, FIONCLEX, FIOCLEX."""
_FCNTLS = (0, 1, 2, 3, 4, 1030)
"""F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_DUPFD_CLOEXEC: not F_SETOWN, F_SETPIPE_SZ."""
_PRCTLS = (15, 16)
"""PR_SET_NAME, PR_GET_NAME."""

Code = list[tuple[int, int, int, int]]
"""Instructions: code, jump if true, jump if false, operand."""


def _numbers(table: str) -> dict[str, int]:
    column = linux.MACHINES.index(linux.MACHINE)
    pairs = (entry.split("=") for entry in table.split())
    found = {name: numbers.split("/")[column] for name, numbers in pairs}
    return {name: int(number) for name, number in found.items() if number != "-"}


def _fail(error: int = errno.EPERM) -> tuple[int, int, int, int]:
    return (_RETURN, 0, 0, _FAIL | error)


_PASS = (_RETURN, 0, 0, _ALLOW)


def _argument(index: int, high: bool = False) -> tuple[int, int, int, int]:
    """Load half of an argument of the call (both machines are little-endian)."""
    return (_LOAD, 0, 0, 16 + 8 * index + 4 * high)


def _one_of(index: int, values: Sequence[int]) -> Code:
    """Allow if the argument is one of the values."""
    tests = [test for value in values for test in ((_EQUAL, 0, 1, value), _PASS)]
    return [_argument(index), *tests, _fail()]


def _without(index: int, bits: int) -> Code:
    """Allow if the argument has none of the bits."""
    return [_argument(index), (_ANY_BIT, 0, 1, bits), _fail(), _PASS]


def _with(index: int, bits: int, error: int = errno.EPERM) -> Code:
    """Allow if the argument has one of the bits."""
    return [_argument(index), (_ANY_BIT, 1, 0, bits), _fail(error), _PASS]


def _null(index: int) -> Code:
    """Allow if the argument, a pointer, is null."""
    halves = (_argument(index), (_EQUAL, 1, 0, 0), _fail())
    return [*halves, _argument(index, True), *halves[1:], _PASS]


def _program(rules: dict[int, Code], default: tuple[int, int, int, int]) -> Code:
    """Which rule for which system call: arch and number are checked first."""
    start: Code = [
        (_LOAD, 0, 0, 4),
        (_EQUAL, 1, 0, _ARCHITECTURE[linux.MACHINE]),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, 0),
    ]
    if linux.MACHINE == "x86_64":
        start += [(_AT_LEAST, 0, 1, _X32_BIT), (_RETURN, 0, 0, _KILL)]
    body = [
        step for number, rule in rules.items() for step in ((_EQUAL, 0, len(rule), number), *rule)
    ]
    return [*start, *body, default]


def _pack(code: Code) -> bytes:
    return b"".join(struct.pack("=HBBI", *step) for step in code)


def _load(code: bytes) -> None:
    class Program(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_char_p)]

    program = Program(len(code) // 8, code)
    linux.syscall("seccomp", _SET_MODE_FILTER, 0, ctypes.byref(program))


def restrict_server(files: bool) -> None:
    """Bind the fork-server and all its children to the allow-list. Needs no_new_privs.

    Args:
        files: whether system calls that take a path are allowed.

    Raises:
        OSError: the kernel has no seccomp filters.
    """
    tables = (_RUN, _SERVE, _FILES) if files else (_RUN, _SERVE)
    rules: dict[int, Code] = {
        number: [_PASS] for table in tables for number in _numbers(table).values()
    }
    filtered = _numbers(_FILTERED)
    for name, rule in {
        "mmap": _without(2, _PROT_EXEC),
        "mprotect": _without(2, _PROT_EXEC),
        "ioctl": _one_of(1, _IOCTLS),
        "fcntl": _one_of(1, _FCNTLS),
        "clone": _without(0, _CLONE_NEW),
        "clone3": [_fail(errno.ENOSYS)],  # glibc then uses clone, whose flags a filter can see
        "socketpair": _one_of(0, [_AF_UNIX]),
        "sendto": _null(4),
        "tgkill": [_PASS],
        "prlimit64": [_PASS],
        "prctl": [_PASS],
    }.items():
        rules[filtered[name]] = rule
    if not files:
        # glibc's fstat; with a path beside the flag it tells of a file, but opens none.
        rules[filtered["newfstatat"]] = _with(3, _AT_EMPTY_PATH, errno.EACCES)
        for name, number in _numbers(_FILES).items():
            if name != "newfstatat":
                rules[number] = [_fail(errno.EACCES)]
    _load(_pack(_program(rules, _fail())))


class ChildFilter:
    """The second filter, made once and loaded by each child after its process id is filled in.

    Args:
        threads: whether the child may start threads.
    """

    _PLACE = 0x7FFFFFF1
    """Stands for the process id until a child knows its own."""

    def __init__(self, threads: bool = True) -> None:
        filtered = _numbers(_FILTERED)
        rules: dict[int, Code] = {number: [_fail()] for number in _numbers(_SERVE).values()}
        rules[filtered["clone"]] = _with(0, _CLONE_THREAD) if threads else [_fail()]
        rules[filtered["prlimit64"]] = _null(2)  # limits may be read
        rules[filtered["prctl"]] = _one_of(0, _PRCTLS)
        # A signal to itself, but none by which the operating system ends a process for its own
        # reasons: SIGKILL from nowhere is a failure of the machine, not of the program.
        rules[filtered["tgkill"]] = [
            _argument(0),
            (_EQUAL, 1, 0, self._PLACE),
            _fail(),
            _argument(2),
            (_EQUAL, 0, 1, _SIGKILL),
            _fail(),
            (_EQUAL, 0, 1, _SIGSTOP),
            _fail(),
            _PASS,
        ]
        self._code = _pack(_program(rules, _PASS))
        self._place = struct.pack("=I", self._PLACE)

    def restrict(self, pid: int) -> None:
        """Bind this process, for good. Raises OSError."""
        _load(self._code.replace(self._place, struct.pack("=I", pid)))
