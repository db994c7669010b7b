"""Rollout and PreferenceBatch: the alignment rule is checked, and rows stay whole."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from agents.batch import PreferenceBatch, Rollout


def fields(**changes: Tensor) -> dict[str, Tensor]:
    """Two episodes in five columns: a finished one of 4 tokens, a dialogue of 5 cut off outside.

    Row 1 has environment text at token 3 and would go on with value 0.5.
    """
    valid = {
        "tokens": torch.tensor([[5, 6, 7, 2, 0], [5, 8, 9, 4, 7]]),
        "mask": torch.tensor([[0, 0, 1, 1, 0], [0, 1, 1, 0, 1]]).bool(),
        "log_probs": torch.tensor([[0.0, 0.0, -0.5, -1.0, 0.0], [0.0, -2.0, -0.25, 0.0, -3.0]]),
        "values": torch.tensor([[0.0, 0.0, 0.5, 0.75, 0.0], [0.0, 0.25, 0.5, 0.0, 0.125]]),
        "rewards": torch.tensor([[0.0, 0.0, 0.0, 1.0, 0.0], [0.0, 0.25, 0.0, 0.0, 0.5]]),
        "terminated": torch.tensor([True, False]),
        "problem": torch.tensor([3, 4]),
        "lengths": torch.tensor([4, 5]),
        "bootstrap": torch.tensor([0.0, 0.5]),
    }
    return valid | changes


def message_of(**changes: object) -> str:
    """What Rollout says to the valid fields with these changes."""
    with pytest.raises(ValueError) as error:
        Rollout(**fields(**changes))
    return str(error.value)


def at(name: str, row: int, column: int, value: float) -> dict[str, Tensor]:
    """The field `name` with one entry changed."""
    changed = fields()[name].clone()
    changed[row, column] = value
    return {name: changed}


def test_len_is_the_number_of_rows() -> None:
    assert len(Rollout(**fields())) == 2


def test_returns_are_the_undiscounted_sums_of_rewards() -> None:
    assert Rollout(**fields()).returns.tolist() == [1.0, 0.75]


def test_num_tokens_counts_the_policys_tokens_only() -> None:
    assert Rollout(**fields()).num_tokens == 5


def test_bootstrap_left_out_is_zero() -> None:
    valid = fields()
    del valid["bootstrap"]
    rollout = Rollout(**valid)
    assert rollout.bootstrap.tolist() == [0.0, 0.0]
    assert rollout.bootstrap.dtype == torch.float32


def test_a_rollout_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        Rollout(**fields()).rewards = torch.zeros(2, 5)


@pytest.mark.parametrize("name", [name for name in fields() if name != "tokens"])
def test_a_wrong_shape_names_the_field_and_both_shapes(name: str) -> None:
    wrong = fields()[name][:1]
    got, expected = list(wrong.shape), list(fields()[name].shape)
    assert message_of(**{name: wrong}) == f"{name} has shape {got}, expected {expected}"


def test_tokens_must_have_two_dimensions() -> None:
    message = message_of(tokens=torch.zeros(5, dtype=torch.int64))
    assert message == "tokens has shape [5], expected [5, 'L']"


@pytest.mark.parametrize("name", fields())
def test_a_wrong_dtype_names_the_field_and_both_dtypes(name: str) -> None:
    expected = fields()[name].dtype
    message = message_of(**{name: fields()[name].to(torch.float16)})
    assert message == f"{name} has dtype torch.float16, expected {expected}"


def test_a_field_on_another_device_is_refused() -> None:
    message = message_of(values=fields()["values"].to("meta"))
    assert message == "values has device meta, expected cpu"


def test_an_array_which_is_not_a_tensor_is_refused() -> None:
    message = message_of(rewards=fields()["rewards"].numpy())
    assert message == "rewards is a ndarray, expected a Tensor"


def test_tokens_that_are_not_a_tensor_are_refused_even_without_bootstrap() -> None:
    message = message_of(tokens=[[1, 2]], bootstrap=None)
    assert message == "tokens is a list, expected a Tensor"


@pytest.mark.parametrize("length", [0, 6])
def test_lengths_must_lie_within_the_row(length: int) -> None:
    message = message_of(lengths=torch.tensor([4, length]))
    assert message == f"lengths[1] is {length}, expected 1 to 5"


def test_the_first_token_cannot_be_chosen() -> None:
    message = message_of(**at("mask", 1, 0, True))
    assert message == "mask[1, 0] is True, expected False: the first token cannot be chosen"


def test_padding_cannot_be_chosen() -> None:
    message = message_of(**at("mask", 0, 4, True))
    assert message == "mask[0, 4] is True, expected False at padding"


def test_log_probs_are_zero_where_the_policy_did_not_choose() -> None:
    message = message_of(**at("log_probs", 1, 3, -0.5))
    assert message == "log_probs[1, 3] is -0.5, expected 0 where mask is False"


def test_rewards_are_zero_where_the_policy_did_not_choose() -> None:
    message = message_of(**at("rewards", 0, 1, 0.5))
    assert message == "rewards[0, 1] is 0.5, expected 0 where mask is False"


def test_a_terminated_row_has_no_bootstrap() -> None:
    message = message_of(bootstrap=torch.tensor([0.25, 0.5]))
    assert message == "bootstrap[0] is 0.25, expected 0 where terminated is True"


@pytest.mark.parametrize("name", ["log_probs", "values", "rewards"])
@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_numbers_must_be_finite(name: str, value: float) -> None:
    message = message_of(**at(name, 1, 4, value))
    assert message == f"{name}[1, 4] is {value}, expected a finite number"


def test_the_bootstrap_must_be_finite() -> None:
    message = message_of(bootstrap=torch.tensor([0.0, float("inf")]))
    assert message == "bootstrap[1] is inf, expected a finite number"


@pytest.mark.parametrize(
    "rows", [torch.tensor([1, 0, 1]), torch.tensor([False, True]), slice(1, 2)]
)
def test_indexing_selects_whole_rows_of_every_field(rows: Tensor | slice) -> None:
    selected = Rollout(**fields())[rows]
    for name, tensor in fields().items():
        assert torch.equal(getattr(selected, name), tensor[rows])


@pytest.mark.parametrize("row", [1, torch.tensor(1)])
def test_a_single_row_is_selected_by_a_slice_not_by_a_number(row: int | Tensor) -> None:
    with pytest.raises(TypeError, match="expected a slice or a 1-d index tensor"):
        Rollout(**fields())[row]


def test_trim_drops_columns_that_are_padding_in_every_row() -> None:
    trimmed = Rollout(**fields())[:1].trim()
    assert trimmed.tokens.tolist() == [[5, 6, 7, 2]]
    assert trimmed.mask.shape == trimmed.rewards.shape == (1, 4)


def test_trim_keeps_columns_that_some_row_uses() -> None:
    assert Rollout(**fields()).trim().tokens.shape == (2, 5)


def test_trim_keeps_environment_text_at_the_end_of_a_row() -> None:
    rollout = Rollout(**fields(lengths=torch.tensor([5, 5])))
    assert rollout[:1].trim().tokens.tolist() == [[5, 6, 7, 2, 0]]


def test_trim_of_no_rows_is_empty() -> None:
    assert Rollout(**fields())[:0].trim().tokens.shape == (0, 0)


def test_to_moves_every_field() -> None:
    moved = Rollout(**fields()).to("meta")
    assert {getattr(moved, name).device.type for name in fields()} == {"meta"}


def test_concatenate_pads_to_the_longest() -> None:
    rollout = Rollout(**fields())
    joined = Rollout.concatenate([rollout[:1].trim(), rollout], pad_token=99)
    assert joined.tokens.tolist() == [[5, 6, 7, 2, 99], [5, 6, 7, 2, 0], [5, 8, 9, 4, 7]]
    assert joined.mask[0].tolist() == [False, False, True, True, False]
    assert joined.lengths.tolist() == [4, 4, 5]
    assert joined.bootstrap.tolist() == [0.0, 0.0, 0.5]


def test_concatenate_undoes_a_split_into_rows() -> None:
    rollout = Rollout(**fields())
    joined = Rollout.concatenate([rollout[:1].trim(), rollout[1:].trim()], pad_token=0)
    for name, tensor in fields().items():
        assert torch.equal(getattr(joined, name), tensor)


def test_concatenate_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="rollouts is empty, expected at least one Rollout"):
        Rollout.concatenate([], pad_token=0)


def pairs(**changes: Tensor) -> dict[str, Tensor]:
    """Two preference pairs in four columns, prompts of one token."""
    valid = {
        "chosen_tokens": torch.tensor([[5, 6, 2, 0], [5, 7, 8, 2]]),
        "rejected_tokens": torch.tensor([[5, 9, 9, 2], [5, 2, 0, 0]]),
        "chosen_mask": torch.tensor([[0, 1, 1, 0], [0, 1, 1, 1]]).bool(),
        "rejected_mask": torch.tensor([[0, 1, 1, 1], [0, 1, 0, 0]]).bool(),
    }
    return valid | changes


def test_preference_pairs_are_selected_together() -> None:
    selected = PreferenceBatch(**pairs())[torch.tensor([1])]
    assert len(selected) == 1
    assert selected.chosen_tokens.tolist() == [[5, 7, 8, 2]]
    assert selected.rejected_tokens.tolist() == [[5, 2, 0, 0]]


def test_preference_sides_must_have_one_shape() -> None:
    with pytest.raises(ValueError) as error:
        PreferenceBatch(**pairs(rejected_tokens=torch.zeros(2, 3, dtype=torch.int64)))
    assert str(error.value) == "rejected_tokens has shape [2, 3], expected [2, 4]"


def test_preference_masks_must_be_bool() -> None:
    with pytest.raises(ValueError) as error:
        PreferenceBatch(**pairs(chosen_mask=pairs()["chosen_mask"].long()))
    assert str(error.value) == "chosen_mask has dtype torch.int64, expected torch.bool"


def test_a_preference_response_cannot_start_at_the_first_token() -> None:
    mask = torch.tensor([[0, 1, 1, 1], [1, 1, 0, 0]]).bool()
    with pytest.raises(ValueError) as error:
        PreferenceBatch(**pairs(rejected_mask=mask))
    expected = "rejected_mask[1, 0] is True, expected False: the first token cannot be chosen"
    assert str(error.value) == expected


def test_a_preference_response_cannot_be_empty() -> None:
    mask = torch.tensor([[0, 0, 0, 0], [0, 1, 1, 1]]).bool()
    with pytest.raises(ValueError) as error:
        PreferenceBatch(**pairs(chosen_mask=mask))
    assert str(error.value) == "chosen_mask[0, 0] is False, expected True at some token of the row"
