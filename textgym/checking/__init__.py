"""The contract that every task and every environment meets, as checks that anyone can run.

`python -m textgym check ID` prints both reports; a package's test needs one line a task:

    check_task(MyTask()).raise_if_failed()
"""

from __future__ import annotations

from textgym.checking.environment import check_env
from textgym.checking.report import Check, ContractError, Report
from textgym.checking.task import check_task

__all__ = ["Check", "ContractError", "Report", "check_env", "check_task"]
