"""A Python interpreter that another user of this machine can run, with our packages."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
NEEDED = ("textgym", "benchmarks", "tests/textgym/grading/attacks")
CHECK = "import numpy, gymnasium"


@contextmanager
def command_for(uid: int | None) -> Iterator[tuple[list[str], dict[str, str]]]:
    """The interpreter's command and environment for a child that will become this user.

    With a user id, the project's files and, where needed, the interpreter are copied to a temporary
    folder which that user can read.
    """
    if uid is None:
        yield [sys.executable], {**os.environ, "PYTHONPATH": str(REPOSITORY)}
        return
    with tempfile.TemporaryDirectory(prefix="readable_") as name:
        folder = Path(name)
        folder.chmod(0o755)
        for part in NEEDED:
            ignored = shutil.ignore_patterns("__pycache__", "results", "assets")
            shutil.copytree(REPOSITORY / part, folder / "project" / part, ignore=ignored)
        paths = [str(folder / "project"), *(p for p in sys.path if p.endswith("site-packages"))]
        environment = {"PATH": os.defpath, "PYTHONPATH": os.pathsep.join(paths)}
        environment["PYTHONDONTWRITEBYTECODE"] = "1"
        yield [_interpreter(uid, environment, folder)], environment


def _interpreter(uid: int, environment: dict[str, str], folder: Path) -> str:
    """This interpreter, the system's of the same version, or a copy of this one."""
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    here = os.path.realpath(sys.executable)
    for candidate in (here, shutil.which(version, path=os.defpath)):
        if candidate and _runs(candidate, uid, environment):
            return candidate
    base = Path(sys.base_prefix)
    ignored = shutil.ignore_patterns("site-packages", "test", "__pycache__", "config-*", "*.a")
    copy = folder / "python"
    for part in ("bin", "lib"):
        shutil.copytree(base / part, copy / part, symlinks=True, ignore=ignored)
    candidate = str(copy / Path(here).relative_to(base))
    if not _runs(candidate, uid, environment):
        raise RuntimeError(f"user {uid} can run no Python {version} that imports our packages")
    return candidate


def _runs(interpreter: str, uid: int, environment: dict[str, str]) -> bool:
    try:
        done = subprocess.run(
            [interpreter, "-c", CHECK],
            env=environment,
            user=uid,
            group=uid,
            extra_groups=[],
            cwd="/",
            capture_output=True,
        )
    except OSError:
        return False
    return done.returncode == 0
