"""Namespaces: a world with an empty file system, no network and no other processes.

Only the fork-server enters them; its children are born inside. Root makes them directly; an
ordinary user makes them inside a user namespace of its own.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence

from . import linux

_TEMPORARY_PLACES = ("/tmp", "/var/tmp", "/temporary")
_TEMPORARY_SIZE = "size=16m,nr_inodes=1024,mode=1777"

_KEPT = {
    os.ST_NOSUID: linux.MS_NOSUID,
    os.ST_NODEV: linux.MS_NODEV,
    os.ST_NOEXEC: linux.MS_NOEXEC,
    os.ST_NOATIME: 1024,
    os.ST_NODIRATIME: 2048,
    os.ST_RELATIME: 1 << 21,
}
"""Flags of a mount that a user namespace may not take off, as statvfs and as mount name them."""


def enter(readable: Sequence[str]) -> World:
    """Move into new namespaces, in whose file system there are `readable` and an empty /tmp.

    Children that are forked from now on are in a process namespace whose first process ends when
    this process ends, and takes all of them with it.

    Args:
        readable: absolute paths of folders, mounted read-only in their places.

    Returns:
        What the fork-server looks after. Its folder is /tmp, or another if the library is there.

    Raises:
        OSError: the kernel, or a policy, does not let this user do so.
    """
    uid, gid = os.geteuid(), os.getegid()
    flags = linux.CLONE_NEWNS | linux.CLONE_NEWPID | linux.CLONE_NEWNET | linux.CLONE_NEWIPC
    flags |= linux.CLONE_NEWUTS | linux.CLONE_NEWCGROUP
    linux.unshare(flags if uid == 0 else flags | linux.CLONE_NEWUSER)
    if uid != 0:
        for name, text in (
            ("setgroups", "deny"),
            ("uid_map", f"{uid} {uid} 1"),
            ("gid_map", f"{gid} {gid} 1"),
        ):
            with open(f"/proc/self/{name}", "w") as file:
                file.write(text)
    temporary = next(
        place
        for place in _TEMPORARY_PLACES
        if not any(path.startswith(f"{place}/") for path in readable)
    )
    _build_root(readable, temporary)
    first = _start_first_process()
    return World(temporary, first)


def _build_root(readable: Sequence[str], temporary: str) -> None:
    linux.mount("none", "/", None, linux.MS_REC | linux.MS_PRIVATE)
    # Opened before the new root hides them.
    sources = {path: os.open(path, os.O_PATH) for path in (*readable, "/dev/null")}
    root = next(path for path in ("/tmp", "/var/tmp", "/dev/shm", "/mnt") if os.path.isdir(path))
    plain = linux.MS_NOSUID | linux.MS_NODEV
    linux.mount("none", root, "tmpfs", plain, "size=1m,nr_inodes=256,mode=755")
    for path, fd in sources.items():
        target = root + path
        os.makedirs(os.path.dirname(target), exist_ok=True)
        if path == "/dev/null":
            os.close(os.open(target, os.O_CREAT | os.O_WRONLY))
        else:
            os.makedirs(target, exist_ok=True)
        linux.mount(f"/proc/self/fd/{fd}", target, None, linux.MS_BIND)
        flags = linux.MS_REMOUNT | linux.MS_BIND | linux.MS_NOSUID
        if path != "/dev/null":
            flags |= linux.MS_RDONLY | linux.MS_NODEV
        held = os.statvfs(target).f_flag
        flags |= sum(flag for bit, flag in _KEPT.items() if held & bit and not flags & flag)
        linux.mount("none", target, None, flags)
        os.close(fd)
    os.makedirs(root + temporary, exist_ok=True)
    os.chdir(root)
    linux.syscall("pivot_root", b".", b".")
    linux.unmount(".")
    os.chdir("/")
    linux.mount("none", "/", None, linux.MS_REMOUNT | linux.MS_RDONLY | plain, "mode=755")


def _start_first_process() -> int:
    """Fork the namespace's process 1, which only waits; when it ends, the kernel kills the rest."""
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        try:
            linux.prctl(linux.PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() not in (0, parent):
                os._exit(1)
            os.closerange(0, 64)
            while True:
                signal.pause()
        finally:
            os._exit(1)
    return pid


class World:
    """The children's world: a writable folder, in memory, and their first process.

    Args:
        path: of the folder.
        first: process id.
    """

    def __init__(self, path: str, first: int) -> None:
        self.path, self._first = path, first
        self._mount()

    def end(self) -> None:
        """End the first process, and with it all others."""
        os.kill(self._first, signal.SIGKILL)
        os.waitpid(self._first, 0)

    def _mount(self) -> None:
        flags = linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC
        linux.mount("none", self.path, "tmpfs", flags, _TEMPORARY_SIZE)
        os.chdir(self.path)  # of the new mount, not of the one that it hides
        self._changed = os.stat(self.path).st_ctime_ns

    def clean(self) -> bool:
        """Make the folder anew if a child left anything in it; whether one did. Raises OSError."""
        # The time of change tells what a listing does not: permissions and attributes.
        if os.listdir(self.path) or os.stat(self.path).st_ctime_ns != self._changed:
            linux.unmount(self.path)
            self._mount()
            return True
        return False
