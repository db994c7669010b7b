"""What README.md shows works: its Python runs, its commands exist with the options they name.

A fenced block may have an HTML comment on the line above it:

    <!-- no-test: reason -->   leave this ```python block out
    <!-- test -->              run this ```bash block whole, not only look at its commands

Blocks run in order in one temporary folder, so that one may use the files of another before it;
each runs in a process of its own, as a reader may copy any of them alone. A Python block that needs
a library of `PEERS` is skipped where that one is not installed.
"""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import shlex
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
TIME_LIMIT = 300  # seconds a block
PACKAGES = {"textgym", "agents", "benchmarks"}
PEERS = {
    *("mo_gymnasium", "pettingzoo", "ray", "sb3_contrib", "stable_baselines3", "tianshou"),
    *("torchrl", "trl"),
}
"""Other libraries, which the extra `peers` installs."""

OURS = {"textgym.games": "pettingzoo"}
"""Ours that README imports and that needs a peer."""


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, the comment above it and the line it starts on."""

    language: str
    text: str
    comment: str
    line: int


def find_blocks(markdown: str) -> list[Block]:
    pattern = re.compile(
        r"^(?:<!--\s*(?P<comment>.*?)\s*-->\n)?```(?P<language>\w+)\n(?P<text>.*?)^```$",
        re.MULTILINE | re.DOTALL,
    )
    return [
        Block(
            match["language"],
            match["text"],
            match["comment"] or "",
            markdown.count("\n", 0, match.start("text")),
        )
        for match in pattern.finditer(markdown)
    ]


def find_commands(script: str) -> list[list[str]]:
    """The words after `python -m` of every command that is one of ours."""
    commands = []
    for line in script.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        words = list(lexer)
        for i, (python, option) in enumerate(zip(words, words[1:], strict=False)):
            if re.search(r"(^|/)python[\d.]*$", python) and option == "-m":
                rest = words[i + 2 :]
                end = next((j for j, word in enumerate(rest) if set(word) <= set("&|;<>()")), None)
                if rest and rest[0] in PACKAGES:
                    commands.append(rest[:end])
    return commands


def needed_peers(script: str) -> list[str]:
    """The peers that a Python text imports."""
    names = set()
    for node in ast.walk(ast.parse(script)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
    packages = {OURS.get(name) or name.partition(".")[0] for name in names}
    return sorted(packages & PEERS)


def missing_peers(script: str) -> list[str]:
    """Those that are not installed."""
    return [peer for peer in needed_peers(script) if importlib.util.find_spec(peer) is None]


def name_of(block: Block) -> str:
    """Its line and language, and whether it needs peers: `-k peers` runs those."""
    needy = block.language == "python" and needed_peers(block.text)
    return f"line {block.line}, {block.language}" + (", with peers" if needy else "")


def run(command: list[str], folder: Path) -> str:
    """Run to its end and return what it printed; its whole family dies with it at the limit."""
    tools = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {
        "PATH": tools,
        "PYTHONPATH": str(ROOT),
        "COLUMNS": "200",
        "MPLBACKEND": "agg",
        "OMP_NUM_THREADS": "1",
    }
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=TIME_LIMIT)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        pytest.fail(f"{shlex.join(command)}: not over after {TIME_LIMIT} s")
    assert process.returncode == 0, f"{shlex.join(command)}\n{output}"
    return output


TEXT = README.read_text(encoding="utf-8") if README.exists() else ""
BLOCKS = find_blocks(TEXT)
RUNNABLE = [
    pytest.param(block, id=name_of(block))
    for block in BLOCKS
    if (block.language == "python" and not block.comment.startswith("no-test:"))
    or (block.language == "bash" and block.comment == "test")
]
COMMANDS = [
    pytest.param(command, id=shlex.join(command))
    for block in BLOCKS
    if block.language == "bash"
    for command in find_commands(block.text)
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("readme")


@pytest.mark.parametrize("block", RUNNABLE)
def test_block_runs(block, folder):
    if block.language == "bash":
        run(["bash", "-euo", "pipefail", "-c", block.text], folder)
    else:
        if missing := missing_peers(block.text):
            pytest.skip(f"{', '.join(missing)} not installed")
        script = folder / f"line_{block.line}.py"
        script.write_text(block.text, encoding="utf-8")
        run([sys.executable, script.name], folder)


@pytest.mark.parametrize("command", COMMANDS)
def test_command_exists_with_the_options_it_names(command, folder):
    package, *arguments = command
    subcommand = [word for word in arguments[:1] if not word.startswith("-")]
    options = [word.partition("=")[0] for word in arguments if word.startswith("--")]
    page = run([sys.executable, "-m", package, *subcommand, "--help"], folder)
    # tyro answers to both --num_envs and --num-envs.
    words = set(re.findall(r"[\w-]+", page.replace("_", "-")))
    # The subcommand too: an unknown one need not be an error when --help follows it.
    for word in [*subcommand, *options]:
        assert word.replace("_", "-") in words, f"{word} is not in this help:\n{page}"


def test_no_python_block_is_overlooked():
    assert TEXT.count("```python") == sum(block.language == "python" for block in BLOCKS)


SAMPLE = """\
# Title

```python
print(1)
```
<!-- no-test: needs a GPU -->
```python
raise SystemExit(1)
```

<!-- test -->
```bash
python -m agents ppo --env TextMath-v0 \\
    --learning_rate=1e-4   # a comment
cd x && OMP_NUM_THREADS=1 .venv/bin/python -m textgym check "a b" | tail; python -m pytest
```
"""


def test_blocks_are_found_with_their_comments():
    assert find_blocks(SAMPLE)[:2] == [
        Block("python", "print(1)\n", "", 3),
        Block("python", "raise SystemExit(1)\n", "no-test: needs a GPU", 7),
    ]
    assert [(block.language, block.comment) for block in find_blocks(SAMPLE)[2:]] == [
        ("bash", "test")
    ]


def test_our_commands_are_found_in_a_script():
    assert find_commands(find_blocks(SAMPLE)[2].text) == [
        ["agents", "ppo", "--env", "TextMath-v0", "--learning_rate=1e-4"],
        ["textgym", "check", "a b"],
    ]


def test_only_what_is_not_installed_is_missing(monkeypatch):
    script = "import trl.trainer\nfrom torchrl.envs import GymEnv\nimport nonsense"
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert missing_peers(script) == ["torchrl", "trl"]
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: "found")
    assert missing_peers(script) == []
