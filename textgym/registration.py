"""From an id to an environment: `register_task` and the entry points that Gymnasium calls."""

from __future__ import annotations

import importlib
import inspect
import json
from collections.abc import Callable
from typing import Any, TypeVar
from weakref import WeakValueDictionary

import gymnasium
from gymnasium.envs.registration import EnvSpec

from textgym.arguments import check_flags
from textgym.core import RLEnvironment
from textgym.mdp import TokenMDP
from textgym.task import Task
from textgym.text_vector import TextVectorEnv
from textgym.tokenizer import CharTokenizer, load_tokenizer
from textgym.vector import TokenVectorEnv
from textgym.wrappers import TextObservation, WholeResponse

TaskClass = TypeVar("TaskClass", bound=type[Task])

_ENTRY_POINT = "textgym.registration:make_env"

_CLASSES: dict[str, type[Task]] = {}
"""Task classes by "module:name": those registered here, and those imported by that name because an
environment was made in a fresh process."""

_MDPS: WeakValueDictionary[str, TokenMDP] = WeakValueDictionary()

_MDP_SETTINGS = frozenset(inspect.signature(TokenMDP).parameters) - {"task"}
_SETTINGS = _MDP_SETTINGS | {
    *("difficulty", "details", "vector_reward", "render_mode"),
    *("autoreset_mode", "group_size", "text_actions", "text_observations"),
}


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
        _MDPS.clear()  # those of an earlier class of this name, as in a notebook's cell run again
        # Strings, not callables: EnvSpec.to_json() accepts nothing else.
        gymnasium.register(
            id,
            entry_point=_ENTRY_POINT,
            vector_entry_point="textgym.registration:make_vector_env",
            reward_threshold=reward_threshold,
            # It doubts vector rewards, which are MO-Gymnasium's convention.
            disable_env_checker=bool(kwargs.get("vector_reward")),
            kwargs={"task": name, **kwargs},
        )
        return task_class

    return register


def make_env(
    task: str | Task,
    *,
    text_actions: bool = False,
    text_observations: bool = False,
    **kwargs: Any,
) -> gymnasium.Env:
    """The single environment of a task; the keywords are RLEnvironment's and the task's own.

    Args:
        task: its name as "module:Class", or itself.
        text_actions: whether an action is a whole turn as a text; see `textgym.wrappers`.
        text_observations: whether an observation is the text so far.
        **kwargs: see above.
    """
    check_flags(text_actions=text_actions, text_observations=text_observations)
    mdp, options = _shared_mdp(task, kwargs)
    env: gymnasium.Env = RLEnvironment(mdp, **options)
    if text_actions:
        env = WholeResponse(env)
    return TextObservation(env) if text_observations else env


def make_vector_env(
    task: str | Task,
    num_envs: int = 1,
    *,
    text_actions: bool = False,
    text_observations: bool = False,
    **kwargs: Any,
) -> TokenVectorEnv:
    """The native vector environment; the keywords are TokenVectorEnv's and the task's own.

    Args:
        task: its name as "module:Class", or itself.
        num_envs: the number of slots.
        text_actions: whether an action is a whole turn as a text; see `textgym.text_vector`.
        text_observations: whether an observation is the text so far.
        **kwargs: see above.
    """
    forms = {"text_actions": text_actions, "text_observations": text_observations}
    check_flags(**forms)
    mdp, options = _shared_mdp(task, kwargs)
    if text_actions or text_observations:
        return TextVectorEnv(mdp, num_envs, **forms, **options)
    return TokenVectorEnv(mdp, num_envs, **options)


def task_specs() -> list[EnvSpec]:
    """The specifications of all ids that `register_task` has registered, in order."""
    specs = [spec for spec in gymnasium.registry.values() if spec.entry_point == _ENTRY_POINT]
    return sorted(specs, key=lambda spec: spec.id)


def find_spec(id: str) -> EnvSpec:
    """The specification of an id that `register_task` registered; "module:id" imports the module.

    Raises:
        gymnasium.error.Error: for an unknown id; the message suggests a near one.
        ValueError: if the id belongs to another kind of environment.
    """
    module, _, name = id.rpartition(":")
    if module:
        importlib.import_module(module)
    spec = gymnasium.spec(name)
    if spec.entry_point != _ENTRY_POINT:
        raise ValueError(f"{id} is no text task: textgym.register_task did not register it")
    return spec


def load_task(task: str, **kwargs: Any) -> Task:
    """A task from the id of a registered environment or a "module:Class" name.

    Args:
        task: the id or name.
        **kwargs: for the task's constructor; they override those that an id was registered with.

    Raises:
        TypeError: if the task's constructor does not know a keyword; the message lists those known.
        ValueError: for an id of another kind of environment, or a class that does not exist.
        gymnasium.error.Error: for an unknown id; the message suggests a near one.
    """
    if not isinstance(task, str):
        raise TypeError(f"task is {task!r}, expected an id or a 'module:Class' name")
    if task not in _CLASSES and ("-v" in task or ":" not in task):
        defaults = find_spec(task).kwargs
        kwargs = {**{k: v for k, v in defaults.items() if k not in _SETTINGS}, **kwargs}
        task = kwargs.pop("task")
    found = task_class(task)
    try:
        inspect.signature(found).bind(**kwargs)
    except TypeError as error:
        known = sorted(inspect.signature(found).parameters)
        raise TypeError(
            f"{found.__name__} got {sorted(kwargs)}: {error}; the task's keywords are "
            f"{known}, the environment's {sorted(_SETTINGS)}"
        ) from None
    return found(**kwargs)


def task_class(name: str) -> type[Task]:
    """The class that "module:Class" names."""
    if name not in _CLASSES:
        module, _, path = name.partition(":")
        found: Any = importlib.import_module(module)
        for part in path.split("."):
            found = getattr(found, part, None)
        if not (isinstance(found, type) and issubclass(found, Task)):
            raise ValueError(f"task is {name!r}, but {module} has no Task class {path!r}")
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
    if not isinstance(settings.get("tokenizer", "char"), str):
        settings["tokenizer"] = load_tokenizer(settings["tokenizer"])
    key = _key(task, {**settings, **kwargs})
    mdp = None if key is None else _MDPS.get(key)
    if mdp is None:
        mdp = TokenMDP(load_task(task, **kwargs), **settings)
        if key is not None:
            _MDPS[key] = mdp
    return mdp, options


def _key(task: str, keywords: dict[str, Any]) -> str | None:
    """A text that only equal keywords have; None where there is none (an array's repr is cut)."""
    tokenizer = keywords.get("tokenizer", "char")
    if not isinstance(tokenizer, str):
        # The MDP keeps its tokenizer, so while it lives, no other object has the same address.
        is_built_in = isinstance(tokenizer, CharTokenizer)
        tokenizer = "char" if is_built_in else f"tokenizer at {id(tokenizer)}"
    keywords = {**keywords, "tokenizer": tokenizer}
    try:
        json.dumps(keywords)
    except TypeError:
        return None
    return repr((task, sorted(keywords.items())))
