"""The public names of `agents`: all there, and loaded only when asked for."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import agents


@pytest.mark.parametrize("name", agents.__all__)
def test_every_public_name_can_be_loaded(name):
    assert getattr(agents, name).__name__ == name
    assert name in dir(agents)


def test_the_table_and_the_imports_for_tools_agree():
    source = Path(agents.__file__).read_text(encoding="utf-8")
    for_tools = {
        alias.name: node.module
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ImportFrom) and node.module.startswith("agents.")
        for alias in node.names
    }
    assert {name: f"agents.{module}" for name, module in agents._MODULES.items()} == for_tools
    assert sorted(for_tools) == agents.__all__


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'PPO'"):
        agents.PPO  # noqa: B018


def test_importing_agents_loads_nothing_heavy():
    program = "import sys, agents; print([m for m in ('torch', 'textgym') if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert found.stdout == "[]\n"
