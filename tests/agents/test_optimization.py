"""One optimizer step: the whole step's gradient however it is split, and never a broken number."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from agents.config import TrainingConfig
from agents.optimization import adamw, micro_batches, update

ROWS = torch.randn(7, 3, generator=torch.Generator().manual_seed(0))


def model_of(value: float = 0.5) -> nn.Linear:
    model = nn.Linear(3, 1, bias=False)
    nn.init.constant_(model.weight, value)
    return model


def losses(model: nn.Module, parts: list[Tensor]) -> Iterator[tuple[Tensor, dict[str, Tensor]]]:
    for part in parts:
        loss = model(part).square().sum() / len(ROWS)
        yield loss, {"policy_loss": loss.detach(), "ratio": torch.tensor(len(part) / len(ROWS))}


def gradient() -> Tensor:
    """Of mean (x w)²: mean 2 x (x w), written out."""
    return (2 * ROWS * (ROWS @ torch.full((3, 1), 0.5))).mean(0)


@pytest.mark.parametrize("sizes", [[7], [3, 4], [1] * 7])
def test_a_step_is_the_same_however_it_is_split(sizes: list[int]) -> None:
    model = model_of()
    sgd = torch.optim.SGD(model.parameters(), lr=0.1)
    numbers = update(model, sgd, losses(model, ROWS.split(sizes)), max_grad_norm=100.0)
    torch.testing.assert_close(model.weight[0].detach(), 0.5 - 0.1 * gradient())
    loss = (ROWS @ torch.full((3, 1), 0.5)).square().mean().item()
    norm = gradient().norm().item()
    assert numbers == pytest.approx({"policy_loss": loss, "ratio": 1.0, "grad_norm": norm})


def test_the_gradient_is_cut_to_its_greatest_norm_and_told_as_it_was() -> None:
    model, limit = model_of(), gradient().norm().item() / 4
    sgd = torch.optim.SGD(model.parameters(), lr=0.1)
    numbers = update(model, sgd, losses(model, [ROWS]), max_grad_norm=limit)
    assert numbers["grad_norm"] == pytest.approx(4 * limit)
    torch.testing.assert_close(model.weight[0].detach(), 0.5 - 0.1 * gradient() / 4)


def test_what_was_accumulated_before_does_not_count() -> None:
    model = model_of()
    sgd = torch.optim.SGD(model.parameters(), lr=0.1)
    model.weight.grad = torch.full_like(model.weight, 1e6)
    update(model, sgd, losses(model, [ROWS]), max_grad_norm=100.0)
    torch.testing.assert_close(model.weight[0].detach(), 0.5 - 0.1 * gradient())


def test_each_graph_is_freed_before_the_next_is_built() -> None:
    model, events = model_of(), []
    model.weight.register_hook(lambda grad: events.append("backward"))

    def noted() -> Iterator[tuple[Tensor, dict[str, Tensor]]]:
        for item in losses(model, list(ROWS.split(3))):
            events.append("forward")
            yield item

    update(model, torch.optim.SGD(model.parameters()), noted(), max_grad_norm=1.0)
    assert events == ["forward", "backward"] * 3


@pytest.mark.parametrize(
    ("where", "name"), [("metric", "ratio is nan"), ("gradient", "grad_norm is nan")]
)
def test_a_number_that_is_not_finite_is_named_and_the_step_is_not_taken(
    where: str, name: str
) -> None:
    model = model_of()
    loss = model(ROWS).sum() * (torch.nan if where == "gradient" else 1.0)
    ratio = torch.tensor(torch.nan if where == "metric" else 1.0)
    before, sgd = model.weight.clone(), torch.optim.SGD(model.parameters())
    with pytest.raises(FloatingPointError, match=f"^{name}; this step was not taken"):
        update(model, sgd, [(loss, {"ratio": ratio})], max_grad_norm=1.0)
    assert torch.equal(model.weight, before)


def test_only_what_is_trained_has_an_optimizer() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model[0].requires_grad_(False)
    optimizer = adamw(model, 0.1, weight_decay=0.2)
    [group] = optimizer.param_groups
    assert [id(x) for x in group["params"]] == [id(x) for x in model[1].parameters()]
    assert (group["lr"], group["weight_decay"], group["fused"]) == (0.1, 0.2, True)


def test_micro_batches_hold_every_row_once_within_the_limits() -> None:
    lengths = torch.tensor([5, 9, 2, 7, 3, 9, 1])
    config = TrainingConfig(gradient_accumulation_steps=2, max_tokens=20)
    parts = micro_batches(lengths, config)
    assert sorted(torch.cat(parts).tolist()) == list(range(7))
    assert all(len(rows) <= 4 for rows in parts)
    assert all(len(rows) * int(lengths[rows].max()) <= 20 for rows in parts)


def test_no_rows_are_no_micro_batches() -> None:
    assert micro_batches(torch.tensor([], dtype=torch.int64), TrainingConfig()) == []


def test_a_group_that_has_no_weights_to_train_is_left_out() -> None:
    for trained, rates in (("both", [1.0, 2.0]), ("body", [1.0]), ("value_head", [2.0])):
        model = nn.ModuleDict({"body": model_of(), "value_head": model_of()})
        for name, part in model.items():
            part.requires_grad_(trained in ("both", name))
        optimizer = adamw(model, 1.0, value_learning_rate=2.0)
        assert [group["lr"] for group in optimizer.param_groups] == rates


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (torch.ones(2), "a Tensor,"),
        ((torch.ones(2), {}), r"a tensor of shape \[2\] with metrics"),
        ((1.0, {}), "a float with metrics"),
        (None, "a NoneType"),
    ],
)
def test_a_loss_that_is_no_scalar_with_metrics_is_refused(given: object, told: str) -> None:
    model = model_of()
    sgd = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(TypeError, match=rf"the loss gave {told}.*expected \(loss, metrics\)"):
        update(model, sgd, [given], max_grad_norm=1.0)


def test_a_metric_may_be_a_plain_number() -> None:
    model = model_of()
    sgd = torch.optim.SGD(model.parameters(), lr=0.1)
    parts = [(model(ROWS).sum(), {"ratio": 0.25}), (model(ROWS).sum(), {"ratio": 1})]
    assert update(model, sgd, parts, max_grad_norm=1.0)["ratio"] == 1.25


def test_weights_in_half_precision_are_warned_of() -> None:
    with pytest.warns(UserWarning, match=r"weights to train are torch.bfloat16.*load the model in"):
        adamw(model_of().bfloat16(), 1e-6)
