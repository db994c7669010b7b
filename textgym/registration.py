"""From an id to an environment: `register_task` and the entry points that Gymnasium calls."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from typing import Any, TypeVar
from weakref import WeakValueDictionary

import gymnasium

from textgym.core import RLEnvironment, TokenMDP
from textgym.task import Task
from textgym.vector import TokenVectorEnv

TaskClass = TypeVar("TaskClass", bound=type[Task])

_CLASSES: dict[str, type[Task]] = {}
"""Task classes by "module:name": those registered here, and those imported by that name because an
environment was made in a fresh process."""

_MDPS: WeakValueDictionary[str, TokenMDP] = WeakValueDictionary()

_MDP_SETTINGS = frozenset(inspect.signature(TokenMDP).parameters) - {"task"}
_SETTINGS = _MDP_SETTINGS | {"difficulty", "render_mode", "autoreset_mode", "group_size"}


def register_task(
    id: str, *, reward_threshold: float | None = None, **kwargs: Any
) -> Callable[[TaskClass], TaskClass]:
    """Register a Task class with Gymnasium: a class decorator.

    Args:
        id: the environment's id, as in "TextSort-v0".
        reward_threshold: mean reward at which the task counts as solved.
        **kwargs: defaults for the environment (such as `max_response_tokens`) and for the task's
            constructor; `gym.make(id, **kwargs)` overrides them. JSON-able, or the environment's
            spec is not.
    """

    def register(task_class: TaskClass) -> TaskClass:
        if not (isinstance(task_class, type) and issubclass(task_class, Task)):
            raise TypeError(
                f"register_task({id!r}) got {task_class!r}, expected a subclass of Task"
            )
        name = f"{task_class.__module__}:{task_class.__qualname__}"
        _CLASSES[name] = task_class
        # Strings, not callables: EnvSpec.to_json() accepts nothing else.
        gymnasium.register(
            id,
            entry_point="textgym.registration:make_env",
            vector_entry_point="textgym.registration:make_vector_env",
            reward_threshold=reward_threshold,
            kwargs={"task": name, **kwargs},
        )
        return task_class

    return register


def make_env(task: str | Task, **kwargs: Any) -> RLEnvironment:
    """The single environment of a task; the keywords are RLEnvironment's and the task's own."""
    mdp, options = _shared_mdp(task, kwargs)
    return RLEnvironment(mdp, **options)


def make_vector_env(task: str | Task, num_envs: int = 1, **kwargs: Any) -> TokenVectorEnv:
    """The native vector environment; the keywords are TokenVectorEnv's and the task's own."""
    mdp, options = _shared_mdp(task, kwargs)
    return TokenVectorEnv(mdp, num_envs, **options)


def load_task(task: str, **kwargs: Any) -> Task:
    """A task from the id of a registered environment or a "module:Class" name.

    Raises:
        TypeError: if the task's constructor does not know a keyword; the message lists those known.
        gymnasium.error.NameNotFound: for an unknown id; the message suggests a near one.
    """
    if task not in _CLASSES and "-v" in task:
        kwargs = {**gymnasium.spec(task).kwargs, **kwargs}
        task = kwargs.pop("task")
    task_class = _task_class(task)
    try:
        inspect.signature(task_class).bind(**kwargs)
    except TypeError as error:
        known = sorted(inspect.signature(task_class).parameters)
        raise TypeError(
            f"{task_class.__name__} got {sorted(kwargs)}: {error}; the task's keywords are "
            f"{known}, the environment's {sorted(_SETTINGS)}"
        ) from None
    return task_class(**kwargs)


def _task_class(name: str) -> type[Task]:
    if name not in _CLASSES:
        module, _, path = name.partition(":")
        found: Any = importlib.import_module(module)
        for part in path.split("."):
            found = getattr(found, part)
        _CLASSES[name] = found
    return _CLASSES[name]


def _shared_mdp(task: str | Task, kwargs: dict[str, Any]) -> tuple[TokenMDP, dict[str, Any]]:
    """The MDP of a task, and the keywords left for the environment.

    Equal keywords give the same object: 256 sub-environments need the problems only once.
    """
    settings = {name: kwargs.pop(name) for name in list(kwargs) if name in _MDP_SETTINGS}
    options = {name: kwargs.pop(name) for name in list(kwargs) if name in _SETTINGS}
    if isinstance(task, Task):
        if kwargs:
            raise TypeError(f"unknown keywords {sorted(kwargs)}; known: {sorted(_SETTINGS)}")
        return TokenMDP(task, **settings), options
    key = repr((task, sorted(kwargs.items()), sorted(settings.items(), key=lambda item: item[0])))
    if "tokenizer" in settings and not isinstance(settings["tokenizer"], str):
        key += f" {id(settings['tokenizer'])}"
    mdp = _MDPS.get(key)
    if mdp is None:
        mdp = _MDPS[key] = TokenMDP(load_task(task, **kwargs), **settings)
    return mdp, options
