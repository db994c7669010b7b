"""`python -m agents rlhf`: what its stages are asked to do, and how it goes on."""

from __future__ import annotations

from pathlib import Path

import pytest

from agents import runs
from agents.commands import rlhf
from agents.runs import UserError


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The stages' command lines, which are written down and make a run folder of nothing."""
    lines: list[list[str]] = []

    def stage(name: str, arguments: list[str]) -> None:
        lines.append([name, *arguments])
        out = Path(arguments[arguments.index("--out") + 1])
        (out / runs.INITIAL).mkdir(parents=True, exist_ok=True)
        for file in (runs.CONFIG_FILE, runs.SUMMARY_FILE):
            (out / file).write_text("{}", encoding="utf-8")

    for name in rlhf.COMMANDS:
        monkeypatch.setattr(rlhf.COMMANDS[name], "run", lambda line, name=name: stage(name, line))
    monkeypatch.setattr(rlhf, "_finish", lambda *given: None)
    return lines


def run(out: Path, *arguments: str) -> None:
    rlhf.run(["--env", "TextTaste-v0", "--num-pairs", "4", "--out", str(out), *arguments])


def test_each_stage_begins_where_the_one_before_it_ended(
    tmp_path: Path, asked: list[list[str]]
) -> None:
    run(tmp_path, "--seed", "3")
    assert [name for name, *_ in asked] == ["sft", "reward-model", "ppo"]
    policies = [line[line.index("--policy") + 1] for line in asked]
    assert policies == ["tiny", str(tmp_path / "sft"), str(tmp_path / "sft")]
    assert all(line[line.index("--seed") + 1] == "3" for line in asked)
    assert f'reward_fn="reward_model:{tmp_path / "reward-model" / "model"}"' in asked[2]


def test_what_is_done_is_left_as_it_is(tmp_path: Path, asked: list[list[str]]) -> None:
    for _ in range(2):
        run(tmp_path)
    assert len(asked) == 3


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--method", "dpo"], "has method reward-model, which cannot become dpo any more"),
        (["--num-pairs", "5"], "has num_pairs 4, which cannot become 5"),
        (["--sft-options", "num_epochs=9"], "has sft_options "),
    ],
)
def test_another_recipe_for_stages_that_are_done_is_refused(
    tmp_path: Path, asked: list[list[str]], arguments: list[str], told: str
) -> None:
    """They would be taken for its own, without a word."""
    run(tmp_path)
    with pytest.raises(UserError, match=told):
        run(tmp_path, *arguments)


def test_a_stage_that_has_not_begun_may_be_asked_for_otherwise(
    tmp_path: Path, asked: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch, pytest.raises(UserError):
        patch.setattr(rlhf.COMMANDS["ppo"], "run", lambda line: (_ for _ in ()).throw(UserError))
        run(tmp_path, "--ppo-options", "kl_coef=0.1")
    run(tmp_path, "--ppo-options", "kl_coef=0.2")
    assert asked[-1][0] == "ppo" and asked[-1][-2:] == ["--kl-coef", "0.2"]


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ("kl_coeff=0.1", "ppo kl_coeff=0.1: .*Perhaps you meant: --kl-coef"),
        ("kl_coef=x", "ppo kl_coef=x: --kl-coef: could not convert string to float"),
        ("kl_coef=-1", "ppo kl_coef=-1: kl_coef is -1.0, expected a number of at least 0"),
        ("whiten_advantages=maybe", "ppo whiten_advantages=maybe: Unrecognized"),
        ("kl_coef", "--ppo-options has kl_coef, expected NAME=VALUE"),
        ("out=runs/x", "--ppo-options has out=runs/x, expected another NAME"),
    ],
)
def test_a_wrong_option_of_the_last_stage_is_told_before_the_first_begins(
    tmp_path: Path, asked: list[list[str]], option: str, told: str
) -> None:
    with pytest.raises(UserError, match=told):
        run(tmp_path / "run", "--ppo-options", option)
    assert not asked and not (tmp_path / "run").exists()


def test_a_folder_of_something_else_is_refused(tmp_path: Path, asked: list[list[str]]) -> None:
    mine = tmp_path / "summary.json"
    mine.write_text("mine", encoding="utf-8")
    with pytest.raises(UserError, match="exists already and is no run"):
        run(tmp_path)
    assert not asked and [mine] == list(tmp_path.iterdir()) and mine.read_text() == "mine"


def test_a_flag_is_set_by_true_and_false(tmp_path: Path, asked: list[list[str]]) -> None:
    run(tmp_path, "--ppo-options", "whiten_advantages=False", "whiten_rewards=true")
    assert asked[-1][-2:] == ["--no-whiten-advantages", "--whiten-rewards"]
    config = rlhf.COMMANDS["ppo"].read(asked[-1][1:]).config
    assert (config.whiten_advantages, config.whiten_rewards) == (False, True)


def test_a_run_of_a_reward_model_is_no_policy(tmp_path: Path) -> None:
    (tmp_path / runs.INITIAL).mkdir()
    runs.write_json(tmp_path / runs.CONFIG_FILE, {"algorithm": "reward-model"})
    with pytest.raises(UserError, match="is of a reward model, which is no policy"):
        runs.policy_of(str(tmp_path))
