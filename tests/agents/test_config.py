"""Configurations are checked once, where they enter, in one line that names the field."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

import pytest

from agents.commands.on_policy import LEARNERS
from agents.config import RolloutConfig, TrainingConfig, check_ranges, validated
from agents.dpo import DPOConfig, DPOTrainer
from agents.reward_trainer import RewardModelConfig, RewardModelTrainer
from agents.sampling import Sampling
from agents.sft import SFTConfig, SFTTrainer
from tests.agents.learners import learner


@dataclass
class Settings:
    """One field of each kind."""

    count: Any = 3
    limit: Any = None
    share: Any = 0.5
    way: Any = "up"
    flag: Any = False

    def check(self) -> None:
        check_ranges(
            self,
            integers={"count": 2},
            positive=("limit",),
            unit=("share",),
            choices={"way": ("up", "down")},
            booleans=("flag",),
            optional=("limit",),
        )


def test_what_is_in_range_passes() -> None:
    Settings().check()
    Settings(count=2, limit=0.1, share=1, way="down", flag=True).check()


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("count", 1, "an integer of at least 2"),
        ("count", "a", "an integer of at least 2"),
        ("count", True, "an integer of at least 2"),
        ("limit", 0, "a positive number or None"),
        ("limit", "big", "a positive number or None"),
        ("share", 1.5, "a number from 0 to 1"),
        ("share", None, "a number from 0 to 1"),
        ("way", "left", "one of ['up', 'down']"),
        ("way", ["up"], "one of ['up', 'down']"),
        ("flag", 1, "True or False"),
    ],
)
def test_what_is_not_is_named_with_what_was_expected(name: str, value: Any, expected: str) -> None:
    with pytest.raises(ValueError) as error:
        Settings(**{name: value}).check()
    assert str(error.value) == f"{name} is {value!r}, expected {expected}"


def test_a_config_of_another_kind_is_refused_in_one_line() -> None:
    config = RolloutConfig()
    assert validated(config, TrainingConfig) is config
    for wrong in ({"batch_size": 8}, None, RolloutConfig, TrainingConfig()):
        with pytest.raises(TypeError) as error:
            validated(wrong, RolloutConfig)
        assert str(error.value) == f"config is a {type(wrong).__name__}, expected a RolloutConfig"


def test_a_config_lasts_as_long_as_it_says_or_else_as_it_is_told() -> None:
    assert SFTConfig().lasting(7).num_iterations == 7
    assert SFTConfig(num_iterations=3).lasting(7).num_iterations == 3
    with pytest.raises(ValueError, match="num_iterations is 0, expected an integer of at least 1"):
        SFTConfig(num_iterations=0).validate()
    with pytest.raises(ValueError, match="num_iterations is None, expected an integer"):
        TrainingConfig(num_iterations=None).validate()


@pytest.mark.parametrize(
    ("trainer", "kind"),
    [(SFTTrainer, SFTConfig), (DPOTrainer, DPOConfig), (RewardModelTrainer, RewardModelConfig)],
)
def test_trainers_on_data_take_their_own_config_alone(trainer: type, kind: type) -> None:
    with pytest.raises(TypeError, match=f"config is a dict, expected a {kind.__name__}"):
        trainer({}, None)


@pytest.mark.parametrize("algorithm", LEARNERS)
def test_a_config_comes_back_from_its_dict(algorithm: str) -> None:
    kind = learner(algorithm, "Config")
    config = kind(seed=7, sampling=Sampling(temperature=0.7, top_p=0.9))
    assert kind.from_dict(asdict(config)) == config
    with pytest.raises(TypeError, match="clip_range"):
        kind.from_dict({**asdict(config), "clip_range": 0.2})


@pytest.mark.parametrize("algorithm", LEARNERS)
def test_a_config_has_about_twenty_fields_of_its_own_at_most(algorithm: str) -> None:
    shared = {field.name for field in fields(RolloutConfig)}
    own = {field.name for field in fields(learner(algorithm, "Config"))} - shared
    assert len(own) <= 20
