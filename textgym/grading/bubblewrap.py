"""The command that starts a fork-server in bubblewrap's namespaces, where bwrap is installed.

It adds a second, independent maker of the empty world; inside, Landlock and seccomp apply as ever.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from textgym.grading.pool import WorkerError

_SYSTEM = ("/usr", "/lib", "/lib32", "/lib64", "/bin")
"""Where the interpreter's shared libraries are; programs cannot read there."""


def wrap(command: list[str], folders: Sequence[str] = ()) -> list[str]:
    """The command within bwrap, which sees the interpreter and these folders.

    Raises:
        WorkerError: bwrap is not installed.
    """
    bwrap = shutil.which("bwrap")
    if bwrap is None:
        raise WorkerError("bwrap is not installed (the package is called bubblewrap)")
    # No --die-with-parent: it means the parent's thread, and any thread may start a worker. The
    # fork-server itself ends when its owner does; all else ends with it.
    arguments = [bwrap, "--new-session", "--unshare-ipc", "--unshare-pid", "--unshare-net"]
    arguments += ["--unshare-uts", "--unshare-cgroup-try", "--dev", "/dev", "--chdir", "/"]
    if os.geteuid() == 0:  # children become another user
        for name in ("CAP_SETUID", "CAP_SETGID", "CAP_KILL"):
            arguments += ["--cap-add", name]
    else:
        arguments.append("--unshare-user")
    places = [*_SYSTEM, sys.base_prefix, os.path.dirname(sys.executable)]
    places += [os.path.join(sys.prefix, "pyvenv.cfg"), str(Path(__file__).parent)]
    places += folders
    for place in dict.fromkeys(places):
        arguments += ["--ro-bind-try", place, place]
    return [*arguments, "--", *command]
