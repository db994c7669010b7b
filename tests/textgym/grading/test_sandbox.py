"""The sandbox holds on every rung that this machine has, and a failure of its own is no verdict."""

from __future__ import annotations

import multiprocessing
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from textgym.grading import sandbox as sandbox_module
from textgym.grading.code import CallTests, grade_code, grade_many
from textgym.grading.sandbox import LADDER, Sandbox, SandboxUnavailable, default_sandbox

ROOT = Path(__file__).resolve().parents[3]
ADD = "def add(a, b):\n    return a + b\n"
ADD_TESTS = CallTests("add", [((1, 2), 3), ((4, 5), 9)])
CHOICES = [{"rung": rung} for rung in LADDER] + [{"backend": "bubblewrap"}]


@pytest.fixture(scope="module", params=CHOICES, ids=lambda choice: next(iter(choice.values())))
def held(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    """A sandbox of each kind that this machine has."""
    try:
        sandbox = Sandbox(**request.param, workers=1)
    except SandboxUnavailable as error:
        pytest.skip(f"not to be had here: {error.reasons}")
    yield sandbox
    sandbox.close()


@pytest.fixture
def small() -> Iterator[Sandbox]:
    """A sandbox of one worker, to be ill-treated."""
    try:
        sandbox = Sandbox(workers=1)
    except SandboxUnavailable as error:
        pytest.skip(f"not to be had here: {error.reasons}")
    yield sandbox
    sandbox.close()


def children(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in text.split()]


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_until(condition, seconds: float = 10.0) -> bool:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    return condition()


# ------------------------------------------------------------- what is forbidden


def test_the_probe_is_not_content_with_a_program_that_nothing_holds():
    sandbox = Sandbox("unsafe-subprocess", workers=1)
    assert sandbox.isolation == "none" and sandbox.probe()
    reads = sandbox.call("def f():\n    return open('/etc/passwd').read() != ''", "f")
    sandbox.close()
    assert reads.value is True


def test_a_machine_on_which_no_rung_holds_is_refused_in_one_line(monkeypatch):
    monkeypatch.setattr(Sandbox, "probe", lambda self: "a program could mount")
    with pytest.raises(SandboxUnavailable, match="seccomp: a program could mount") as refusal:
        Sandbox(workers=1)
    assert set(refusal.value.reasons) == set(LADDER)
    assert 'sandbox="unsafe-subprocess"' in str(refusal.value)


ATTEMPTS = {
    "os.fork()": "PermissionError",
    "os.vfork() if hasattr(os, 'vfork') else os.fork()": "PermissionError",
    "os.execv('/bin/true', ['true'])": "PermissionError",
    "os.kill(1, 0)": "PermissionError",
    "os.kill(-1, 9)": "PermissionError",
    "signal.raise_signal(9)": "PermissionError",
    "os.setsid()": "PermissionError",
    "os.listdir('/proc')": "",
    "open('/etc/passwd').read()": "",
    "open('/proc/self/environ').read()": "",
    "open('/proc/self/mem', 'r+b')": "",
    "open('/canary', 'w')": "",
    "os.chmod('/', 0o777)": "PermissionError",
    "os.symlink('/', 'link')": "PermissionError",
    "os.utime('/')": "PermissionError",
    "os.memfd_create('x')": "PermissionError",
    "socket.socket()": "PermissionError",
    "socket.socket(socket.AF_UNIX)": "PermissionError",
    "socket.create_connection(('127.0.0.1', 80), 1)": "PermissionError",
    "mmap.mmap(-1, 4096, prot=7)": "PermissionError",
    "resource.setrlimit(resource.RLIMIT_CPU, (9, 9))": "",
    "os.sched_setaffinity(0, {0})": "PermissionError",
    "os.setuid(0) or os.geteuid() or 1 / 0": "PermissionError",
    "[os.dup(0) for _ in range(100)]": "OSError: [Errno 24]",
    "bytearray(10**10)": "MemoryError",
    "[threading.Thread(target=time.sleep, args=(9,)).start() for _ in range(9999)]": "RuntimeError",
    "ctypes.CDLL(None).system(b'true') and 1 / 0": "ZeroDivisionError",
    "ctypes.CDLL(None).ptrace(16, 1, 0, 0) + 1 and failed or 1 / 0": "ZeroDivisionError",
}


@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_a_forbidden_act_fails(held, attempt):
    program = (
        "import os, signal, socket, mmap, resource, threading, time, ctypes\n"
        f"def f():\n    return str({attempt})"
    )
    result = held.call(program, "f", timeout=10.0)
    assert result.error is None and result.value is None, result
    assert ATTEMPTS[attempt] in result.reason and "NameError" not in result.reason


def test_the_kernel_kills_a_call_of_a_foreign_instruction_set(held):
    if sys.platform != "linux" or os.uname().machine != "x86_64":
        pytest.skip("int 0x80 is of x86")
    x32 = "import ctypes\ndef f():\n    return ctypes.CDLL(None).syscall(0x40000000 + 39)"
    assert held.call(x32, "f").reason == f"the program was ended by signal {signal.SIGSYS:d}"


def test_programs_see_no_environment_no_arguments_and_no_neighbour(held, monkeypatch):
    monkeypatch.setenv("TEXTGYM_SECRET", "canary")
    program = (
        "import os, sys, gc\nseen = [dict(os.environ), sys.argv[1:], os.getppid() * 0]\n"
        "mark = 'left-by-' + 'one'\nsys.modules['mark'] = mark\n"
        "def f():\n    return [seen, [o for o in gc.get_objects() if type(o) is dict\n"
        "        and 'left-by-' + 'other' in map(str, o.values())] != []]"
    )
    for _ in range(2):
        assert held.call(program, "f").value == [[{}, [], 0], False]


def test_threads_and_asyncio_work_within(held):
    program = (
        "import asyncio, concurrent.futures\nasync def g():\n    await asyncio.sleep(0)\n"
        "    return 7\ndef f():\n    with concurrent.futures.ThreadPoolExecutor(4) as pool:\n"
        "        return [asyncio.run(g()), sum(pool.map(abs, range(-4, 0)))]"
    )
    assert held.call(program, "f").value == [7, 10]


def test_chance_and_the_order_of_sets_are_the_same_in_every_process():
    program = (
        "import random\ndef f():\n    return [random.random(), list({str(i) for i in range(9)})]"
    )
    first, second = Sandbox(workers=1), Sandbox(workers=1)
    values = [sandbox.call(program, "f").value for sandbox in (first, second, first)]
    first.close()
    second.close()
    assert values[0] == values[1] == values[2] != None  # noqa: E711


def test_a_script_is_run_with_its_input(small):
    result = small.run("print(input()[::-1])", "abc")
    assert (result.stdout, result.reason, result.error) == ("cba\n", "", None)
    assert small.run("1 / 0").reason == "ZeroDivisionError: division by zero (line 1)"


# ------------------------------------------------------------------- deadlines


@pytest.mark.parametrize(
    "body",
    [
        "while True: pass",
        "9 ** 9 ** 9",
        "time.sleep(60)",
        "signal.pthread_sigmask(0, range(1, 65)); time.sleep(60)",
        "[signal.signal(s, lambda *_: 0) for s in (14, 15, 24)]\n    while True: pass",
        "re.match('(a+)+$', 'a' * 40 + 'b')",
        "os.write(3, b'x' * 10)\n    while True: pass",
        "sys.setrecursionlimit(10**9)\n    f()\n    while True: pass",
    ],
)
def test_a_hang_ends_soon_after_its_deadline(body):
    program = f"import time, signal, re, os, sys\ndef f():\n    {body}"
    start = time.monotonic()
    verdict = grade_code(program, CallTests("f", [((), 1)]), timeout=0.3)
    assert not verdict.passed and verdict.error is None
    assert time.monotonic() - start < 5  # a generous bound: the benchmark measures


def test_nothing_is_left_of_a_program_after_its_verdict(small):
    program = "import threading, time\n" + ADD
    program += "threading.Thread(target=time.sleep, args=(99,)).start()\n"
    assert grade_code(program, ADD_TESTS, sandbox=small).passed
    (server,) = small.pool.worker_pids
    before = children(server)
    grade_code("while True: pass", ADD_TESTS, timeout=0.2, sandbox=small)
    assert children(server) == before


# ---------------------------------------------------- failures of the machinery


def test_a_worker_killed_at_any_time_loses_no_verdict(small):
    stop = threading.Event()

    def kill() -> None:
        for _ in range(6):
            if stop.wait(0.03):
                return
            for pid in small.pool.worker_pids:
                os.kill(pid, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    grade_code(ADD, ADD_TESTS, sandbox=small)
    killer.start()
    verdicts = grade_many([(ADD, ADD_TESTS)] * 60, sandbox=small)
    stop.set()
    killer.join()
    assert all(verdict.passed and verdict.error is None for verdict in verdicts)


def test_a_child_killed_from_outside_is_tried_again(small):
    grade_code(ADD, ADD_TESTS, sandbox=small)
    (server,) = small.pool.worker_pids
    idle = children(server)

    def kill() -> None:
        if wait_until(lambda: children(server) != idle):
            time.sleep(0.05)
            for pid in set(children(server)) - set(idle):
                os.kill(pid, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    verdict = grade_code(f"import time\ntime.sleep(0.3)\n{ADD}", ADD_TESTS, sandbox=small)
    killer.join()
    assert verdict.passed and verdict.error is None


def test_machinery_that_fails_again_and_again_is_an_error_and_no_verdict(small, monkeypatch):
    small.close()
    monkeypatch.setattr(sandbox_module.sys, "executable", "/nonexistent/python")
    verdict = grade_code(ADD, ADD_TESTS, sandbox=small)
    assert "cannot start a worker" in verdict.error and not verdict.passed
    monkeypatch.undo()
    assert grade_code(ADD, ADD_TESTS, sandbox=small).passed


@pytest.mark.parametrize(
    "program",
    [
        "import os; os.close(3)",
        "import os; os.closerange(0, 99)",
        "import os; os._exit(97)",
        "import signal; signal.raise_signal(15)",
        "import ctypes; ctypes.string_at(0)",
        "x = [bytearray(10**8) for _ in range(99)]",
        "import sys; sys.stderr.write('cannot lock down: x'); 1 / 0",
    ],
)
def test_nothing_that_a_program_does_is_an_error_of_the_machinery(program):
    verdict = grade_code(program, ADD_TESTS)
    assert verdict.error is None and not verdict.passed and verdict.reason


def test_without_descriptors_there_is_an_error_and_afterwards_a_verdict(small):
    grade_code(ADD, ADD_TESTS, sandbox=small)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = []
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 256), hard))
        while len(taken) < 256:
            taken.append(os.open(os.devnull, os.O_RDONLY))
    except OSError:
        pass
    try:
        verdict = grade_code(ADD, ADD_TESTS, sandbox=small)
    finally:
        for fd in taken:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert verdict.error is not None and not verdict.passed
    assert grade_code(ADD, ADD_TESTS, sandbox=small).passed


# ------------------------------------------------------------ threads and forks


def test_many_threads_share_the_workers():
    passed = []

    def work() -> None:
        passed.append(all(v.passed for v in grade_many([(ADD, ADD_TESTS)] * 10)))

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert passed == [True] * 6


def _grade_in_a_fork(queue: multiprocessing.Queue) -> None:
    queue.put((grade_code(ADD, ADD_TESTS).passed, default_sandbox().pool.worker_pids))


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_fork_of_the_trainer_makes_workers_of_its_own():
    grade_code(ADD, ADD_TESTS)
    ours = default_sandbox().pool.worker_pids
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    fork = context.Process(target=_grade_in_a_fork, args=(queue,))
    fork.start()
    passed, theirs = queue.get(timeout=30)
    fork.join()
    assert passed and not set(ours) & set(theirs)
    assert all(map(is_alive, ours)) and wait_until(lambda: not any(map(is_alive, theirs)))
    assert grade_code(ADD, ADD_TESTS).passed


@pytest.mark.parametrize("end", ["raise SystemExit", "os.kill(os.getpid(), 9)"])
def test_workers_end_with_the_trainer(end):
    program = (
        "import os, threading\n"
        "from textgym.grading.code import CallTests, grade_code\n"
        "from textgym.grading.sandbox import default_sandbox\n"
        "hang = ('while True: pass', CallTests('f', [((), 1)]))\n"
        "grade_code('f = int', hang[1])\n"
        "threading.Thread(target=grade_code, args=hang, daemon=True).start()\n"
        f"print(*default_sandbox().pool.worker_pids, flush=True)\n{end}\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    pids = [int(pid) for pid in done.stdout.split()]
    assert pids and wait_until(lambda: not any(map(is_alive, pids)))


def test_submissions_leave_no_descriptors_and_no_processes(small):
    grade_many([(ADD, ADD_TESTS)] * 20, sandbox=small)
    (server,) = small.pool.worker_pids

    def state() -> tuple[int, int, list[int]]:
        ours, theirs = (len(os.listdir(f"/proc/{pid}/fd")) for pid in ("self", server))
        return ours, theirs, children(server)

    before = state()
    bad = "import os\nos._exit(1)"
    verdicts = grade_many([(ADD, ADD_TESTS), (bad, ADD_TESTS)] * 50, sandbox=small)
    assert sum(verdict.passed for verdict in verdicts) == 50
    assert state() == before


# ---------------------------------------------------------------- an ordinary user


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root to leave it"
)
def test_every_rung_is_to_be_had_as_an_ordinary_user(tmp_path):
    setpriv = shutil.which("setpriv")
    user = ["--reuid", "65534", "--regid", "65534", "--clear-groups"]
    python = os.path.realpath(sys.executable)
    starts = "import subprocess, sys; subprocess.run([sys.executable, '-c', ''], check=True)"
    check = [setpriv or "", *user, python, "-I", "-c", starts]
    if setpriv is None or subprocess.run(check, capture_output=True).returncode:
        pytest.skip("another user cannot run this interpreter")
    for package in ("textgym", "tests"):
        shutil.copytree(ROOT / package, tmp_path / package)
    os.chmod(tmp_path, 0o755)
    program = (
        f"import sys; sys.path[:0] = [{str(tmp_path)!r}, *{sys.path!r}]\n"
        "from textgym.grading.sandbox import LADDER, Sandbox\n"
        "print([Sandbox(rung=rung, workers=1).isolation for rung in LADDER])"
    )
    done = subprocess.run(
        [setpriv, *user, python, "-I", "-c", program], capture_output=True, text=True
    )
    assert done.stdout.startswith("['namespaces"), done.stderr
