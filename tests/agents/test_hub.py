"""A name that is no folder: asked about once, and told in one line what it may have meant."""

from __future__ import annotations

from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

from agents import runs
from agents.hub import find_model


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The addresses that the hub was asked for; it cannot be reached."""
    addresses: list[str] = []

    def ask(url: str) -> None:
        addresses.append(url)
        raise ConnectionError("no route")

    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", ask)
    return addresses


def answer(monkeypatch: pytest.MonkeyPatch, error: type[Exception] | None = None) -> None:
    def ask(url: str) -> None:
        if error is not None:
            raise error.__new__(error)

    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", ask)


def test_a_typo_is_told_after_one_question(asked: list[str]) -> None:
    with pytest.raises(runs.UserError) as error:
        runs.policy_of("tniy")
    assert str(error.value) == (
        "policy tniy: there is no folder of this name and no such model in the cache, and the hub "
        "cannot be reached (no route): did you mean tiny?"
    )
    assert len(asked) == 1 and asked[0].endswith("/tniy/resolve/main/config.json")


def test_a_folder_may_be_meant_too(
    asked: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "two-digit").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(runs.UserError, match="did you mean two-digit"):
        runs.policy_of("two-digits")


@pytest.mark.parametrize("name", ["nobody/nothing-like-it", "a/b/c"])
def test_other_names_are_told_how_names_look(asked: list[str], name: str) -> None:
    with pytest.raises(OSError, match="a name on the hub is OWNER/NAME"):
        find_model(name)


def test_where_the_hub_cannot_be_reached_the_cache_serves(
    asked: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(tmp_path / "config.json")
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda name, file: path)
    assert find_model("owner/name") == str(tmp_path)


def test_what_the_hub_knows_is_loaded_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch)
    assert find_model("owner/name") == "owner/name"
    answer(monkeypatch, GatedRepoError)  # transformers tells how to ask for access
    assert find_model("owner/name") == "owner/name"


def test_what_the_hub_does_not_know_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, RepositoryNotFoundError)
    with pytest.raises(OSError, match="no model on the hub of this name .*login`.: did you mean t"):
        find_model("tniy")
