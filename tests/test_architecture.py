"""The house keeps its shape: who imports whom, how long a file may be, what no file may do.

All but one of these tests read the source and run none of it.
"""

from __future__ import annotations

import ast
import graphlib
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MAX_FILE_LINES = 450
MAX_FUNCTION_LINES = 80

# Lowest first. A module imports from its own layer and from those before it; a folder is one room.
LAYERS = {
    "textgym": [
        ["task", "tokenizer", "pareto"],
        ["listed", "arguments", "curriculum", "attributes", "constraints", "masks"],
        ["bank", "row_files", "data_sets", "dialogues"],
        ["grading", "rewards"],
        ["scoring", "mdp"],
        ["preferences"],
        ["core"],
        ["vector", "turns", "endings", "wrappers"],
        ["text_vector"],
        ["registration"],
        ["games"],
        ["tasks"],
        ["environments", "checking", "evaluation"],
        ["adapters"],
        ["__init__"],
        ["commands"],
        ["__main__"],
    ],
    "agents": [
        ["batch", "advantages", "losses", "sampling", "config", "distributed"],
        ["hugging_face", "hub"],
        ["log_probs", "packing", "adapters", "preference_losses", "text_data", "decoders"],
        ["shared_adamw"],
        ["reward_losses", "reward_heads", "calibration"],
        ["preference_data", "online_pairs", "custom_loss"],
        ["models", "generation", "serving", "checkpoint", "metrics", "interrupt"],
        ["reward_backbone", "reward_model", "reward_variants", "reward_ensemble"],
        ["environments"],
        ["sharding"],
        ["collector"],
        ["rollout", "buffer", "optimization", "course", "forward_backward", "self_play"],
        ["play"],
        ["ppo", "a2c", "grpo", "rloo", "reinforce", "dpo", "sft", "reward_trainer"],
        ["warm_up", "runs", "pretrain"],
        ["__init__"],
        ["commands"],
        ["cli"],
        ["__main__"],
    ],
}
TRAINERS = {
    f"agents.{name}"
    for name in ("ppo", "a2c", "grpo", "rloo", "reinforce", "dpo", "sft", "reward_trainer")
}

FORBIDDEN = {  # package -> what it never imports, not even inside a function
    "textgym": {"agents", "benchmarks", "tests", "torch"},
    "agents": {"benchmarks", "tests"},
    "benchmarks": {"tests"},
}
HEAVY = {"torch", "transformers", "sympy", "tokenizers", "datasets", "pyarrow", "matplotlib"}
UNSAFE_MODULES = {"pickle", "cloudpickle", "dill", "marshal", "shelve", "joblib"}
UNSAFE_CALLS = {
    *("eval", "exec", "builtins.eval", "builtins.exec", "os.system", "os.popen"),
    *("yaml.load", "yaml.unsafe_load", "yaml.full_load"),
    # Generators are arguments: two runs in one process must not disturb each other. (torch's own
    # seed is needed to initialize weights, under torch.random.fork_rng.)
    *("random.seed", "np.random.seed"),
}
# textgym.checking pickles what it is given to check, and loads nothing else.
ALLOWED = {("checking", "pickle")}
# The one module that executes text: it runs in a locked-down process.
ALLOWED_MODULES = {("textgym.grading.isolation.runner", "exec")}
UNSAFE_ARGUMENTS = {("shell", True), ("weights_only", False), ("allow_pickle", True)}

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Import:
    """`from target import name`, or `import target` (name None), and whether it runs on loading."""

    target: str
    name: str | None
    on_loading: bool
    line: int


@dataclass(frozen=True)
class Module:
    """A source file and its dotted name; a package's is `package.__init__`."""

    name: str
    path: Path
    tree: ast.Module

    @property
    def is_empty(self) -> bool:
        return not self.tree.body

    def __str__(self) -> str:
        return str(self.path.relative_to(ROOT))


@cache
def modules(*packages: str) -> dict[str, Module]:
    found = {}
    for package in packages:
        for path in sorted((ROOT / package).rglob("*.py")):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            found[name] = Module(name, path, ast.parse(path.read_text(encoding="utf-8")))
    return found


def all_modules() -> dict[str, Module]:
    return modules("textgym", "agents", "benchmarks")


def imports(module: Module) -> Iterator[Import]:
    """Every import of a module, relative ones resolved."""

    def visit(node: ast.AST, on_loading: bool) -> Iterator[Import]:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, None, on_loading, node.lineno)
        elif isinstance(node, ast.ImportFrom):
            base = module.name.split(".")[: -node.level] if node.level else []
            target = ".".join([*base, *filter(None, [node.module])])
            for alias in node.names:
                yield Import(target, alias.name, on_loading, node.lineno)
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for child in node.body:
                yield from visit(child, False)
            for child in node.orelse:
                yield from visit(child, on_loading)
        else:
            inside = on_loading and not isinstance(node, Function | ast.Lambda)
            for child in ast.iter_child_nodes(node):
                yield from visit(child, inside)

    return visit(module.tree, True)


def imported_module(line: Import) -> str:
    """The file which an import of ours loads: `from agents import ppo` loads agents.ppo."""
    ours = all_modules()
    for name in (f"{line.target}.{line.name}", f"{line.target}.{line.name}.__init__", line.target):
        if name in ours:
            return name
    return f"{line.target}.__init__"


def room(name: str) -> str:
    """`grading` for textgym.grading.math, `__init__` for textgym itself."""
    return name.split(".")[1]


def layer(name: str) -> int | None:
    for position, names in enumerate(LAYERS[name.split(".")[0]]):
        if room(name) in names:
            return position
    return None


def fail_if(problems: list[str]) -> None:
    assert not problems, "\n" + "\n".join(problems)


def test_packages_import_only_downwards():
    fail_if(
        [
            f"{module}:{line.line} imports {line.target}"
            for module in all_modules().values()
            for line in imports(module)
            if line.target.split(".")[0] in FORBIDDEN[module.name.split(".")[0]]
        ]
    )


def test_no_trainer_imports_another():
    fail_if(
        [
            f"{module}:{line.line} imports {imported_module(line)}"
            for module in modules("agents").values()
            for line in imports(module)
            if module.name in TRAINERS and imported_module(line) in TRAINERS - {module.name}
        ]
    )


@pytest.mark.parametrize("package", LAYERS)
def test_every_module_has_a_place_in_the_layers(package):
    rooms = {room(name) for name in modules(package) if layer(name) is None}
    fail_if([f"{package}.{name}: give it a place in LAYERS of this test" for name in sorted(rooms)])


@pytest.mark.parametrize("package", LAYERS)
def test_modules_import_only_from_their_own_layer_and_below(package):
    problems = []
    for module in modules(package).values():
        for line in imports(module):
            target = imported_module(line)
            if not line.on_loading or target not in modules(package):
                continue
            here, there = layer(module.name), layer(target)
            if here is not None and there is not None and there > here:
                problems.append(f"{module}:{line.line} imports {target}, which lies above it")
    fail_if(problems)


def test_no_import_cycles():
    ours = all_modules()
    graph = {
        module.name: {
            imported_module(line)
            for line in imports(module)
            if line.on_loading and imported_module(line) in ours
        }
        - {module.name}
        for module in ours.values()
    }
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        pytest.fail(f"import cycle: {' -> '.join(error.args[1])}")


def test_heavy_packages_load_only_when_used_in_textgym():
    fail_if(
        [
            f"{module}:{line.line} imports {line.target} on loading"
            for module in modules("textgym").values()
            for line in imports(module)
            if line.on_loading and line.target.split(".")[0] in HEAVY
        ]
    )


def test_importing_textgym_is_light_and_quick():
    program = (
        "import json, sys, time; start = time.process_time(); import textgym; "
        "print(json.dumps([time.process_time() - start, sorted(sys.modules)]))"
    )
    seconds = []
    for _ in range(3):
        output = subprocess.run(
            [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
        )
        spent, loaded = json.loads(output.stdout)
        seconds.append(spent)
        assert not HEAVY & set(loaded)
    assert min(seconds) < 0.5


def test_everything_public_is_documented():
    problems = []
    for module in all_modules().values():
        if not module.is_empty and not ast.get_docstring(module.tree):
            problems.append(f"{module}: no docstring")
        for node in module.tree.body:
            is_public = isinstance(node, ast.ClassDef | Function) and not node.name.startswith("_")
            if is_public and not ast.get_docstring(node):
                problems.append(f"{module}:{node.lineno} {node.name}: no docstring")
    fail_if(problems)


def test_files_and_functions_are_short():
    problems = []
    for module in all_modules().values():
        lines = module.path.read_text(encoding="utf-8").count("\n")
        if lines > MAX_FILE_LINES:
            problems.append(f"{module}: {lines} lines, at most {MAX_FILE_LINES}")
        for node in ast.walk(module.tree):
            if isinstance(node, Function):
                lines = node.end_lineno - node.lineno + 1
                if lines > MAX_FUNCTION_LINES:
                    problems.append(f"{module}:{node.lineno} {node.name}: {lines} lines")
    fail_if(problems)


def unsafe(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Lines which run text as code, load objects that can, or touch a global generator."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names = {node.module or ""}
        else:
            names = set()
        yield from ((node.lineno, name) for name in names & UNSAFE_MODULES)
        if isinstance(node, ast.Call):
            if ast.unparse(node.func) in UNSAFE_CALLS:
                yield node.lineno, ast.unparse(node.func)
            for argument in node.keywords:
                value = argument.value
                if isinstance(value, ast.Constant):
                    if (argument.arg, value.value) in UNSAFE_ARGUMENTS:
                        yield node.lineno, f"{argument.arg}={value.value}"


@pytest.mark.parametrize(
    "line",
    [
        *("eval('1')", "exec(code)", "import pickle", "from pickle import loads"),
        *("yaml.load(file)", "np.random.seed(0)", "torch.load(path, weights_only=False)"),
        *("np.load(path, allow_pickle=True)", "subprocess.run(text, shell=True)"),
    ],
)
def test_the_scan_for_unsafe_code_finds(line):
    assert len(list(unsafe(ast.parse(line)))) == 1


def test_the_scan_for_unsafe_code_spares_what_only_looks_like_it():
    assert not list(unsafe(ast.parse("model.eval(); yaml.safe_load(f); torch.load(f)\n'eval('")))


def test_no_unsafe_code():
    fail_if(
        [
            f"{module}:{line} {what}"
            for module in modules("textgym", "agents").values()
            for line, what in unsafe(module.tree)
            if (room(module.name), what) not in ALLOWED
            and (module.name, what) not in ALLOWED_MODULES
        ]
    )
