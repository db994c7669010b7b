"""The host that hostile programs attack: canaries, secrets, listeners, a trainer that notices.

Everything lies in one temporary folder and in names that carry a program's mark, so that damage
can be told, attributed and removed.
"""

from __future__ import annotations

import os
import resource
import secrets
import shutil
import signal
import site
import socket
import tempfile
import threading
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from benchmarks.attacks import Program

CANARY = "untouched\n"
KEY = 0x7E57  # of the corpus' System V objects
MEMORY_GROWTH = 200  # MiB by which the trainer may grow: no output limit should be near it
SIGNALS = (signal.SIGURG, signal.SIGWINCH, signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP)
REPOSITORY = Path(__file__).resolve().parent.parent


class Yard:
    """A trainer's surroundings. Make it in the grading process; `damage()` tells what changed."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="yard_"))
        self.secret = "SEKRIT-" + secrets.token_hex(16)
        self.mark = f"tg_{secrets.token_hex(2)}"  # of this yard's files and processes
        self.heard: list[str] = []
        self.folder.chmod(0o777)
        self.secret_file = self.folder / "secret.txt"
        self.secret_file.write_text(self.secret + "\n")
        self.secret_file.chmod(0o666)
        os.environ["TEXTGYM_CANARY"] = self.secret
        self._canaries: dict[Path, os.stat_result] = {}
        self._names: dict[str, str] = {}
        self._listen()
        for number in SIGNALS:
            signal.signal(number, lambda n, frame: self.heard.append(f"signal {n}"))
        self._state = process_state()
        self._shared = shared_objects()
        self._memory = peak_memory()

    def _listen(self) -> None:
        """One listener of each kind; what they hear goes to `heard`, with the sender's name."""
        self.tcp = socket.create_server(("127.0.0.1", 0))
        self.udp = socket.socket(type=socket.SOCK_DGRAM)
        self.udp.bind(("127.0.0.1", 0))
        self.unix = socket.socket(socket.AF_UNIX)
        self.unix.bind(str(self.folder / "unix"))
        self.datagram = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.datagram.bind(str(self.folder / "unix.dgram"))
        self.abstract_name = f"yard_{secrets.token_hex(8)}"
        self.abstract = socket.socket(socket.AF_UNIX)
        self.abstract.bind(f"\0{self.abstract_name}")
        self.abstract_datagram = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.abstract_datagram.bind(f"\0{self.abstract_name}.dgram")
        for path in self.folder.iterdir():
            path.chmod(0o777)
        for listener in (self.unix, self.abstract):
            listener.listen()
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.free_port = free.getsockname()[1]
        for listener in (self.tcp, self.unix, self.abstract):
            threading.Thread(target=self._accept, args=(listener,), daemon=True).start()
        for listener in (self.udp, self.datagram, self.abstract_datagram):
            threading.Thread(target=self._receive, args=(listener,), daemon=True).start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            connection, _ = listener.accept()
            connection.settimeout(0.3)
            text = b""
            with suppress(OSError), connection:
                text = connection.recv(200)
            self.heard.append(f"a connection {text!r}")

    def _receive(self, listener: socket.socket) -> None:
        while True:
            self.heard.append(f"a datagram {listener.recv(200)!r}")

    def values(self, program: Program) -> dict[str, str]:
        """The placeholders of a program's source, its canary among them."""
        home = self.folder / "home" / program.name
        home.mkdir(parents=True, exist_ok=True)
        canary = home / "canary.txt"
        if canary not in self._canaries:
            canary.write_text(CANARY)
            for path in (canary, home, home.parent):
                path.chmod(0o777)
            self._canaries[canary] = canary.stat()
        mark = f"{self.mark}{zlib.crc32(program.name.encode()):08x}"  # fits a process's name
        self._names[mark] = program.name
        return {
            **{"CANARY": str(canary), "SECRET_FILE": str(self.secret_file), "YARD": str(home)},
            **{"SECRET": self.secret, "TRAINER": str(os.getpid()), "GROUP": str(os.getpgid(0))},
            **{"TCP": str(self.tcp.getsockname()[1]), "UDP": str(self.udp.getsockname()[1])},
            **{"UNIX": str(self.folder / "unix"), "ABSTRACT": self.abstract_name},
            **{"FREE": str(self.free_port), "NETNS": os.readlink("/proc/self/ns/net")},
            **{"MARK": mark, "SITE": site.getsitepackages()[0], "REPOSITORY": str(REPOSITORY)},
        }

    def damage(self) -> list[str]:
        """One line for each thing that is not as it was; then the yard is put right again."""
        found = []
        for canary, before in self._canaries.items():
            try:
                same = canary.read_text() == CANARY
                now = canary.stat()
                same = same and (now.st_mode, now.st_uid) == (before.st_mode, before.st_uid)
                same = same and now.st_mtime_ns == before.st_mtime_ns
                same = same and os.listdir(canary.parent) == [canary.name]
            except OSError:
                same = False
            if not same:
                found.append(f"canary of {canary.parent.name} changed")
        for path in marked_files(self.mark):
            found.append(f"file planted: {path} by {self._who(path)}")
            remove(path)
        for name in marked_processes(self.mark):
            found.append(f"process left: {name} by {self._who(name)}")
        found += [f"the trainer heard {what}" for what in self.heard]
        state = process_state()
        found += [f"{k} of the trainer changed" for k in state if state[k] != self._state[k]]
        if shared_objects() != self._shared:
            found.append("System V objects left")
        if (grown := peak_memory() - self._memory) > MEMORY_GROWTH:
            found.append(f"the trainer grew by {grown} MiB")
        self.heard.clear()
        self._state, self._shared, self._memory = state, shared_objects(), peak_memory()
        for canary in list(self._canaries):
            shutil.rmtree(canary.parent, ignore_errors=True)
        self._canaries.clear()
        return found

    def _who(self, text: str) -> str:
        """The program whose mark is in a name."""
        return next((name for mark, name in self._names.items() if mark in text), "someone")

    def close(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)


def process_state() -> dict[str, object]:
    """What another process could change in this one."""
    limits = [resource.getrlimit(number) for number in range(16)]
    return {
        "limits": limits,
        "priority": os.getpriority(os.PRIO_PROCESS, 0),
        "affinity": os.sched_getaffinity(0),
        "scheduler": os.sched_getscheduler(0),
        "folder": os.getcwd(),
        "environment": dict(os.environ),
        "tracer": next(line for line in open("/proc/self/status") if line.startswith("Tracer")),
    }


def marked_files(mark: str) -> Iterator[str]:
    """Files that carry the mark, in every place where the corpus plants some."""
    places = {"/tmp", "/var/tmp", "/dev/shm", "/run", "/run/lock", "/", "/etc", "/usr/local/bin"}
    places |= {os.getcwd(), os.path.expanduser("~"), *site.getsitepackages(), tempfile.gettempdir()}
    places |= {str(REPOSITORY / part) for part in ("", "textgym", "textgym/grading")}
    places |= {f"{place}/__pycache__" for place in list(places)} | {os.path.dirname(os.__file__)}
    for place in sorted(places):
        with suppress(OSError):
            yield from (f"{place}/{name}" for name in os.listdir(place) if name.startswith(mark))


def remove(path: str) -> None:
    """Remove a planted file or folder, however it was made."""
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            os.unlink(path)


def marked_processes(mark: str) -> Iterator[str]:
    """Processes whose name carries the mark."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with suppress(OSError):
            name = Path(f"/proc/{pid}/comm").read_text().strip()
            if name.startswith(mark):
                yield f"{pid} {name}"


def shared_objects() -> tuple[str, ...]:
    """System V segments, semaphores and queues which the corpus may have made here."""
    lines = []
    for kind in ("shm", "sem", "msg"):
        with suppress(OSError):
            rows = Path(f"/proc/sysvipc/{kind}").read_text().splitlines()[1:]
            lines += [f"{kind} {row.split()[1]}" for row in rows if int(row.split()[0]) == KEY]
    return tuple(sorted(lines))


def descendants(pid: int) -> dict[int, str]:
    """Every process below `pid` (zombies left out) and its name."""
    parents, names = {}, {}
    for entry in filter(str.isdigit, os.listdir("/proc")):
        with suppress(OSError):
            text = Path(f"/proc/{entry}/stat").read_text()
            name, rest = (
                text[text.index("(") + 1 : text.rindex(")")],
                text[text.rindex(")") + 2 :].split(),
            )
            if rest[0] != "Z":
                parents[int(entry)], names[int(entry)] = int(rest[1]), name
    found, queue = {}, [pid]
    while queue:
        parent = queue.pop()
        for child in [child for child, of in parents.items() if of == parent]:
            found[child] = names[child]
            queue.append(child)
    return found


def peak_memory() -> int:
    """The most memory that this process has held, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
