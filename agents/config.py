"""What the learners' configurations share, and their check, once, where they enter."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from agents.sampling import Sampling

if TYPE_CHECKING:
    from typing import Self

Config = TypeVar("Config", bound="TrainingConfig")


@dataclass
class TrainingConfig:
    """What every learner reads; its own config adds fields and gives other defaults."""

    optional: ClassVar[tuple[str, ...]] = ("max_tokens",)  # of the fields here, what may be None

    learning_rate: float = 5e-4
    """Peak of AdamW's rate: linear rise, then linear fall to a tenth."""
    num_iterations: int = 300
    """Rounds of the algorithm."""
    batch_size: int = 256
    """Rows per iteration, of all processes together."""
    gradient_accumulation_steps: int = 1
    """Micro-batches per optimizer step; changes memory, not results."""
    max_tokens: int | None = None
    """Tokens per micro-batch at most, padding included (None: no limit); changes memory alone."""
    max_grad_norm: float = 1.0
    """The gradient's norm is cut to this."""
    warmup_iterations: int = 5
    """Iterations over which the learning rate rises."""
    checkpoint_every: int = 25
    """Iterations between two checkpoints (0: only at the end)."""
    seed: int = 0
    """Of all randomness."""

    def validate(self) -> None:
        """Check each field's range.

        Raises:
            ValueError: naming the field, what it is and what was expected.
        """
        counts = ("num_iterations", "batch_size", "gradient_accumulation_steps", "max_tokens")
        integers = dict.fromkeys(counts, 1)
        integers |= dict.fromkeys(("warmup_iterations", "checkpoint_every", "seed"), 0)
        check_ranges(
            self,
            integers=integers,
            positive=("learning_rate", "max_grad_norm"),
            optional=self.optional,
        )

    def lasting(self, num_iterations: int) -> Self:
        """The same config, but where its num_iterations is None, with this many."""
        own = self.num_iterations
        return dataclasses.replace(self, num_iterations=num_iterations if own is None else own)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The inverse of `dataclasses.asdict`.

        Raises:
            TypeError: if a name is none of its fields.
        """
        return cls(**values)


@dataclass
class RolloutConfig(TrainingConfig):
    """What every learner reads that plays its policy in environments."""

    batch_size: int = 256
    """Episodes per iteration, of all processes together."""
    num_envs: int | None = None
    """Slots in which the episodes are played (None: one per episode, the fastest)."""
    sampling: Sampling = field(default_factory=Sampling)
    """The distribution that tokens are drawn from, and whose policy is learned."""
    action_masks: bool = False
    """Draw only tokens that the environment's action_masks() allow."""

    def validate(self) -> None:
        """Check each field's range.

        Raises:
            ValueError: naming the field, what it is and what was expected.
        """
        super().validate()
        check_ranges(
            self, integers={"num_envs": 1}, booleans=("action_masks",), optional=("num_envs",)
        )
        self.sampling.validate()

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The inverse of `dataclasses.asdict`.

        Raises:
            KeyError: if `sampling` is missing.
            TypeError: if a name is none of its fields.
        """
        return cls(**{**values, "sampling": Sampling(**values["sampling"])})


def validated(config: Any, kind: type[Config]) -> Config:
    """The config of a learner, checked.

    Raises:
        TypeError: if it is no `kind`.
        ValueError: if a field is out of its range; names it.
    """
    if not isinstance(config, kind):
        raise TypeError(f"config is a {type(config).__name__}, expected a {kind.__name__}")
    config.validate()
    return config


def check_ranges(
    config: Any,
    *,
    integers: Mapping[str, int],
    positive: Collection[str] = (),
    non_negative: Collection[str] = (),
    unit: Collection[str] = (),
    choices: Mapping[str, Collection[str]] = MappingProxyType({}),
    booleans: Collection[str] = (),
    optional: Collection[str] = (),
) -> None:
    """Check fields of a config; one named in `optional` may also be None.

    Args:
        config: the object with the fields.
        integers: name -> the least value that it may have.
        positive: names of finite numbers over 0.
        non_negative: names of finite numbers of at least 0.
        unit: names of numbers from 0 to 1.
        choices: name -> the words that it may be.
        booleans: names of True or False.
        optional: names whose value may be None.

    Raises:
        ValueError: naming the field, what it is and what was expected.
    """
    rules = {
        name: (_is_integer, low, 2**63 - 1, f"an integer of at least {low}")
        for name, low in integers.items()
    }
    rules |= dict.fromkeys(positive, (_is_number, math.ulp(0.0), math.inf, "a positive number"))
    rules |= dict.fromkeys(non_negative, (_is_number, 0.0, math.inf, "a number of at least 0"))
    rules |= dict.fromkeys(unit, (_is_number, 0.0, 1.0, "a number from 0 to 1"))
    for name, (is_kind, low, high, expected) in rules.items():
        value = getattr(config, name)
        if value is None and name in optional:
            continue
        if not is_kind(value) or not low <= value <= high:
            expected += " or None" if name in optional else ""
            raise ValueError(f"{name} is {value!r}, expected {expected}")
    for name, words in choices.items():
        if getattr(config, name) not in words:
            raise ValueError(f"{name} is {getattr(config, name)!r}, expected one of {list(words)}")
    for name in booleans:
        if not isinstance(getattr(config, name), bool):
            raise ValueError(f"{name} is {getattr(config, name)!r}, expected True or False")


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
