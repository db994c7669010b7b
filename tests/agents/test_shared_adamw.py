"""AdamW shared out among processes: its steps to the last bit, at a part of the memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from agents.optimization import adamw
from agents.shared_adamw import SharedAdamW
from tests.agents.learners import seeded
from tests.agents.test_distributed import together


def network() -> nn.Module:
    """Of uneven sizes; the last layer gets no gradient."""
    model = nn.ModuleList([nn.Linear(30, 7), nn.Linear(7, 20), nn.Linear(20, 1), nn.Linear(3, 3)])
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=seeded(1)))
    return model


def steps(model: nn.Module, optimizer: torch.optim.Optimizer, first: int, last: int) -> None:
    for number in range(first, last):
        optimizer.zero_grad()
        x = torch.randn(5, 30, generator=seeded(number))
        for layer in model[:3]:
            x = layer(x).tanh()
        x.sum().backward()
        optimizer.step()


def settings() -> dict[str, Any]:
    return {"learning_rate": 0.01, "weight_decay": 0.1}


def whole(num_steps: int) -> tuple[dict[str, Tensor], dict[str, Any]]:
    model = network()
    optimizer = adamw(model, **settings())
    steps(model, optimizer, 0, num_steps)
    return model.state_dict(), optimizer.state_dict()


def test_alone_it_is_adamw() -> None:
    assert type(adamw(network(), **settings())) is torch.optim.AdamW


def test_weights_and_state_are_adamws_to_the_last_bit(tmp_path: Path) -> None:
    def work(folder: Path) -> tuple[Any, ...]:
        model = network()
        optimizer = adamw(model, **settings())
        assert isinstance(optimizer, SharedAdamW)
        steps(model, optimizer, 0, 4)
        held = sum(x.numel() for slot in optimizer.state.values() for x in slot.values())
        return model.state_dict(), optimizer.state_dict(), held

    weights, state = whole(4)
    found = together(work, tmp_path, num_ranks=3)
    for got, _, held in found:
        torch.testing.assert_close(got, weights, rtol=0, atol=0)
        # Two moments of the 398 parameters that have a gradient, a third of them each; with the
        # number of steps, of which each tensor has one. The largest tensor is 210 of them.
        assert held <= 2 * 210 + 2
    torch.testing.assert_close(found[0][1]["state"], state["state"], rtol=0, atol=0)
    assert found[0][1]["param_groups"] == state["param_groups"]
    assert sum(held for *_, held in found) == sum(
        x.numel() for slot in state["state"].values() for x in slot.values()
    )


def test_a_run_of_two_processes_goes_on_in_one_and_the_other_way_round(tmp_path: Path) -> None:
    def first_half(folder: Path) -> tuple[Any, ...]:
        model = network()
        optimizer = adamw(model, **settings())
        steps(model, optimizer, 0, 2)
        return model.state_dict(), optimizer.state_dict()

    def second_half(saved: tuple[Any, ...]) -> dict[str, Tensor]:
        model = network()
        model.load_state_dict(saved[0])
        optimizer = adamw(model, **settings())
        optimizer.load_state_dict(saved[1])
        steps(model, optimizer, 2, 5)
        return model.state_dict()

    expected, _ = whole(5)
    saved = together(first_half, tmp_path / "first")[0]
    torch.testing.assert_close(second_half(saved), expected, rtol=0, atol=0)
    alone = whole(2)
    for got in together(lambda _: second_half(alone), tmp_path / "second"):
        torch.testing.assert_close(got, expected, rtol=0, atol=0)
