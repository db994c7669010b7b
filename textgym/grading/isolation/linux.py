"""System calls that Python has no name for, by ctypes. Loaded on Linux only."""

from __future__ import annotations

import ctypes
import os
import platform

MACHINE = platform.machine()
MACHINES = ("x86_64", "aarch64")

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_NO_NEW_PRIVS = 1, 4, 38
CLONE_NEWNS, CLONE_NEWCGROUP, CLONE_NEWUTS = 0x00020000, 0x02000000, 0x04000000
CLONE_NEWIPC, CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = (
    0x08000000,
    0x10000000,
    0x20000000,
    0x40000000,
)
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT = 1, 2, 4, 8, 32
MS_BIND, MS_REC, MS_PRIVATE = 4096, 16384, 1 << 18
MNT_DETACH = 2
_CAPABILITY_VERSION = 0x20080522

_NUMBERS = {  # x86_64, aarch64
    "pivot_root": (155, 41),
    "capget": (125, 90),
    "capset": (126, 91),
    "seccomp": (317, 277),
    "landlock_create_ruleset": (444, 444),
    "landlock_add_rule": (445, 445),
    "landlock_restrict_self": (446, 446),
}

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def check(result: int, what: str) -> int:
    """The result of a system call, or the OSError that -1 stands for."""
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def syscall(name: str, *arguments: object) -> int:
    """One of the calls above; integers go in as 64 bits.

    Raises:
        OSError: the kernel refused.
    """
    number = _NUMBERS[name][MACHINES.index(MACHINE)]
    words = [ctypes.c_long(word) if isinstance(word, int) else word for word in arguments]
    return check(_libc.syscall(ctypes.c_long(number), *words), name)


def prctl(option: int, argument: int) -> None:
    """Set a property of this process, see the manual of prctl. Raises OSError."""
    words = [ctypes.c_ulong(word) for word in (argument, 0, 0, 0)]
    check(_libc.prctl(option, *words), f"prctl {option}")


def unshare(flags: int) -> None:
    """Leave namespaces for new ones (os.unshare is of Python 3.12). Raises OSError."""
    check(_libc.unshare(flags), "unshare")


def mount(source: str, target: str, kind: str | None, flags: int, options: str = "") -> None:
    """Mount a file system, see the manual of mount. Raises OSError."""
    texts = [None if text is None else text.encode() for text in (source, target, kind)]
    result = _libc.mount(*texts, ctypes.c_ulong(flags), options.encode() or None)
    check(result, f"mount {target}")


def unmount(target: str) -> None:
    """Take a mount away now, even where something still has it open. Raises OSError."""
    check(_libc.umount2(target.encode(), MNT_DETACH), f"umount {target}")


def capabilities() -> int:
    """The capabilities that this process may use, a bit each. Raises OSError."""
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0)
    sets = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable; low words, then high
    syscall("capget", header, sets)
    return sets[1] | sets[4] << 32


def set_capabilities(mask: int) -> None:
    """Keep these capabilities (a bit each) and no others. Raises OSError."""
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0)
    low, high = mask & 0xFFFFFFFF, mask >> 32
    syscall("capset", header, (ctypes.c_uint32 * 6)(low, low, 0, high, high, 0))


def num_tasks() -> int:
    """Threads that the machine runs now (sysinfo's procs). Raises OSError."""
    buffer = ctypes.create_string_buffer(256)
    check(_libc.sysinfo(buffer), "sysinfo")
    return int.from_bytes(buffer.raw[80:82], "little")
