"""Rows of messages become what the tokenizer's chat template makes of the whole dialogue."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest

from agents.cli import main
from agents.dpo import DPOConfig, DPOTrainer
from agents.models import Policy, new_tiny_model
from agents.reward_model import RewardModel
from agents.reward_trainer import RewardModelConfig, RewardModelTrainer
from agents.sft import SFTConfig, SFTTrainer
from agents.text_data import chat_render, tokenise
from tests.agents.chat import CHATML, chat_model, chat_tokenizer
from textgym import CharTokenizer, load_preferences

BEFORE = [
    {"role": "system", "content": "Be short."},
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Hello"},
    {"role": "user", "content": "Moo?"},
]
GOOD, BAD = ({"role": "assistant", "content": text} for text in ("Moo!", "No."))
WHOLE = {"chosen": [*BEFORE, GOOD], "rejected": [*BEFORE, BAD]}
WITH_BOS = "{{ bos_token }}" + CHATML


def write(folder: Path, *rows: Any) -> Path:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def ids(tokenizer: Any, *messages: dict[str, str]) -> list[int]:
    """The whole dialogue by the template, without what is behind its end."""
    found = tokenizer.apply_chat_template([*BEFORE, *messages], return_dict=False)
    return found[: len(found) - found[::-1].index(tokenizer.eos_token_id)]


@pytest.mark.parametrize("template", [CHATML, WITH_BOS])
@pytest.mark.parametrize(
    "row",
    [
        WHOLE,
        {"prompt": "Hi", **WHOLE},  # UltraFeedback
        {"prompt": BEFORE, "chosen": [GOOD], "rejected": [BAD]},
        {"prompt": BEFORE, "chosen": "Moo!", "rejected": "No."},
    ],
)
def test_pairs_of_messages_are_the_templates_dialogues(
    row: dict[str, Any], template: str, tmp_path: Path
) -> None:
    tokenizer = chat_tokenizer(template, adds_bos=template is WITH_BOS)
    trainer = DPOTrainer(DPOConfig(), Policy(chat_model(), tokenizer), show=False)
    with warnings.catch_warnings(action="error"):
        trainer.train(write(tmp_path, row))
    (prompt,), ((chosen, rejected),) = trainer.data.prompts, trainer.data.responses
    assert prompt + chosen == ids(tokenizer, GOOD)
    assert prompt + rejected == ids(tokenizer, BAD)
    assert tokenizer.decode(chosen) == "Moo!<|im_end|>"
    assert prompt.count(tokenizer.bos_token_id) == (template is WITH_BOS)


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [*BEFORE, GOOD]},
        {"prompt": "Hi", "messages": [*BEFORE, GOOD]},  # UltraChat
        {"prompt": BEFORE, "completion": [GOOD]},
        {"prompt": BEFORE, "completion": "Moo!"},
        {"prompt": BEFORE[:2], "completion": [*BEFORE[2:], GOOD]},
    ],
)
def test_messages_to_imitate_are_the_templates_dialogue(
    row: dict[str, Any], tmp_path: Path
) -> None:
    tokenizer = chat_tokenizer()
    trainer = SFTTrainer(SFTConfig(num_epochs=1), Policy(chat_model(), tokenizer), show=False)
    trainer.train_on_file(write(tmp_path, row))
    (prompt,), ((response,),) = trainer.data.prompts, trainer.data.responses
    assert prompt + response == ids(tokenizer, GOOD)
    assert tokenizer.decode(response) == "Moo!<|im_end|>"


def test_a_reward_model_reads_the_templates_dialogue_with_one_bos(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer, read = chat_tokenizer(WITH_BOS, adds_bos=True), []
    model = RewardModel(chat_model(), tokenizer)
    encode = model.encode_pairs
    monkeypatch.setattr(
        model, "encode_pairs", lambda *texts: read.append(encode(*texts)) or read[0]
    )
    config = RewardModelConfig(num_iterations=1)
    RewardModelTrainer(config, model, show=False).train(write(tmp_path, WHOLE))
    firsts, seconds = read[0]
    assert firsts.rows == [ids(tokenizer, GOOD)] and seconds.rows == [ids(tokenizer, BAD)]
    assert model.backbone.encode(["Hi"], [""]).rows[0].count(tokenizer.bos_token_id) == 1


def test_without_a_template_messages_are_written_as_before(tmp_path: Path) -> None:
    policy = Policy(new_tiny_model(0, hidden_size=32, num_layers=1), CharTokenizer())
    pairs, texts = DPOTrainer(DPOConfig(), policy, show=False), SFTTrainer(SFTConfig(), policy)
    pairs.train(path := write(tmp_path, WHOLE))
    (pair,) = load_preferences(path)
    assert pair.prompt.startswith("\n\nSystem: Be short.\n\nHuman: Hi\n\nAssistant: Hello")
    assert pairs.data.prompts == [CharTokenizer().encode(pair.prompt)]
    texts.train_on_file(write(tmp_path, {"messages": [*BEFORE, GOOD]}))
    assert texts.data.prompts == pairs.data.prompts


def test_messages_are_written_by_a_function_of_ones_own_where_it_is_given(tmp_path: Path) -> None:
    tokenizer = chat_tokenizer()
    trainer = DPOTrainer(DPOConfig(), Policy(chat_model(), tokenizer), show=False)
    trainer.train(write(tmp_path, WHOLE), render=lambda messages: messages[-1]["content"])
    assert trainer.data.prompts == [tokenizer.encode("Moo?")]


def test_texts_are_not_rendered(tmp_path: Path) -> None:
    render = chat_render(chat_tokenizer())
    hh = [f"\n\nHuman: Hi\n\nAssistant: {text}" for text in ("Hello", "No")]
    path = write(tmp_path, {"chosen": hh[0], "rejected": hh[1]})
    assert load_preferences(path, render=render) == load_preferences(path)


def test_border_of_prompt_and_response_is_that_of_the_two_apart() -> None:
    """The template's newline and the response's would be one token, if they met."""
    tokenizer = chat_tokenizer()
    prompt = chat_render(tokenizer)([{"role": "user", "content": "Hi"}])
    data = tokenise([prompt], [("\noo <|im_end|>",)], tokenizer)
    newline, o, end = (tokenizer.convert_tokens_to_ids(text) for text in ("\n", "oo", "<|im_end|>"))
    assert data.prompts == [tokenizer.encode(prompt)] and data.prompts[0][-1] == newline
    assert data.responses[0][0][:2] == [newline, o] and data.responses[0][0].count(end) == 1


def test_splits_do_not_depend_on_the_template(tmp_path: Path) -> None:
    rows = [{"prompt": [{**BEFORE[1], "content": f"Q{i}"}]} for i in range(100)]
    path = write(tmp_path, *({**row, "chosen": [GOOD], "rejected": [BAD]} for row in rows))
    render = chat_render(chat_tokenizer())
    plain, rendered = (load_preferences(path, split="test", render=r) for r in (None, render))
    told = [render([{"role": "user", "content": pair.prompt}]) for pair in plain]
    assert told and [pair.prompt for pair in rendered] == told


def test_what_the_template_refuses_is_told_with_its_line(tmp_path: Path) -> None:
    refusing = "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    render = chat_render(chat_tokenizer(refusing + CHATML))
    with pytest.raises(ValueError, match=r"rows.jsonl:1: the tokenizer's chat .*: no system"):
        load_preferences(write(tmp_path, WHOLE), render=render)


def test_an_end_of_turn_that_is_not_eos_is_told_once() -> None:
    render = chat_render(chat_tokenizer(eos_token="<|pad|>"))
    with pytest.warns(UserWarning, match=r"'A' as 'A<\|im_end\|>', it is learned as 'A<\|pad\|>'"):
        render(BEFORE)
    with warnings.catch_warnings(action="error"):
        render(BEFORE)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"messages": BEFORE}, ":1: the last message is the user's, expected the assistant's"),
        ({"messages": [GOOD]}, ":1 has the assistant's message alone, expected a prompt before"),
        ({"messages": "Hi"}, ":1, column 'messages' .* is 'Hi', expected a list of messages"),
        ({"prompt": "Hi", "response": " "}, ":1, column 'response' .* is empty, expected a text"),
        ({"text": "Hi"}, r":1 has the columns \['text'\], which fit none of"),
    ],
)
def test_bad_rows_to_imitate_are_told_with_their_line(
    row: dict[str, Any], message: str, tmp_path: Path
) -> None:
    trainer = SFTTrainer(SFTConfig(), Policy(chat_model(), chat_tokenizer()), show=False)
    with pytest.raises(ValueError, match=message):
        trainer.train_on_file(write(tmp_path, row))


def test_the_command_reward_model_reads_messages_by_the_template_of_its_policy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer, read = chat_tokenizer(), []
    Policy(chat_model(), tokenizer).save(tmp_path / "policy")

    def train(trainer: RewardModelTrainer, prompts: list[str], *_: Any, **__: Any) -> None:
        read.extend(prompts)

    monkeypatch.setattr(RewardModelTrainer, "train_on_preferences", train)
    monkeypatch.setattr("agents.commands.reward_model.RewardModelCommand.finish", lambda *_: {})
    monkeypatch.setattr("agents.commands.reward_model.RewardModelCommand.show", lambda *_: None)
    files = ["--pairs", str(write(tmp_path, WHOLE)), "--policy", str(tmp_path / "policy")]
    assert main(["reward-model", *files, "--out", str(tmp_path / "run")]) == 0
    assert read == [chat_render(tokenizer)(BEFORE)]
