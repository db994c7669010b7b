"""Sharing prompts and cutting batches change what is computed, and no result."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from transformers import (
    BloomConfig,
    BloomForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    GPT2LMHeadModel,
    MistralConfig,
    MistralForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from agents.models import Policy, new_tiny_model
from agents.packing import split
from textgym import CharTokenizer

SIZES = {
    "vocab_size": 100,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "pad_token_id": 0,
}


def qwen3() -> nn.Module:
    return Qwen3ForCausalLM(Qwen3Config(**SIZES))


def gpt2() -> nn.Module:
    ids = {"bos_token_id": 1, "eos_token_id": 2}
    return GPT2LMHeadModel(GPT2Config(vocab_size=100, n_embd=32, n_layer=2, n_head=4, **ids))


def gemma3() -> nn.Module:
    return Gemma3ForCausalLM(Gemma3TextConfig(**SIZES, sliding_window=32))


def mistral(window: int) -> nn.Module:
    return MistralForCausalLM(MistralConfig(**SIZES, sliding_window=window))


def bloom() -> nn.Module:
    return BloomForCausalLM(BloomConfig(vocab_size=100, hidden_size=32, n_layer=2, n_head=4))


def new_policy(make=lambda: new_tiny_model(0, hidden_size=32, num_layers=2)) -> Policy:
    """A policy whose every token counts: an untrained model finds nearly all equally likely."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        policy = Policy(make().eval(), CharTokenizer())
        for parameter in policy.model.parameters():
            if parameter.ndim == 2:
                parameter.mul_(8.0)
        policy.value_head.weight.normal_()
    return policy


def batch() -> tuple[Tensor, Tensor]:
    """Nine rows of three prompts of 9, 7 and 1 tokens, each prompt in every third row.

    Responses have 0 to 5 tokens; one has text of the environment in its middle.
    """
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(4, 100, (9, 16), generator=generator)
    mask = torch.zeros_like(tokens, dtype=torch.bool)
    for row in range(9):
        prompt = (9, 7, 1)[row % 3]
        tokens[row, :prompt] = tokens[row % 3, :prompt]
        mask[row, prompt : prompt + row % 6] = True
    mask[4, 9] = False
    return tokens, mask


def results(policy: Policy, share: bool) -> list[Tensor]:
    """Log-probabilities, entropies, values, and the gradients of a loss made of all three."""
    known = policy.longest_shared
    policy.longest_shared = known if share else 0
    policy.zero_grad()
    stats = policy(*batch())
    sum(((i + 1) * x).sum() for i, x in enumerate(stats)).backward()
    policy.longest_shared = known
    gradients = [p.grad for p in policy.parameters() if p.grad is not None]
    return [*(x.detach() for x in stats), *gradients]


def passed(policy: Policy, tokens: Tensor, mask: Tensor) -> list[list[int]]:
    """Shapes of what passed through the model."""
    shapes: list[list[int]] = []
    hook = policy.model.get_input_embeddings().register_forward_hook(
        lambda module, inputs, output: shapes.append(list(inputs[0].shape))
    )
    policy(tokens, mask)
    hook.remove()
    return shapes


def groups_of(*, rows: int, prompts: int) -> tuple[Tensor, Tensor]:
    """`prompts` prompts of 12 tokens, `rows` responses of 4 tokens to each."""
    tokens = torch.randint(4, 100, (prompts * rows, 16), generator=torch.Generator().manual_seed(2))
    tokens[:, :12] = tokens[::rows, :12].repeat_interleave(rows, 0)
    return tokens, (torch.arange(16) >= 12).expand_as(tokens)


@pytest.mark.parametrize("make", [qwen3, gpt2, gemma3, lambda: mistral(16)])
def test_shared_prompts_change_neither_results_nor_gradients(make) -> None:
    policy = new_policy(make)
    assert policy.longest_shared >= 16
    for shared, alone in zip(results(policy, True), results(policy, False), strict=True):
        torch.testing.assert_close(shared, alone, atol=1e-5, rtol=1e-5)


def test_a_shared_prompt_passes_once() -> None:
    policy, (tokens, mask) = new_policy(), groups_of(rows=4, prompts=2)
    # The last token of a response is no state in which anything is chosen.
    assert sorted(passed(policy, tokens, mask)) == [[2, 12], [8, 3]]


def test_the_order_of_rows_does_not_matter_for_sharing() -> None:
    tokens, mask = groups_of(rows=4, prompts=2)
    order = torch.tensor([0, 4, 1, 5, 2, 6, 3, 7])
    assert sorted(passed(new_policy(), tokens[order], mask)) == [[2, 12], [8, 3]]


def test_rows_with_prompts_of_their_own_pass_together() -> None:
    tokens, mask = groups_of(rows=1, prompts=8)
    assert passed(new_policy(), tokens, mask) == [[8, 15]]


def test_rows_in_which_nothing_counts_do_not_pass() -> None:
    tokens, mask = groups_of(rows=1, prompts=8)
    mask = mask & (torch.arange(8) < 3)[:, None]
    assert passed(new_policy(), tokens, mask) == [[3, 15]]


@pytest.mark.parametrize("make", [bloom, lambda: mistral(8)])
def test_models_that_cannot_share_compute_every_row(make) -> None:
    """Bloom knows no positions but a row's own; a window of 8 tokens is less than the row."""
    policy, (tokens, mask) = new_policy(make), groups_of(rows=4, prompts=2)
    assert passed(policy, tokens, mask) == [[8, 15]]
    logits = policy.model(tokens).logits[:, :-1].masked_fill(policy.illegal, -torch.inf)
    want = logits.log_softmax(-1).gather(-1, tokens[:, 1:, None])[..., 0] * mask[:, 1:]
    torch.testing.assert_close(policy(tokens, mask).log_probs[:, 1:], want, atol=1e-5, rtol=1e-5)


def test_bfloat16_shares_prompts_within_its_own_precision() -> None:
    policy = new_policy()
    exact = results(policy, False)[0]
    policy.autocast_dtype = torch.bfloat16
    shared, alone = (results(policy, share)[0] for share in (True, False))
    assert 1e-3 < (alone - exact).abs().max() < 0.5
    assert (shared - alone).abs().max() <= (alone - exact).abs().max()


def test_split_by_rows_puts_rows_of_similar_length_together() -> None:
    groups = split(torch.tensor([2, 9, 3, 8, 4]), max_rows=2)
    assert [group.tolist() for group in groups] == [[1, 3], [4, 2], [0]]


def test_split_by_tokens_counts_padding() -> None:
    groups = split(torch.tensor([2, 9, 3, 8, 4]), max_tokens=12)
    # 9 and 8 padded together would hold 18; 4, 3 and 2 padded to 4 hold 12
    assert [group.tolist() for group in groups] == [[1], [3], [4, 2, 0]]


def test_split_respects_both_limits() -> None:
    groups = split(torch.tensor([2, 9, 3, 8, 4]), max_rows=2, max_tokens=12)
    assert [group.tolist() for group in groups] == [[1], [3], [4, 2], [0]]


def test_split_gives_a_row_beyond_the_budget_its_own_micro_batch() -> None:
    groups = split(torch.tensor([2, 50, 3]), max_tokens=10)
    assert [group.tolist() for group in groups] == [[1], [2, 0]]


@pytest.mark.parametrize("limits", [{}, {"max_rows": 0}, {"max_rows": 3, "max_tokens": 0}])
def test_split_needs_a_positive_limit(limits: dict[str, int]) -> None:
    with pytest.raises(ValueError) as error:
        split(torch.tensor([2, 3]), **limits)
    rows, tokens = limits.get("max_rows"), limits.get("max_tokens")
    expected = f"max_rows is {rows} and max_tokens is {tokens}, expected one or both >= 1"
    assert str(error.value) == expected


def test_split_keeps_rows_of_a_group_together() -> None:
    lengths, groups = torch.tensor([9, 4, 5, 8, 2, 3]), torch.tensor([7, 3, 7, 3, 5, 5])
    parts = split(lengths, max_rows=4, groups=groups)
    assert [part.tolist() for part in parts] == [[0, 2, 3, 1], [5, 4]]
    # 3 rows would fit, but not a whole second group
    parts = split(lengths, max_rows=3, groups=groups)
    assert [part.tolist() for part in parts] == [[0, 2], [3, 1], [5, 4]]


def test_split_cuts_a_group_that_is_larger_than_a_micro_batch() -> None:
    lengths, groups = torch.tensor([4, 4, 4, 4, 4, 3]), torch.tensor([1, 1, 1, 1, 1, 2])
    parts = split(lengths, max_tokens=8, groups=groups)
    assert [part.tolist() for part in parts] == [[0, 1], [2, 3], [4, 5]]


def test_split_by_groups_keeps_to_the_budget_after_a_short_rest() -> None:
    # The rest of the first group is [1 token]; the next group, of 6 tokens, is wider than it.
    lengths, groups = torch.tensor([8, 8, 1, 6, 6]), torch.tensor([1, 1, 1, 2, 2])
    parts = split(lengths, max_tokens=16, groups=groups)
    assert [part.tolist() for part in parts] == [[0, 1], [2], [3, 4]]


@pytest.mark.parametrize("limits", [{"max_rows": 2}, {"max_tokens": 40}, {"max_rows": 9}])
def test_micro_batches_change_neither_loss_nor_gradient(limits: dict[str, int]) -> None:
    policy, (tokens, mask) = new_policy(), batch()
    whole = policy(tokens, mask)
    (whole.log_probs.sum() / mask.sum()).backward()
    want = [p.grad.clone() for p in policy.model.parameters()]
    policy.zero_grad()
    lengths = (torch.arange(16) * mask).amax(1) + 1
    for rows in split(lengths, **limits, groups=torch.arange(9) % 3):
        width = int(lengths[rows].max())
        stats = policy(tokens[rows, :width], mask[rows, :width])
        (stats.log_probs.sum() / mask.sum()).backward()
    for parameter, gradient in zip(policy.model.parameters(), want, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, atol=1e-5, rtol=1e-5)
