"""Run folders: whose they are, and what is removed of a run that comes to nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agents import distributed as ours
from agents import runs
from agents.commands import training
from agents.commands.arguments import Run
from agents.config import TrainingConfig
from agents.runs import UserError
from tests.agents.test_distributed import together


class Doomed(training.TrainingCommand):
    """A command whose data are wrong in the processes of these numbers."""

    def __init__(self, *wrong_in: int) -> None:
        super().__init__("doomed", "")
        self.wrong_in = wrong_in

    def defaults(self) -> dict[str, Any]:
        return {"run": Run(env="A-v0"), "config": TrainingConfig()}

    def begin(self, given: Any, folder: Path, settings: dict[str, Any]) -> None:
        with runs.made(folder):
            runs.write_json(folder / runs.CONFIG_FILE, settings)
            (folder / "checkpoint.safetensors").touch()

    def load(self, given: Any, folder: Path) -> tuple[Any, Any]:
        if ours.rank() in self.wrong_in:
            raise UserError("no such column")
        ours.gather("the others")
        raise AssertionError("there are no others any more")

    learn = finish = show = load


def test_what_comes_to_nothing_takes_only_its_own_away(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    for out, left in (("new", False), ("link", True), ("real", False)):
        command = Doomed(0)
        with pytest.raises(UserError, match="no such column"):
            command.run(["--out", str(tmp_path / out)])
        assert (tmp_path / out).is_dir() is left
        assert not left or not any((tmp_path / out).iterdir())
    with pytest.raises(KeyError), runs.made(tmp_path / "new"):
        (tmp_path / "new" / "notes.txt").touch()
        (tmp_path / "new" / "config.unfinished").touch()
        raise KeyError
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["notes.txt"]


def test_of_two_runs_that_are_to_have_a_folder_the_first_gets_it(tmp_path: Path) -> None:
    with runs.made(tmp_path / "run"):
        (tmp_path / "run" / "config.json").touch()
    with pytest.raises(UserError, match="run is another run's by now"), runs.made(tmp_path / "run"):
        raise AssertionError
    assert runs.is_run(tmp_path / "run")
    with pytest.raises(UserError, match="Not a directory: .*: choose another --out"):
        with runs.made(tmp_path / "run" / "config.json" / "run"):
            raise AssertionError


@pytest.mark.parametrize("wrong_in", [(0,), (1,), (0, 1)])
def test_an_error_in_one_process_waits_for_no_other(
    wrong_in: tuple[int, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "GRACE", 0.5)
    run = tmp_path / "run"

    def work(_: Path) -> str:
        with pytest.raises((UserError, RuntimeError)) as error:
            Doomed(*wrong_in).run(["--out", str(run)])
        return type(error.value).__name__

    kinds = ["UserError" if rank in wrong_in else "RuntimeError" for rank in range(2)]
    assert together(work, tmp_path / "two") == kinds
    assert run.exists() is (0 not in wrong_in)


def test_a_prefix_that_the_error_begins_with_is_not_repeated() -> None:
    for told, shown in (("bad", "rows.csv: bad"), ("rows.csv:3 is bad", "rows.csv:3 is bad")):
        with pytest.raises(UserError, match=f"^{shown}$"):
            with runs.user_errors(ValueError, prefix="rows.csv: "):
                raise ValueError(told)


def test_what_gymnasium_appends_to_an_error_is_left_out() -> None:
    told = "no wordin was raised from the environment creator for A-v0 with kwargs ({'wordin': 1})"
    with pytest.raises(UserError, match="^A-v0: no wordin$"):
        with runs.user_errors(TypeError, prefix="A-v0: "):
            raise TypeError(told)
