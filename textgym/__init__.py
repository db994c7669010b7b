"""Text tasks as standard Gymnasium environments with token action spaces."""

from textgym import tasks as _tasks  # registers the built-in ids
from textgym.checking import Report, check_env, check_task
from textgym.core import RLEnvironment, StepResult
from textgym.curriculum import Curriculum
from textgym.environments import (
    MultiObjectiveRewardEnv,
    PreferenceComparisonEnv,
    TextGenerationEnv,
    create_code_generation_env,
    create_math_problem_env,
)
from textgym.mdp import TokenMDP
from textgym.preferences import load_preferences
from textgym.registration import load_task, register_task
from textgym.task import Grade, Preference, Problem, Task
from textgym.tokenizer import CharTokenizer, Tokenizer, load_tokenizer
from textgym.vector import TokenVectorEnv

__all__ = [
    "CharTokenizer",
    "Curriculum",
    "Grade",
    "MultiObjectiveRewardEnv",
    "Preference",
    "PreferenceComparisonEnv",
    "Problem",
    "RLEnvironment",
    "Report",
    "StepResult",
    "Task",
    "TextGenerationEnv",
    "TokenMDP",
    "TokenVectorEnv",
    "Tokenizer",
    "check_env",
    "check_task",
    "create_code_generation_env",
    "create_math_problem_env",
    "load_preferences",
    "load_task",
    "load_tokenizer",
    "register_task",
]

del _tasks
