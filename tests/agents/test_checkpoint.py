"""Checkpoints: a resumed run equals an uninterrupted one to the bit; a killed save is no loss."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest
import torch
from torch import nn

from agents.checkpoint import (
    load_checkpoint,
    save_checkpoint,
)


class TiedNet(nn.Module):
    """A language model in small: embedding, dropout, layer, and a head tied to the embedding."""

    def __init__(self, width=8):
        super().__init__()
        self.embedding = nn.Embedding(11, width)
        self.dropout = nn.Dropout(0.3)
        self.layer = nn.Linear(width, width)
        self.head = nn.Linear(width, 11, bias=False)
        self.head.weight = self.embedding.weight
        self.register_buffer("scale", torch.full((), 0.5))

    def forward(self, tokens):
        return self.head(torch.tanh(self.layer(self.dropout(self.embedding(tokens))))) * self.scale


OPTIMIZERS = {
    "adam": lambda parameters: torch.optim.Adam(parameters, lr=1e-2, betas=(0.8, 0.95)),
    "adamw-amsgrad": lambda parameters: torch.optim.AdamW(parameters, lr=1e-2, amsgrad=True),
    "momentum": lambda parameters: torch.optim.SGD(parameters, lr=1e-1, momentum=0.9),
}


def build(optimizer="adam", seed=0, width=8):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = TiedNet(width)
    return model, OPTIMIZERS[optimizer](model.parameters())


def train(model, optimizer, generator, steps):
    """Steps which use all that must resume: data of our generator, dropout, a changing rate."""
    for _ in range(steps):
        tokens = torch.randint(11, (4, 6), generator=generator)
        loss = nn.functional.cross_entropy(model(tokens).transpose(1, 2), tokens)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        optimizer.param_groups[0]["lr"] *= 0.9


def bits(model, optimizer):
    moments = [t for slot in optimizer.state_dict()["state"].values() for t in slot.values()]
    tensors = [*model.state_dict().values(), *moments]
    return [tensor.numpy().tobytes() for tensor in tensors if tensor is not None]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_three_steps_and_two_after_a_resume_equal_five(tmp_path, name):
    with torch.random.fork_rng():
        torch.manual_seed(1)
        generator = torch.Generator().manual_seed(2)
        model, optimizer = build(name)
        train(model, optimizer, generator, 3)
        states = {"data": generator.get_state(), "dropout": torch.get_rng_state()}
        state = {"step": 3, "random": states}
        save_checkpoint(tmp_path, model=model, optimizer=optimizer, state=state)
        train(model, optimizer, generator, 2)

        torch.manual_seed(99)
        other_generator = torch.Generator().manual_seed(99)
        resumed, resumed_optimizer = build(name, seed=99)
        state = load_checkpoint(tmp_path, model=resumed, optimizer=resumed_optimizer)
        other_generator.set_state(state["random"]["data"])
        torch.set_rng_state(state["random"]["dropout"])
        train(resumed, resumed_optimizer, other_generator, 2)

    assert state["step"] == 3
    assert bits(resumed, resumed_optimizer) == bits(model, optimizer)
    groups, resumed_groups = (
        o.state_dict()["param_groups"] for o in (optimizer, resumed_optimizer)
    )
    assert resumed_groups == groups


def test_tied_weights_are_written_once_and_stay_tied(tmp_path):
    from safetensors import safe_open

    model, optimizer = build()
    save_checkpoint(tmp_path, model=model, optimizer=optimizer, state={})
    with safe_open(tmp_path / "checkpoint.safetensors", "pt") as file:
        shapes = [file.get_slice(name).get_shape() for name in file.keys()]
    assert shapes.count([11, 8]) == 1

    other, other_optimizer = build(seed=1)
    load_checkpoint(tmp_path, model=other, optimizer=other_optimizer)
    assert other.head.weight is other.embedding.weight
    assert torch.equal(other.head.weight, model.embedding.weight)


def test_state_comes_back_as_it_was(tmp_path):
    model, optimizer = build()
    state = {
        "step": 2**70,
        "kl_coef": 0.1 + 0.2,
        "best": float("-inf"),
        "done": False,
        "name": "π",
        "none": None,
        "nested": {"pair": (1, 2.5), "list": [{"tensor": "not one"}, []], "": {}},
    }
    tensors = {"a": torch.arange(3), "b": [torch.tensor(True), torch.zeros(0, 4)]}
    save_checkpoint(tmp_path, model=model, optimizer=optimizer, state=state | {"tensors": tensors})
    loaded = load_checkpoint(tmp_path, model=model, optimizer=optimizer)
    restored = loaded.pop("tensors")
    assert loaded == state
    assert torch.equal(restored["a"], tensors["a"])
    assert restored["b"][0].dtype == torch.bool and restored["b"][1].shape == (0, 4)


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"a": {"b": object()}}, r"state\.a\.b is a object"),
        ({"a": [0, {1}]}, r"state\.a\.1 is a set"),
        ({"a": {3: 0}}, r"state\.a has the key 3; a checkpoint's keys are strings"),
        ({"a.b": torch.ones(1), "a": {"b": torch.ones(2)}}, r"two tensors .* called state\.a\.b"),
    ],
)
def test_what_cannot_be_saved_is_named_and_the_old_checkpoint_stays(tmp_path, state, message):
    model, optimizer = build()
    save_checkpoint(tmp_path, model=model, optimizer=optimizer, state={"step": 1})
    with pytest.raises(ValueError, match=message):
        save_checkpoint(tmp_path, model=model, optimizer=optimizer, state=state)
    assert load_checkpoint(tmp_path, model=model, optimizer=optimizer) == {"step": 1}


def wider():
    return build(width=9)


def half_precision():
    model, _ = build()
    model.half()
    return model, torch.optim.Adam(model.parameters())


def with_another_layer():
    model, _ = build()
    model.extra = nn.Linear(2, 2)
    return model, torch.optim.Adam(model.parameters())


def without_a_layer():
    model, _ = build()
    del model.layer
    return model, torch.optim.Adam(model.parameters())


def in_another_order():
    model, _ = build()
    return model, torch.optim.Adam([*model.parameters()][::-1])


def in_two_groups():
    model, _ = build()
    return model, torch.optim.Adam([{"params": [p]} for p in model.parameters()])


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (wider, r"embedding\.weight is \[11, 8\] torch.float32 in the checkpoint, \[11, 9\]"),
        (half_precision, r"embedding\.weight is .*float32 in the checkpoint, .*float16"),
        (with_another_layer, r"the model has extra\.bias, which the checkpoint lacks"),
        (without_a_layer, r"the checkpoint has layer\.bias, which the model lacks"),
        (
            in_another_order,
            r"group 0 .* has layer\.bias where the checkpoint has embed",
        ),
        (in_two_groups, r"group 0 .* has None where the checkpoint has layer\.weight"),
    ],
)
def test_what_does_not_fit_is_named_and_nothing_is_changed(tmp_path, other, message):
    model, optimizer = build()
    train(model, optimizer, torch.Generator(), 1)
    save_checkpoint(tmp_path, model=model, optimizer=optimizer, state={})
    other_model, other_optimizer = other()
    before = bits(other_model, other_optimizer)
    with pytest.raises(ValueError, match=message):
        load_checkpoint(tmp_path, model=other_model, optimizer=other_optimizer)
    assert bits(other_model, other_optimizer) == before


def test_a_parameter_outside_the_model_is_refused(tmp_path):
    model, _ = build()
    optimizer = torch.optim.Adam([*model.parameters(), nn.Parameter(torch.zeros(2, 3))])
    with pytest.raises(ValueError, match=r"a parameter of shape \[2, 3\] that the model lacks"):
        save_checkpoint(tmp_path, model=model, optimizer=optimizer, state={})


def test_a_folder_without_a_checkpoint_is_named(tmp_path):
    model, optimizer = build()
    with pytest.raises(FileNotFoundError, match=f"no checkpoint.safetensors in {tmp_path}"):
        load_checkpoint(tmp_path, model=model, optimizer=optimizer)


@pytest.mark.parametrize("dies", ["save_file", "_flush_to_disk", "os.replace"])
def test_a_save_that_dies_leaves_the_last_checkpoint(tmp_path, monkeypatch, dies):
    def die(*_, **__):
        (tmp_path / "checkpoint.unfinished").write_bytes(b"half a checkp")
        raise KeyboardInterrupt

    model, optimizer = build()
    save_checkpoint(tmp_path, model=model, optimizer=optimizer, state={"step": 1})
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(f"agents.checkpoint.{dies}", die)
        save_checkpoint(tmp_path, model=model, optimizer=optimizer, state={"step": 2})
    assert load_checkpoint(tmp_path, model=model, optimizer=optimizer) == {"step": 1}
    save_checkpoint(tmp_path, model=model, optimizer=optimizer, state={"step": 3})
    assert load_checkpoint(tmp_path, model=model, optimizer=optimizer) == {"step": 3}
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.safetensors"]


SAVE_FOREVER = """
import itertools, sys, torch
from agents.checkpoint import save_checkpoint
model = torch.nn.Linear(300, 300)
optimizer = torch.optim.Adam(model.parameters())
for step in itertools.count(1):
    torch.nn.init.constant_(model.weight, step)
    save_checkpoint(sys.argv[1], model=model, optimizer=optimizer, state={"step": step})
    print(step, flush=True)
"""


def test_a_kill_leaves_a_whole_checkpoint_and_the_newest(tmp_path):
    command = [sys.executable, "-c", SAVE_FOREVER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        process.stdout.readline()
        time.sleep(0.1)
        process.kill()
        printed = [1, *map(int, process.stdout.read().split())]
    model = nn.Linear(300, 300)
    optimizer = torch.optim.Adam(model.parameters())
    step = load_checkpoint(tmp_path, model=model, optimizer=optimizer)["step"]
    assert step - printed[-1] in (0, 1)
    assert model.weight.unique().tolist() == [step]
