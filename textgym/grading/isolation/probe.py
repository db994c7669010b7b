"""A program that tries what no untrusted program may do, and tells what it got away with.

A rung of the ladder counts only if this program, run on it, comes back empty-handed. It never asks
for a version: it opens, forks, kills, connects.
"""

from __future__ import annotations

PROGRAM = """
import ctypes, os, signal, socket, sys

def attempts():
    libc = ctypes.CDLL(None, use_errno=True)
    yield "read a file of the system", lambda: open("/etc/passwd").read()
    yield "list the root's own folders", lambda: os.listdir("/etc")
    yield "read a process's environment", lambda: open("/proc/1/environ").read()
    yield "read its parent's memory", lambda: open(f"/proc/{os.getppid()}/mem", "rb")
    yield "write into the root folder", lambda: open("/textgym-probe", "w")
    yield "write into a home folder", lambda: open(f"{HOME}/textgym-probe", "w")
    yield "make a socket", lambda: socket.socket(socket.AF_INET)
    yield "make a local socket", lambda: socket.socket(socket.AF_UNIX)
    yield "start a process", fork
    yield "signal a process", lambda: os.kill(PARENT, 0)
    yield "signal its group", lambda: os.killpg(0, 0)
    yield "execute a file", lambda: os.execv(sys.executable or "/bin/true", ["x", "-c", ""])
    yield "trace a process", lambda: called(libc.ptrace(16, PARENT, 0, 0))
    yield "enter a new user namespace", lambda: called(libc.unshare(0x10000000))
    yield "mount", lambda: called(libc.mount(b"none", b"/tmp", b"tmpfs", 0, None))
    yield "raise its memory limit", raise_limit
    yield "become root", lambda: os.setuid(0) or ("root" if os.geteuid() == 0 else failed())

def failed():
    raise OSError

def called(result):
    return result if result != -1 else failed()

def fork():
    pid = os.fork()
    if pid == 0:
        os._exit(0)

def raise_limit():
    import resource
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY,) * 2)

def probe(parent, home):
    global PARENT, HOME
    PARENT, HOME = parent, home
    done = []
    for name, attempt in attempts():
        try:
            attempt()
        except (OSError, ValueError):
            continue
        done.append(name)
    return done
"""
"""Defines `probe(parent process id, home folder) -> what it could do`."""
