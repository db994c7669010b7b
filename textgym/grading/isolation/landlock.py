"""Landlock: a process gives up the file system, but for the folders named, and TCP and signals.

Kernel interface: include/uapi/linux/landlock.h, Documentation/userspace-api/landlock.rst. What the
kernel offers grows with its ABI version; all that it has is asked for.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence

from . import linux

_VERSION = 1  # LANDLOCK_CREATE_RULESET_VERSION
_PATH_BENEATH = 1
_READ_FILE, _READ_DIR = 1 << 2, 1 << 3
_WRITE = 1 << 1 | _READ_FILE | _READ_DIR | 1 << 4 | 1 << 5 | 1 << 7 | 1 << 8
"""Write, remove a file or folder, make a folder or file: not links, sockets, pipes, devices."""
_TRUNCATE = 1 << 14
_NUM_ACCESS = {1: 13, 2: 14, 3: 15, 4: 15}  # from 5 on: 16, with device ioctls


class Ruleset:
    """A file descriptor which a process applies to itself by `restrict`.

    Args:
        readable: folders and files that stay readable.
        writable: folders in which files and folders may be made, written and removed.
        devices: character devices which may be read and written.

    Raises:
        OSError: the kernel has no Landlock.
    """

    def __init__(
        self, readable: Sequence[str], writable: Sequence[str], devices: Sequence[str] = ()
    ) -> None:
        version = linux.syscall("landlock_create_ruleset", 0, 0, _VERSION)
        handled = (1 << _NUM_ACCESS.get(version, 16)) - 1
        words = [handled]
        if version >= 4:
            words.append(0b11)  # TCP bind and connect
        if version >= 6:
            words.append(0b11)  # abstract unix sockets and signals that leave the sandbox
        attribute = (ctypes.c_uint64 * len(words))(*words)
        self.fd = linux.syscall("landlock_create_ruleset", attribute, ctypes.sizeof(attribute), 0)
        for paths, access in (
            (readable, _READ_FILE | _READ_DIR),
            (writable, _WRITE | _TRUNCATE),
            (devices, _READ_FILE | 1 << 1),
        ):
            for path in paths:
                self._allow(path, access & handled)

    def _allow(self, path: str, access: int) -> None:
        try:
            fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            return  # what is not there needs no rule
        try:
            if not os.path.isdir(path):
                access &= _READ_FILE | 1 << 1 | _TRUNCATE
            rule = access.to_bytes(8, "little") + fd.to_bytes(4, "little")  # packed
            linux.syscall("landlock_add_rule", self.fd, _PATH_BENEATH, rule, 0)
        finally:
            os.close(fd)

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self.fd)

    def restrict(self) -> None:
        """Bind this process, for good, and all that it starts. Needs no_new_privs."""
        linux.syscall("landlock_restrict_self", self.fd, 0)
