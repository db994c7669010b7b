"""The policy says of each token what a plain loop over prefixes says, and keeps to legal tokens."""

from __future__ import annotations

import copy
import math
import operator
from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
import tokenizers
import torch
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedTokenizerFast,
)

from agents.adapters import Adapter
from agents.batch import Rollout
from agents.environments import as_vector_env
from agents.hugging_face import checkpointing, enable_checkpointing
from agents.log_probs import Choices
from agents.models import Policy, TokenStats, as_policy, load_policy, new_tiny_model
from agents.rollout import collect
from agents.sampling import Sampling
from textgym import CharTokenizer, Problem, RLEnvironment, Task

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
    got = getattr(new_policy()(*episodes(), sampling=Sampling(temperature)), name)
    want = getattr(expected(new_policy, temperature), name)
    torch.testing.assert_close(got.double(), want, atol=2e-5, rtol=0)


def test_the_temperature_changes_log_probs_and_leaves_values() -> None:
    hot, cold = (new_policy()(*episodes(), sampling=Sampling(t)) for t in (1.0, 0.6))
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


def test_tokens_that_the_environment_forbade_have_probability_zero() -> None:
    """Only capital letters and the tokens chosen were allowed; given in bits, a token each."""
    policy, (tokens, mask) = new_policy(), episodes()
    allowed = torch.zeros(*tokens.shape, 100, dtype=torch.bool)
    allowed[..., 40:66] = True
    allowed.scatter_(2, tokens[..., None], True)
    legal = torch.from_numpy(np.packbits(allowed.numpy(), axis=2))
    got = policy(tokens, mask, legal=legal)
    forbidden = ~allowed[:, 1:] | policy.illegal
    every = policy.model(tokens).logits[:, :-1].masked_fill(forbidden, -math.inf).log_softmax(-1)
    want = every.gather(2, tokens[:, 1:, None])[..., 0].masked_fill(~mask[:, 1:], 0.0)
    torch.testing.assert_close(got.log_probs[:, 1:], want, atol=1e-5, rtol=0)
    assert (got.log_probs - policy(tokens, mask).log_probs).max() > 0.1
    without = policy(tokens, mask, legal=legal[..., :0])
    assert torch.equal(without.log_probs, policy(tokens, mask).log_probs)


# ------------------------------------------------------------------ known pitfalls of the field


def test_the_end_of_a_response_counts_even_if_padding_is_the_same_token() -> None:
    """Masks say what counts, never a token's id: a policy must learn to stop."""
    policy, (tokens, mask) = new_policy(), episodes()
    padded = torch.arange(tokens.shape[1]) >= torch.tensor(LENGTHS)[:, None]
    stats = policy(tokens.masked_fill(padded, EOS), mask)
    assert torch.equal(stats.log_probs, policy(tokens, mask).log_probs)
    assert tokens[1, 6] == EOS and stats.log_probs[1, 6] < 0
    (gradient,) = torch.autograd.grad(stats.log_probs[1, 6], policy.model.lm_head.weight)
    assert gradient[EOS].abs().max() > 0.1


class Doubling(Task):
    """Repeat the letters. Every response of four tokens is fine."""

    max_response_tokens = 4

    def sample(self, rng):
        return Problem(prompt="".join(rng.choice(list("ab"), size=int(rng.integers(1, 4)))))

    def grade(self, problem, response):
        return {"correct": float(len(response) % 2)}


def merging_tokenizer() -> PreTrainedTokenizerFast:
    """Writes "ab" as one token, which a policy may also spell as two."""
    names = {"<pad>": 0, "<bos>": 1, "<eos>": 2, "<unk>": 3, "a": 4, "b": 5, "ab": 6}
    backend = tokenizers.Tokenizer(tokenizers.models.BPE(names, [("a", "b")], unk_token="<unk>"))
    specials = dict(zip(("pad_token", "bos_token", "eos_token", "unk_token"), names, strict=False))
    return PreTrainedTokenizerFast(tokenizer_object=backend, **specials)


def test_the_tokens_that_are_trained_on_are_those_that_were_sampled() -> None:
    """A response decoded and tokenised again has other tokens, of another probability."""
    tokenizer = merging_tokenizer()
    policy = Policy(new_policy().model, tokenizer)
    envs = RLEnvironment(Doubling(), tokenizer=tokenizer)
    rollout, episodes = collect(policy, as_vector_env(envs, 16), 16, generator=seeded(0), seed=0)
    again = [
        tokenizer.encode(text, add_special_tokens=False) == row[chosen].tolist()
        for text, row, chosen in zip(
            episodes.responses, rollout.tokens, rollout.mask & (rollout.tokens != EOS), strict=True
        )
    ]
    assert 0 < sum(again) < 16
    stats = policy(rollout.tokens, rollout.mask)
    torch.testing.assert_close(stats.log_probs, rollout.log_probs, atol=1e-5, rtol=0)


def dropping_policy() -> Policy:
    """A policy whose model drops half of everything in training mode."""
    drop = dict.fromkeys(("embd_pdrop", "resid_pdrop", "attn_pdrop"), 0.5)
    ids = {"bos_token_id": BOS, "eos_token_id": EOS}
    with torch.random.fork_rng(devices=[]):
        config = GPT2Config(vocab_size=100, n_embd=32, n_layer=2, n_head=4, **drop, **ids)
        return new_policy(model=GPT2LMHeadModel(config))


def test_the_ratio_is_one_before_the_first_update_whatever_the_models_dropout() -> None:
    policy = dropping_policy()
    policy.eval()
    envs = as_vector_env("TextMath-v0", 8, tokenizer=policy.tokenizer)
    rollout, _ = collect(policy, envs, 8, generator=seeded(0), seed=0)
    for gradients in (False, True):
        with torch.set_grad_enabled(gradients):
            log_probs = policy(rollout.tokens, rollout.mask).log_probs
        ratio = (log_probs - rollout.log_probs).exp()
        torch.testing.assert_close(ratio, torch.ones_like(ratio), atol=1e-5, rtol=0)


# ------------------------------------------------------------------ precision and memory


def half() -> Policy:
    policy = new_policy()
    policy.autocast_dtype = torch.bfloat16
    return policy


def test_in_bfloat16_weights_gradients_and_the_optimizers_state_are_in_single_precision() -> None:
    policy, batch = half(), episodes()
    stats = policy(*batch)
    (stats.log_probs.sum() + stats.values.sum() + stats.entropies.sum()).backward()
    optimizer = torch.optim.AdamW(policy.parameters())
    optimizer.step()
    moments = [slot["exp_avg"] for slot in optimizer.state.values()]
    tensors = [*stats, *policy.parameters(), *(p.grad for p in policy.parameters()), *moments]
    assert {tensor.dtype for tensor in tensors} == {torch.float32}


def test_in_bfloat16_the_model_computes_in_it_and_nearly_the_same_comes_out() -> None:
    policy, batch, seen = half(), episodes(), []
    hook = policy.model.model.layers[0].mlp.register_forward_hook(
        lambda module, inputs, output: seen.append(output.dtype)
    )
    got, want = policy(*batch), new_policy()(*batch)
    hook.remove()
    assert seen == [torch.bfloat16]
    for a, b in zip(got, want, strict=True):
        assert 1e-4 < (a - b).abs().max() < 0.3
    with policy.autocast():
        logits = policy.model(batch[0]).logits
    assert logits.dtype == torch.bfloat16


def times_passed(policy: Policy, *, training: bool) -> tuple[int, list[Tensor]]:
    """How often the first layer runs for a loss and its gradient, and the gradient."""
    policy.train(training)
    policy.zero_grad()
    runs = []
    hook = policy.model.base_model.get_submodule("h.0.mlp").register_forward_pre_hook(
        lambda *_: runs.append(1)
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        policy(*episodes()).log_probs.sum().backward()
    hook.remove()
    return len(runs), [p.grad.clone() for p in policy.model.parameters()]


def test_gradient_checkpointing_works_without_dropout_too() -> None:
    """A policy learns in evaluation mode, in which transformers would keep all activations."""
    policy = dropping_policy()
    runs, want = times_passed(policy, training=False)
    enable_checkpointing(policy.model)
    for training in (False, True):
        again, gradients = times_passed(policy, training=training)
        assert (runs, again) == (1, 2)
        if not training:
            assert all(map(torch.equal, gradients, want))
    assert not policy.frozen_copy()(*episodes()).log_probs.requires_grad
    assert "forward" not in vars(policy.model.base_model.get_submodule("h.0"))


def test_a_model_that_caps_its_logits_is_judged_by_its_own_logits() -> None:
    ids = {"pad_token_id": PAD, "bos_token_id": BOS, "eos_token_id": EOS}
    config = Gemma2Config(
        vocab_size=100, hidden_size=32, intermediate_size=32, num_hidden_layers=2, head_dim=8,
        num_attention_heads=4, num_key_value_heads=2, final_logit_softcapping=2.0, **ids,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        policy = new_policy(model=enlarge(Gemma2ForCausalLM(config)))
    tokens, mask = episodes()
    logits = policy.model(tokens).logits[:, :-1].detach()
    assert 1.5 < logits.abs().max() <= 2.0
    logits[..., ILLEGAL] = -math.inf
    want = logits.log_softmax(-1).gather(-1, tokens[:, 1:, None])[..., 0]
    want = want.masked_fill(~mask[:, 1:], 0.0)
    got = policy(tokens, mask)
    torch.testing.assert_close(got.log_probs[:, 1:], want, atol=1e-5, rtol=0)
    assert got.values[mask].all()


# ------------------------------------------------------------------ a value network of its own


def separate() -> Policy:
    policy = new_policy()
    policy.separate_values()
    return policy


def test_a_separate_value_network_begins_with_the_heads_values() -> None:
    want = new_policy()(*episodes()).values
    for got in (separate()(*episodes()).values, separate().values(*episodes())):
        torch.testing.assert_close(got, want, atol=1e-6, rtol=0)


def test_a_separate_value_network_learns_and_leaves_the_policy_alone() -> None:
    policy = separate()
    before = policy(*episodes())
    policy(*episodes()).values.square().sum().backward()
    assert all(p.grad is None for p in policy.model.parameters())
    assert all(p.grad.any() for n, p in policy.value_model.named_parameters() if "proj" in n)
    torch.optim.SGD(policy.parameters(), lr=1e-2).step()
    after = policy(*episodes())
    assert torch.equal(after.log_probs, before.log_probs)
    assert (after.values - before.values).abs().max() > 0.01


def test_the_policys_loss_sends_no_gradient_into_the_value_network() -> None:
    policy = separate()
    stats = policy(*episodes())
    (stats.log_probs.sum() + stats.entropies.sum()).backward()
    values = [*policy.value_model.parameters(), *policy.value_head.parameters()]
    assert all(parameter.grad is None for parameter in values)


def test_a_reference_and_a_frozen_copy_have_no_value_network() -> None:
    policy = separate()
    assert policy.frozen_copy().value_model is None and policy.value_model is not None


@pytest.mark.parametrize("make", [new_policy, separate])
def test_revalue_asks_for_the_states_of_all_tokens_and_of_what_would_follow(make) -> None:
    """Row 0 was cut off from outside, row 1 ended, of row 2 nothing counts."""
    policy, (tokens, mask) = make(), episodes()
    mask[2] = False
    rollout = Rollout(
        tokens=tokens,
        mask=mask,
        log_probs=torch.zeros(mask.shape),
        values=torch.zeros(mask.shape),
        rewards=torch.zeros(mask.shape),
        terminated=torch.tensor([False, True, False]),
        problem=torch.arange(3),
        lengths=torch.tensor(LENGTHS),
    )
    got = policy.revalue(rollout, max_tokens=20)
    torch.testing.assert_close(got.values, policy.values(tokens, mask), atol=1e-5, rtol=0)
    state = policy.model(tokens[:1], output_hidden_states=True).hidden_states[-1][0, -1]
    want = [value_by_hand(policy, state.tolist()), 0.0, 0.0]
    torch.testing.assert_close(got.bootstrap, torch.tensor(want), atol=1e-5, rtol=0)


def test_decoding_does_not_ask_a_separate_value_network() -> None:
    assert not separate().value(torch.ones(3, 32)).any()


# ------------------------------------------------------------------ by name


def test_a_saved_value_network_is_loaded_again(tmp_path) -> None:
    policy = separate()
    with torch.no_grad():
        for parameter in policy.value_model.parameters():
            parameter.mul_(1.1)
    policy.save(tmp_path)
    loaded = load_policy(tmp_path)
    for got, want in zip(loaded(*episodes()), policy(*episodes()), strict=True):
        assert torch.equal(got, want)


def test_load_policy_sets_precision_adapter_checkpointing_and_value(tmp_path) -> None:
    new_policy().save(tmp_path)
    policy = load_policy(
        tmp_path,
        dtype="bfloat16",
        adapter=Adapter(rank=2),
        gradient_checkpointing=True,
        value="separate",
        device="cpu",
    )
    assert policy.autocast_dtype == torch.bfloat16 and policy.value_model is not None
    assert sum("lora_A" in name for name, _ in policy.model.named_parameters()) == 14
    with checkpointing(policy.model) as is_checkpointing:
        assert is_checkpointing
    stats = policy(*episodes())
    (stats.log_probs.sum() + stats.values.sum()).backward()
    trained = [parameter for parameter in policy.parameters() if parameter.requires_grad]
    assert all(parameter.grad is not None for parameter in trained)


def test_an_unknown_precision_is_refused() -> None:
    with pytest.raises(ValueError) as error:
        load_policy("tiny", dtype="float16")
    assert str(error.value) == "dtype is 'float16', expected one of float32, bfloat16"


def test_as_policy_takes_a_policy_or_a_model_with_its_tokenizer() -> None:
    policy = new_policy()
    assert as_policy(policy) is policy
    assert as_policy(policy.model, CharTokenizer()).model is policy.model
    with pytest.raises(TypeError, match="tokenizer is missing: a LlamaForCausalLM needs it"):
        as_policy(policy.model)


def test_as_policy_refuses_another_tokenizer_than_the_policys_own() -> None:
    class Longer(CharTokenizer):
        def __len__(self) -> int:
            return 101

    with pytest.raises(ValueError, match="the tokenizer has 101 tokens, the Policy's own 100"):
        as_policy(new_policy(), Longer())
