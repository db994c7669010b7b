"""Log-probabilities in chunks equal those of all logits at once, gradients included."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    GraniteConfig,
    GraniteForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
)

from agents import log_probs
from agents.hugging_face import evaluating, head_scale
from agents.log_probs import Choices, from_hidden, from_logits
from agents.sampling import Sampling

NUM, WIDTH, VOCAB = 21, 8, 50
SAMPLINGS = [
    Sampling(),
    Sampling(temperature=0.6),
    Sampling(top_k=5),
    Sampling(top_p=0.8, temperature=1.3),
    Sampling(min_p=0.1),
]


@pytest.fixture(autouse=True, params=[0, 2**26], ids=["made again", "kept"])
def small_chunks(request, monkeypatch) -> None:
    """Five chunks of 21 states, the last of one; their log-probabilities are kept or not."""
    monkeypatch.setattr(log_probs, "KEPT_ON_CPU", request.param)
    monkeypatch.setattr(log_probs, "FEWEST_ROWS", 5)
    monkeypatch.setattr(log_probs, "CHUNK_ON_CPU", 5 * VOCAB)


def states_and_head(bias: bool = False) -> tuple[Tensor, nn.Linear]:
    generator = torch.Generator().manual_seed(0)
    head = nn.utils.skip_init(nn.Linear, WIDTH, VOCAB, bias=bias)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.normal_(generator=generator)
    return torch.randn(NUM, WIDTH, generator=generator).requires_grad_(), head


def choices(sampling: Sampling = SAMPLINGS[0], masked: bool = False) -> Choices:
    """Tokens 0, 7 and 8 are never legal; with masks, a random half of the others is not."""
    rng = np.random.default_rng(0)
    illegal = torch.zeros(VOCAB, dtype=torch.bool)
    illegal[[0, 7, 8]] = True
    tokens = rng.integers(9, VOCAB, NUM)
    legal = None
    if masked:
        allowed = rng.random((NUM, VOCAB)) < 0.5
        allowed[np.arange(NUM), tokens] = True
        legal = torch.from_numpy(np.packbits(allowed, axis=1))
    return Choices(torch.from_numpy(tokens), illegal, sampling, legal)


def plainly(logits: Tensor, choices: Choices) -> tuple[Tensor, Tensor]:
    """A softmax over the set of tokens that the filters leave, found by sorting, row by row."""
    picked, entropies, sampling = [], [], choices.sampling
    for i, token in enumerate(choices.tokens.tolist()):
        legal = ~choices.illegal.numpy()
        if choices.legal is not None:
            legal = legal & np.unpackbits(choices.legal[i].numpy())[:VOCAB].astype(bool)
        row = logits[i].double() / sampling.temperature
        kept = sorted(np.flatnonzero(legal).tolist(), key=lambda a: -row[a].item())
        if sampling.top_k:
            kept = kept[: sampling.top_k]
        if sampling.top_p < 1:
            sums = row[kept].softmax(0).cumsum(0)
            kept = kept[: int((sums < sampling.top_p).sum()) + 1]
        if sampling.min_p:
            best = row[kept[0]].item() + np.log(sampling.min_p)
            kept = [a for a in kept if row[a].item() >= best]
        kept = sorted({*kept, token})
        every = row[kept].log_softmax(0)
        picked.append(every[kept.index(token)])
        entropies.append(-(every.exp() * every).sum())
    return torch.stack(picked), torch.stack(entropies)


@pytest.mark.parametrize(("sampling", "masked"), list(itertools.product(SAMPLINGS, [False, True])))
def test_results_and_gradients_equal_a_softmax_over_the_tokens_that_are_left(
    sampling: Sampling, masked: bool
) -> None:
    hidden, head = states_and_head(bias=masked)
    chosen, leaves = choices(sampling, masked), [hidden, *head.parameters()]
    weights = torch.randn(2, NUM, generator=torch.Generator().manual_seed(1))

    def all_of(pair: tuple[Tensor, Tensor]) -> list[Tensor]:
        loss = (pair[0] * weights[0]).sum() + (pair[1] * weights[1]).sum()
        return [*pair, *torch.autograd.grad(loss, leaves)]

    want = all_of(plainly(head(hidden), chosen))
    for got in (from_hidden(hidden, head, chosen), from_logits(head(hidden), chosen)):
        for a, b in zip(all_of(got), want, strict=True):
            torch.testing.assert_close(a.double(), b.double(), atol=1e-5, rtol=1e-5)


def test_the_logits_exist_for_one_chunk_at_a_time(monkeypatch) -> None:
    sizes = []
    original = Choices.log_probs

    def watched(self: Choices, logits: Tensor) -> Tensor:
        sizes.append(list(logits.shape))
        return original(self, logits)

    monkeypatch.setattr(Choices, "log_probs", watched)
    monkeypatch.setattr(log_probs, "KEPT_ON_CPU", 0)
    hidden, head = states_and_head()
    picked, _ = from_hidden(hidden, head, choices())
    # Nothing of the size of the logits waits for the backward pass, which makes them again.
    assert all(x.numel() <= VOCAB * WIDTH for x in picked.grad_fn.saved_tensors if x is not None)
    picked.sum().backward()
    assert sizes == 2 * ([[5, VOCAB]] * 4 + [[1, VOCAB]])


def test_an_entropy_that_no_loss_uses_has_no_backward_pass_of_its_own(monkeypatch) -> None:
    seen = []
    original = log_probs._logits_grad

    def watched(every, part, picked_grad, entropy_grad, entropies) -> Tensor:
        seen.append(entropy_grad is None)
        return original(every, part, picked_grad, entropy_grad, entropies)

    monkeypatch.setattr(log_probs, "_logits_grad", watched)
    hidden, head = states_and_head()
    picked, entropies = from_hidden(hidden, head, choices())
    (picked.sum() + 0.0 * entropies.detach().sum()).backward()
    assert seen and all(seen)


def test_a_frozen_head_gets_no_gradient_and_passes_it_on() -> None:
    hidden, head = states_and_head()
    from_hidden(hidden, head, choices())[0].sum().backward()
    want, hidden.grad = hidden.grad, None
    head.requires_grad_(False)
    head.zero_grad()
    from_hidden(hidden, head, choices())[0].sum().backward()
    assert torch.equal(hidden.grad, want) and head.weight.grad is None


def test_under_autocast_the_softmax_is_taken_in_single_precision() -> None:
    hidden, head = states_and_head()
    chosen = choices()
    with torch.autocast("cpu", torch.bfloat16):
        got, entropies = from_hidden(hidden, head, chosen)
    got.sum().backward()
    logits = (hidden.bfloat16() @ head.weight.bfloat16().T).float()  # only the matrix is rounded
    want, _ = plainly(logits, chosen)
    assert got.dtype == entropies.dtype == head.weight.grad.dtype == torch.float32
    torch.testing.assert_close(got.double(), want, atol=1e-5, rtol=1e-5)
    rounded = logits.bfloat16().masked_fill(chosen.illegal, -torch.inf).log_softmax(-1)
    rounded = rounded.gather(1, chosen.tokens[:, None])[:, 0]
    assert (rounded.double() - want).abs().max() > 5e-3  # what a softmax in bfloat16 would lose


SIZES = {
    "vocab_size": 60,
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "pad_token_id": 0,
}


@pytest.mark.parametrize(
    ("make", "scale"),
    [
        (lambda: LlamaForCausalLM(LlamaConfig(**SIZES)), 1.0),
        (lambda: GraniteForCausalLM(GraniteConfig(**SIZES, logits_scaling=4.0)), 0.25),
        # Caps its logits at 30, of which small logits, as those of a new model, show nothing.
        (lambda: Gemma2ForCausalLM(Gemma2Config(**SIZES, head_dim=8)), None),
    ],
)
def test_what_a_model_does_to_its_logits_is_found_out(make, scale: float | None) -> None:
    with torch.random.fork_rng(devices=[]):
        model = make()
    with evaluating(model):
        found = head_scale(model)
    assert found == (scale if scale is None else pytest.approx(scale, rel=1e-6))
