"""An outer cage for executors that have none: hostile programs may win in here and hurt nothing.

A function runs as an unused user in new mount, pid, network and IPC namespaces, with empty
temporary folders of bounded size, few processes and a deadline. When the cage's first process
ends, the kernel ends all others in it. Linux, as root.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import resource
import secrets
import select
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

UID = 64123  # an id that no account uses
NAMESPACES = 0x00020000 | 0x20000000 | 0x40000000 | 0x08000000 | 0x04000000  # mnt pid net ipc uts
MS_BIND, MS_REC, MS_PRIVATE, MS_NOSUID, MS_NODEV = 4096, 16384, 1 << 18, 2, 4
EMPTIED = ("/tmp", "/var/tmp", "/dev/shm", "/run", "/root")
MEMORY = 6 << 30  # more than any executor sets by itself
libc = ctypes.CDLL(None, use_errno=True)


def caged(function: Callable[[], Any], *, keep: Sequence[Path], seconds: float) -> Any:
    """What `function` returns (as JSON) from inside the cage, or None if it did not live to say so.

    Args:
        function: Called in the cage as user 64123.
        keep: Folders that stay visible at their own paths, although a parent is emptied.
        seconds: The cage ends after so long.
    """
    if os.geteuid():
        raise PermissionError("the cage needs root: it makes namespaces and changes its user")
    nonce = secrets.token_hex(16)
    reading, writing = os.pipe()
    outer = os.fork()
    if outer == 0:
        try:
            os.close(reading)
            os.setsid()
            _check(libc.unshare(NAMESPACES), "unshare")
            first = os.fork()
            if first == 0:
                _first_process(function, keep, writing, nonce)
            os.close(writing)
            os.waitpid(first, 0)
        finally:
            os._exit(0)
    os.close(writing)
    text = _read(reading, time.monotonic() + seconds)
    os.close(reading)
    _end(outer)
    for line in text.decode("utf-8", "replace").splitlines():
        if nonce in line:
            return json.loads(line[line.index(nonce) + len(nonce) :])
    return None


def _end(outer: int) -> None:
    """Kill the cage's first process, and with it all that is in it."""
    with suppress(FileNotFoundError, ProcessLookupError):  # it may have ended by itself
        for child in Path(f"/proc/{outer}/task/{outer}/children").read_text().split():
            os.kill(int(child), signal.SIGKILL)
    os.waitpid(outer, 0)


def _read(pipe: int, end: float) -> bytes:
    text = b""
    while (left := end - time.monotonic()) > 0 and len(text) < (1 << 26):
        if not select.select([pipe], [], [], left)[0]:
            break
        chunk = os.read(pipe, 1 << 16)
        if not chunk:
            break
        text += chunk
    return text


def _first_process(function: Callable[[], Any], keep: Sequence[Path], out: int, nonce: str) -> None:
    """Pid 1 of the cage: furnish it, start the trainer, wait for it."""
    try:
        _furnish(keep)
        # A number that no process in a sandbox of its own has: "the trainer" must not be itself.
        Path("/proc/sys/kernel/ns_last_pid").write_text("30000")
        trainer = os.fork()
        if trainer == 0:
            os.setpgid(0, 0)
            _become_nobody()
            value = function()
            os.write(out, f"\n{nonce}{json.dumps(value)}\n".encode())
            os._exit(0)
        os.close(out)
        while os.wait()[0] != trainer:
            pass
    except BaseException as error:
        print(f"the cage failed: {error!r}", file=sys.stderr)
    finally:
        os._exit(0)


def _furnish(keep: Sequence[Path]) -> None:
    _check(libc.mount(None, b"/", None, MS_REC | MS_PRIVATE, None), "make mounts private")
    kept = [(path, os.open(path, os.O_PATH)) for path in dict.fromkeys(keep)]
    for place in EMPTIED:
        mode = b"755" if place == "/root" else b"1777"
        options = b"size=700m,nr_inodes=60k,mode=" + mode
        _check(libc.mount(b"tmpfs", place.encode(), b"tmpfs", MS_NOSUID, options), place)
    for path, opened in kept:
        path.mkdir(parents=True, exist_ok=True)
        source = f"/proc/self/fd/{opened}".encode()
        _check(libc.mount(source, str(path).encode(), None, MS_BIND | MS_REC, None), str(path))
        os.close(opened)
    _check(libc.mount(b"proc", b"/proc", b"proc", MS_NOSUID | MS_NODEV, None), "/proc")
    with socket.socket() as control:  # bring the loopback device up
        request = struct.pack("16sh22x", b"lo", 1 | 64)
        fcntl.ioctl(control, 0x8914, request)


def _become_nobody() -> None:
    resource.setrlimit(resource.RLIMIT_NPROC, (400, 400))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.setgroups([])
    os.setresgid(UID, UID, UID)
    os.setresuid(UID, UID, UID)
    libc.prctl(4, 1, 0, 0, 0)  # dumpable again, as the trainer of an ordinary user is
    quiet = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(quiet, number)
    os.environ.update(HOME="/tmp", TMPDIR="/tmp")
    os.chdir("/tmp")


def _check(status: int, what: str) -> None:
    if status != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
