"""Graders of mathematics behind one protocol, each in a process of its own.

`PYTHON graders.py NAME` reads one JSON object a line: `reference`, `answer`, and `response`, which
says whether the answer is a whole response. It writes one for each: `equal` (true, false, or null
where there is no verdict), `cpu` (seconds, children's included) and `error`; its first line says
`version`, or `missing`. It needs nothing of this project but for the grader "textgym", so that it
runs under the interpreter of any environment. Every peer is called as its documentation calls it;
a grader of whole responses is given a bare answer in a box, or how else it expects one.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import resource
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

Grade = Callable[[str, str, bool], "bool | None"]
"""(reference, answer, whether the answer is a whole response) -> equal"""


def boxed(answer: str, response: bool) -> str:
    """A response for a grader that wants one."""
    return answer if response else rf"\boxed{{{answer}}}"


def textgym() -> tuple[Grade, str]:
    """Ours."""
    from textgym.grading.math import equivalent

    return lambda reference, answer, _: equivalent(reference, answer).equal, "textgym here"


def math_verify() -> tuple[Grade, str]:
    """Math-Verify as its README calls it, a bare answer in dollar signs."""
    from math_verify import parse, verify

    def grade(reference: str, answer: str, response: bool) -> bool:
        given = answer if response else f"${answer}$"
        return verify(parse(f"${reference}$"), parse(given))

    return grade, "math-verify " + version("math-verify")


def math_verify_boxed() -> tuple[Grade, str]:
    """Math-Verify with both sides in a box, as verl and NeMo call it."""
    from math_verify import parse, verify

    def grade(reference: str, answer: str, response: bool) -> bool:
        return verify(parse(rf"\boxed{{{reference}}}"), parse(boxed(answer, response)))

    return grade, "math-verify " + version("math-verify")


def trl() -> tuple[Grade, str]:
    """TRL's accuracy_reward; the reference in dollar signs, which it needs to be read as LaTeX."""
    return _trl(lambda reference: f"${reference}$")


def trl_raw() -> tuple[Grade, str]:
    """TRL's accuracy_reward with the raw reference of its docstring; None is no verdict."""
    return _trl(lambda reference: reference)


def _trl(written: Callable[[str], str]) -> tuple[Grade, str]:
    from trl.rewards import accuracy_reward

    def grade(reference: str, answer: str, response: bool) -> bool | None:
        completions = [[{"role": "assistant", "content": boxed(answer, response)}]]
        reward = accuracy_reward(completions, [written(reference)])[0]
        return None if reward is None else reward == 1.0

    return grade, "trl " + version("trl")


def gem() -> tuple[Grade, str]:
    """GEM's reward for a boxed answer: string rules, sympy, then Math-Verify."""
    module = _file_of("gem", "utils/math_grader.py")

    def grade(reference: str, answer: str, response: bool) -> bool:
        return module.boxed_reward_fn(boxed(answer, response), reference, fast=False)[1] == 1.0

    return grade, "gem-llm " + version("gem-llm")


def tinker() -> tuple[Grade, str]:
    """tinker-cookbook's grader (PRM800K's, by its own account) on what its extraction finds."""
    module = _file_of("tinker_cookbook", "recipes/math_rl/math_grading.py")

    def grade(reference: str, answer: str, response: bool) -> bool:
        try:
            given = module.extract_boxed(boxed(answer, response))
        except ValueError:  # its way to say that there is no box
            return False
        return module.grade_answer(given, reference)

    return grade, "tinker_cookbook " + version("tinker_cookbook")


def verl_dapo() -> tuple[Grade, str]:
    """The DAPO reward of verl: Minerva's string rules."""
    module = _file_of("verl", "utils/reward_score/math_dapo.py")

    def grade(reference: str, answer: str, response: bool) -> bool:
        given = answer if response else f"Answer: {answer}"
        return module.compute_score(given, reference)["acc"]

    return grade, "verl " + version("verl")


def hendrycks() -> tuple[Grade, str]:
    """Hendrycks' is_equiv, the MATH data set's own, as verl's math_reward calls it."""
    module = _file_of("verl", "utils/reward_score/math_reward.py")

    def grade(reference: str, answer: str, response: bool) -> bool:
        return module.compute_score(boxed(answer, response), reference) == 1.0

    return grade, "verl " + version("verl")


def minerva() -> tuple[Grade, str]:
    """Minerva's rules with sympy, as lm-evaluation-harness has them."""
    from sympy.parsing.latex import parse_latex

    parse_latex("1")  # raises where antlr4's version is not the one that sympy wants
    module = _file_of("lm_eval", "tasks/minerva_math/utils.py")

    def grade(reference: str, answer: str, response: bool) -> bool:
        given = answer
        if not response:
            given = f"Final Answer: The final answer is ${answer}$. I hope it is correct."
        given = module.normalize_final_answer(module.get_unnormalized_answer(given))
        return module.is_equiv(given, module.normalize_final_answer(reference))

    return grade, "lm_eval " + version("lm_eval")


def reasoning_gym() -> tuple[Grade, str]:
    """reasoning-gym's scorer of polynomials: sympy's parse_expr on the answer, which is eval."""
    from reasoning_gym import create_dataset

    dataset = create_dataset("polynomial_multiplication", size=1, seed=0)

    def grade(reference: str, answer: str, _: bool) -> bool:
        return dataset.score_answer(answer, {"answer": reference, "metadata": {}}) == 1.0

    return grade, "reasoning_gym " + version("reasoning_gym")


GRADERS: dict[str, Callable[[], tuple[Grade, str]]] = {
    "textgym": textgym,
    "math-verify": math_verify,
    "math-verify, boxed": math_verify_boxed,
    "TRL accuracy_reward": trl,
    "TRL accuracy_reward, raw reference": trl_raw,
    "GEM": gem,
    "tinker-cookbook (PRM800K)": tinker,
    "lm-eval Minerva": minerva,
    "verl DAPO": verl_dapo,
    "Hendrycks is_equiv": hendrycks,
    "reasoning-gym polynomial": reasoning_gym,
}


def _file_of(package: str, path: str) -> Any:
    """A module of an installed package, without the package's own imports."""
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise ImportError(f"{package} is not installed")
    location = os.path.join(found.submodule_search_locations[0], path)
    spec = importlib.util.spec_from_file_location(os.path.basename(path)[:-3], location)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _cpu() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def main(name: str) -> None:
    """Serve one grader on stdin and stdout."""
    out = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what peers print is no answer
    logging.disable(logging.CRITICAL)
    try:
        grade, peer = GRADERS[name]()
    except Exception as error:  # missing, or unusable beside its own dependencies
        print(json.dumps({"missing": f"{type(error).__name__}: {error}"[:300]}), file=out)
        return
    grade(r"\sqrt{2}+1", r"1+\sqrt{2}", False)  # what is loaded on first use
    print(json.dumps({"version": peer}), file=out)
    for line in sys.stdin:
        case = json.loads(line)
        start, equal, error = _cpu(), None, None
        try:
            equal = grade(case["reference"], case["answer"], case["response"])
        except Exception as raised:
            error = f"{type(raised).__name__}: {raised}"[:200]
        cpu = _cpu() - start
        equal = None if equal is None else bool(equal)
        print(json.dumps({"equal": equal, "cpu": cpu, "error": error}), file=out)


if __name__ == "__main__":
    main(sys.argv[1])
