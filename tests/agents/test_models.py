"""The policy says of each token what a plain loop over prefixes says, and keeps to legal tokens."""

from __future__ import annotations

import copy
import math
import operator
from collections.abc import Callable
from functools import cache

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, GPT2Config, GPT2LMHeadModel

from agents.log_probs import Choices
from agents.models import Policy, TokenStats, load_policy, new_tiny_model
from textgym import CharTokenizer

torch.set_num_threads(1)  # for tensors this small a second thread costs more than it gives

PAD, BOS, EOS, UNK = range(4)
ILLEGAL = [PAD, BOS, UNK]

LENGTHS = [11, 7, 9]
"""Tokens of the three rows of `episodes`; the first is a dialogue."""


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def enlarge(model: torch.nn.Module) -> torch.nn.Module:
    """Weights of which each token counts: an untrained model finds nearly all equally likely."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.mul_(15.0)
    return model


def new_policy(seed: int = 0, model: torch.nn.Module | None = None) -> Policy:
    """A tiny policy with weights at random, the value head's too."""
    if model is None:
        model = enlarge(new_tiny_model(seed, hidden_size=32, num_layers=2))
    policy = Policy(model, CharTokenizer())
    with torch.no_grad():
        policy.value_head.weight.normal_(generator=seeded(seed))
        policy.value_head.bias.fill_(0.25)
    return policy


def larger_policy() -> Policy:
    """A model of 128 embeddings with the tokenizer of 100, and the 28 others are loud."""
    model = new_tiny_model(0, hidden_size=32, num_layers=2)
    with torch.random.fork_rng(devices=[]):
        model.resize_token_embeddings(128, mean_resizing=False)
    enlarge(model)
    with torch.no_grad():
        model.get_input_embeddings().weight[100:] *= 5.0
    return new_policy(model=model)


def episodes() -> tuple[Tensor, Tensor]:
    """Three rows of random legal tokens, padded, and their mask: the first has two turns."""
    tokens = torch.randint(4, 100, (3, max(LENGTHS)), generator=seeded(7))
    mask = torch.zeros_like(tokens, dtype=torch.bool)
    for row, length in enumerate(LENGTHS):
        tokens[row, length:] = PAD
        mask[row, length - 4 : length] = True
    mask[0, 3:6] = True
    tokens[0, 5] = tokens[1, 6] = EOS
    return tokens, mask


@cache
def exact_model(make: Callable[[], Policy]) -> Policy:
    """The policy in double precision."""
    return copy.deepcopy(make()).double()


def value_by_hand(policy: Policy, state: list[float]) -> float:
    """A linear function of the last state, shifted to mean 0 and scaled to norm 1."""
    mean = sum(state) / len(state)
    norm = math.sqrt(sum((x - mean) ** 2 for x in state))
    features = [(x - mean) / norm for x in state]
    weight, bias = policy.value_head.weight[0].tolist(), policy.value_head.bias.item()
    return sum(map(operator.mul, features, weight), start=bias)


def by_hand(policy: Policy, prefix: list[int], token: int, temperature: float) -> tuple[float, ...]:
    """log pi(token | prefix), the entropy and v, from a forward over this prefix alone."""
    with torch.no_grad():
        output = policy.model(torch.tensor([prefix]), output_hidden_states=True)
    logits = output.logits[0, -1].tolist()
    weights = {a: math.exp(logits[a] / temperature) for a in range(100) if a not in (PAD, BOS, UNK)}
    total = sum(weights.values())
    entropy = -sum(w / total * math.log(w / total) for w in weights.values())
    value = value_by_hand(policy, output.hidden_states[-1][0, -1].tolist())
    return math.log(weights[token] / total), entropy, value


@cache
def expected(make: Callable[[], Policy], temperature: float) -> TokenStats:
    """What a plain loop says of `episodes`, in double precision."""
    policy, (tokens, mask) = exact_model(make), episodes()
    results = torch.zeros(3, *tokens.shape, dtype=torch.float64)
    for row, column in mask.nonzero().tolist():
        prefix, token = tokens[row, :column].tolist(), int(tokens[row, column])
        results[:, row, column] = torch.tensor(by_hand(policy, prefix, token, temperature))
    return TokenStats(*results)


@pytest.mark.parametrize("temperature", [1.0, 0.6])
@pytest.mark.parametrize("name", TokenStats._fields)
def test_forward_equals_a_plain_loop_over_prefixes(name: str, temperature: float) -> None:
    got = getattr(new_policy()(*episodes(), temperature=temperature), name)
    want = getattr(expected(new_policy, temperature), name)
    torch.testing.assert_close(got.double(), want, atol=2e-5, rtol=0)


def test_the_temperature_changes_log_probs_and_leaves_values() -> None:
    hot, cold = (new_policy()(*episodes(), temperature=t) for t in (1.0, 0.6))
    assert (hot.log_probs - cold.log_probs).abs().max() > 0.1
    assert torch.equal(hot.values, cold.values)


def test_results_are_zero_where_the_mask_is_false() -> None:
    tokens, mask = episodes()
    for result in new_policy()(tokens, mask):
        assert not result[~mask].any() and result[mask].all()


def test_padding_columns_change_nothing() -> None:
    policy, (tokens, mask) = new_policy(), episodes()
    policy.model.double()  # in single precision, the last bits depend on the batch's shape
    more = torch.randint(0, 100, (3, 6), generator=seeded(3))
    wide = policy(torch.cat([tokens, more], 1), torch.cat([mask, more < 0], 1))
    for padded, result in zip(wide, policy(tokens, mask), strict=True):
        torch.testing.assert_close(padded[:, : mask.shape[1]], result, atol=1e-6, rtol=1e-6)
        assert not padded[:, mask.shape[1] :].any()


def test_other_rows_change_nothing() -> None:
    policy, (tokens, mask) = new_policy(), episodes()
    policy.model.double()
    together = policy(tokens, mask)
    for row in range(3):
        alone = policy(tokens[row : row + 1], mask[row : row + 1])
        for got, want in zip(alone, together, strict=True):
            torch.testing.assert_close(got[0], want[row], atol=1e-6, rtol=1e-6)


def test_a_batch_in_which_the_policy_chose_nothing_is_zero_and_has_no_gradient() -> None:
    policy, (tokens, mask) = new_policy(), episodes()
    stats = policy(tokens, torch.zeros_like(mask))
    sum(result.sum() for result in stats).backward()
    assert not any(result.any() for result in stats)
    assert all(p.grad is None or not p.grad.any() for p in policy.parameters())


def test_illegal_tokens_have_probability_zero_and_the_others_sum_to_one() -> None:
    logits = 5.0 * torch.randn(64, 100, generator=seeded(0))
    logits[:, ILLEGAL] = 50.0
    policy, chosen = new_policy(), torch.full((64,), EOS)
    probabilities = Choices(chosen, policy.illegal).log_probs(logits).exp()
    assert not probabilities[:, ILLEGAL].any()
    torch.testing.assert_close(probabilities.sum(-1), torch.ones(64), atol=1e-6, rtol=0)
    assert (probabilities > 0).sum() == 64 * 97


def test_embeddings_beyond_the_tokenizer_have_probability_zero() -> None:
    policy = larger_policy()
    logits = policy.model(episodes()[0]).logits.detach().flatten(0, 1)
    assert logits.shape[-1] == 128
    # They would be chosen if they could.
    assert (logits.argmax(-1) >= 100).float().mean() > 0.5
    chosen = torch.full((len(logits),), EOS)
    probabilities = Choices(chosen, policy.illegal).log_probs(logits).exp()
    assert not probabilities[..., 100:].any()
    torch.testing.assert_close(probabilities[..., :100].sum(-1), torch.ones(33))


@pytest.mark.parametrize("name", TokenStats._fields)
def test_forward_of_a_model_with_more_embeddings_equals_a_plain_loop(name: str) -> None:
    got = getattr(larger_policy()(*episodes()), name)
    want = getattr(expected(larger_policy, 1.0), name)
    torch.testing.assert_close(got.double(), want, atol=2e-5, rtol=0)


def test_a_model_with_fewer_embeddings_than_tokens_is_refused() -> None:
    config = GPT2Config(vocab_size=90, n_embd=8, n_layer=1, n_head=1)
    with torch.random.fork_rng(devices=[]), pytest.raises(ValueError) as error:
        Policy(GPT2LMHeadModel(config), CharTokenizer())
    assert str(error.value) == (
        "the model has 90 embeddings and the tokenizer 100 tokens: call "
        "model.resize_token_embeddings(len(tokenizer))"
    )


def test_the_values_send_no_gradient_into_the_model() -> None:
    policy = new_policy()
    policy(*episodes()).values.square().sum().backward()
    assert all(parameter.grad is None for parameter in policy.model.parameters())
    assert policy.value_head.weight.grad.abs().min() > 0


@pytest.mark.parametrize("name", ["log_probs", "entropies"])
def test_gradients_equal_those_of_a_softmax_over_the_legal_tokens_alone(name: str) -> None:
    policy, (tokens, mask) = new_policy(), episodes()
    getattr(policy(tokens, mask), name).sum().backward()
    got = [parameter.grad.clone() for parameter in policy.model.parameters()]

    # A softmax without the illegal columns: no infinity that a gradient could meet.
    policy.zero_grad()
    legal = [a for a in range(100) if a not in ILLEGAL]
    log_probs = policy.model(tokens).logits[:, :-1, legal].log_softmax(-1)
    if name == "entropies":
        result = -(log_probs.exp() * log_probs).sum(-1)
    else:
        columns = (tokens[:, 1:, None] == torch.tensor(legal)).int().argmax(-1, keepdim=True)
        result = log_probs.gather(-1, columns)[..., 0]
    result[mask[:, 1:]].sum().backward()
    for gradient, parameter in zip(got, policy.model.parameters(), strict=True):
        torch.testing.assert_close(gradient, parameter.grad, atol=1e-4, rtol=1e-4)


def test_a_new_policy_gives_every_state_the_value_zero() -> None:
    policy = Policy(new_tiny_model(0, hidden_size=32, num_layers=2), CharTokenizer())
    assert not policy(*episodes()).values.any()


def test_a_half_precision_model_is_normalised_in_single_precision() -> None:
    policy, (tokens, mask) = new_policy(), episodes()
    policy.model.bfloat16()
    stats = policy(tokens, mask)
    assert [result.dtype for result in stats] == [torch.float32] * 3
    logits = policy.model(tokens).logits.detach().double()
    logits[..., ILLEGAL] = -math.inf
    want = logits[:, :-1].log_softmax(-1).gather(-1, tokens[:, 1:, None])[..., 0]
    got = stats.log_probs[:, 1:].detach().double()
    torch.testing.assert_close(got[mask[:, 1:]], want[mask[:, 1:]], atol=1e-5, rtol=0)


def test_everything_lies_on_the_device_of_the_model() -> None:
    policy = Policy(new_tiny_model(0, hidden_size=32, num_layers=2).to("meta"), CharTokenizer())
    tensors = [*policy.parameters(), *policy.buffers()]
    assert {tensor.device.type for tensor in tensors} == {"meta"} == {policy.device.type}


def test_making_a_policy_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    Policy(new_tiny_model(3, hidden_size=32, num_layers=2), CharTokenizer())
    assert torch.equal(torch.get_rng_state(), before)


def test_a_tiny_model_is_a_function_of_its_seed() -> None:
    first, again, other = (
        new_tiny_model(seed, hidden_size=32, num_layers=2).get_input_embeddings().weight
        for seed in (5, 5, 6)
    )
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_a_frozen_copy_has_no_gradients_and_does_not_follow() -> None:
    policy, batch = new_policy(), episodes()
    before = policy(*batch)
    reference = policy.frozen_copy()
    assert not any(parameter.requires_grad for parameter in reference.parameters())
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.add_(0.1)
    assert all(torch.equal(a, b) for a, b in zip(reference(*batch), before, strict=True))
    assert not torch.equal(policy(*batch).log_probs, before.log_probs)


def test_a_frozen_copy_has_no_dropout_and_leaves_the_policy_in_training() -> None:
    with torch.random.fork_rng(devices=[]):
        config = GPT2Config(vocab_size=100, n_embd=32, n_layer=2, n_head=4, embd_pdrop=0.5)
        policy = new_policy(model=GPT2LMHeadModel(config)).train()
        reference = policy.frozen_copy()
        assert policy.training and not reference.training
        first, second = (reference(*episodes()).log_probs for _ in range(2))
    assert torch.equal(first, second)


def test_a_saved_policy_loads_with_transformers_to_the_same_logits(tmp_path) -> None:
    policy, (tokens, _) = new_policy(), episodes()
    policy.save(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert torch.equal(loaded(tokens).logits, policy.model(tokens).logits)


def test_a_saved_policy_loads_with_transformers_to_the_same_tokenizer(tmp_path) -> None:
    new_policy().save(tmp_path)
    loaded, text = AutoTokenizer.from_pretrained(tmp_path), CharTokenizer.characters + "\u00e9"
    assert loaded.encode(text, add_special_tokens=False) == CharTokenizer().encode(text)
    ids = [loaded.pad_token_id, loaded.bos_token_id, loaded.eos_token_id, loaded.unk_token_id]
    assert ids == [PAD, BOS, EOS, UNK]


def test_a_policy_converted_as_a_whole_still_gives_values() -> None:
    values = new_policy().bfloat16()(*episodes()).values.double()
    torch.testing.assert_close(values, expected(new_policy, 1.0).values, atol=0.5, rtol=0)


@pytest.mark.parametrize("folder", ["", "policy"])
def test_load_policy_gives_back_what_was_saved(tmp_path, folder: str) -> None:
    policy, batch = new_policy(), episodes()
    policy.save(tmp_path / folder)
    loaded = load_policy(tmp_path)
    assert loaded.tokenizer == CharTokenizer()
    assert all(torch.equal(a, b) for a, b in zip(loaded(*batch), policy(*batch), strict=True))


def test_load_policy_of_a_folder_without_a_value_head_starts_one_at_zero(tmp_path) -> None:
    new_policy().save(tmp_path)
    (tmp_path / "value_head.safetensors").unlink()
    assert not load_policy(tmp_path)(*episodes()).values.any()
