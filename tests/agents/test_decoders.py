"""The lean network for the Llama family computes what transformers does, or leaves it to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from agents import generation
from agents.decoders.hugging_face import HuggingFaceNetwork
from agents.decoders.llama import LlamaNetwork, is_llama
from agents.generation import SlotDecoder
from agents.models import Policy
from textgym import CharTokenizer

torch.set_num_threads(1)  # for tensors this small a second thread costs more than it gives

SMALL = dict(
    vocab_size=100,
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=64,
)


def random(model_class: Any, config_class: Any, **options: Any) -> nn.Module:
    """A model whose every weight counts: norms and biases too."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        model = model_class(config_class(**{**SMALL, **options})).eval()
        for parameter in model.parameters():
            parameter.normal_(1.0 if parameter.ndim == 1 else 0.0, 0.3)
    return model


def adapted(**options: Any) -> nn.Module:
    """With an adapter that changes what the model says."""
    model = random(LlamaForCausalLM, LlamaConfig)
    targets = ["q_proj", "v_proj", "o_proj", "down_proj", "lm_head"]
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(1)
        model = get_peft_model(model, LoraConfig(r=4, target_modules=targets, **options)).eval()
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0.0, 0.3)
    return model


FAMILY: dict[str, Callable[[], nn.Module]] = {
    "llama": lambda: random(LlamaForCausalLM, LlamaConfig),
    "llama, one key a query": lambda: random(LlamaForCausalLM, LlamaConfig, num_key_value_heads=4),
    "llama, one key in all": lambda: random(LlamaForCausalLM, LlamaConfig, num_key_value_heads=1),
    "llama, biases": lambda: random(
        LlamaForCausalLM, LlamaConfig, attention_bias=True, mlp_bias=True
    ),
    "llama, tied": lambda: random(LlamaForCausalLM, LlamaConfig, tie_word_embeddings=True),
    "llama, wide heads, gelu": lambda: random(
        LlamaForCausalLM, LlamaConfig, head_dim=16, hidden_act="gelu", rms_norm_eps=0.1
    ),
    "mistral": lambda: random(MistralForCausalLM, MistralConfig, sliding_window=None),
    "qwen2": lambda: random(Qwen2ForCausalLM, Qwen2Config),
    "qwen3": lambda: random(Qwen3ForCausalLM, Qwen3Config, head_dim=8),
    "lora": adapted,
    "dora": lambda: adapted(use_dora=True),
}


def tokens_of(rows: int, length: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(4, 100, (rows, length), generator=generator)


def says(decoder: SlotDecoder) -> Tensor:
    return decoder.logits.log_softmax(-1)


def full_forward(model: nn.Module, tokens: Tensor) -> Tensor:
    """[B, L, V] by transformers, teacher-forced."""
    with torch.no_grad():
        return model(tokens, use_cache=False).logits.log_softmax(-1)


@pytest.mark.parametrize("name", FAMILY)
def test_the_lean_network_equals_one_forward_of_transformers(name: str) -> None:
    model = FAMILY[name]()
    assert is_llama(model)
    decoder = SlotDecoder(Policy(model, CharTokenizer()), 3, 30)
    assert isinstance(decoder.network, LlamaNetwork)
    tokens, lengths = tokens_of(3, 30), torch.tensor([9, 5, 12])
    want = full_forward(model, tokens)
    prompts = torch.full((3, 12), 77)
    for row, n in enumerate(lengths.tolist()):  # each at the right, rubbish in front
        prompts[row, 12 - n :] = tokens[row, :n]
    decoder.feed(None, prompts, torch.zeros(3, dtype=torch.long), lengths)
    for i in range(12):
        rows = torch.arange(3)
        error = (says(decoder) - want[rows, lengths + i - 1]).abs().max()
        assert error < 1e-4  # seen: 1e-5, of log-probabilities from 0 to -30
        single, ones = tokens[rows, lengths + i][:, None], torch.ones_like(lengths)
        if i == 5:  # in two calls, as when others are refilled
            for part in (torch.tensor([2, 0]), torch.tensor([1])):
                decoder.feed(part, single[part], (lengths + i)[part], ones[part])
        else:
            decoder.feed(None, single, lengths + i, ones)


def test_weights_that_an_optimizer_has_changed_are_seen() -> None:
    model = random(LlamaForCausalLM, LlamaConfig)
    decoder = SlotDecoder(Policy(model, CharTokenizer()), 2, 20)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    tokens = tokens_of(2, 10)
    before = full_forward(model, tokens)[:, -1]
    model(tokens).logits.square().mean().backward()
    optimizer.step()
    decoder.feed(None, tokens, torch.zeros(2, dtype=torch.long), torch.tensor([10, 10]))
    want = full_forward(model, tokens)[:, -1]
    assert (want - before).abs().max() > 1
    torch.testing.assert_close(says(decoder), want, atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", ["llama", "qwen3", "lora"])
def test_a_policy_that_computes_in_bfloat16_is_decoded_in_bfloat16(name: str) -> None:
    model = FAMILY[name]()
    policy = Policy(model, CharTokenizer(), dtype=torch.bfloat16).eval()
    decoder = SlotDecoder(policy, 4, 20)
    tokens = tokens_of(4, 16)
    decoder.feed(None, tokens[:, :15], torch.zeros(4, dtype=torch.long), torch.full((4,), 15))
    decoder.feed(None, tokens[:, 15:], torch.full((4,), 15), torch.ones(4, dtype=torch.long))
    assert next(decoder.network.model.parameters()).dtype == torch.bfloat16
    assert next(model.parameters()).dtype == torch.float32
    with policy.autocast():
        learned = full_forward(model, tokens)[:, -1].float()
    exact = full_forward(model, tokens)[:, -1]
    noise, error = (learned - exact).abs().mean(), (says(decoder) - learned).abs().mean()
    assert 0 < error < 2 * noise  # as far from autocast as autocast is from float32


def test_scaled_positions_other_families_and_other_adapters_are_left_to_transformers() -> None:
    llama3 = {
        **dict(rope_type="llama3", rope_theta=1e4, factor=2.0, low_freq_factor=1.0),
        **dict(high_freq_factor=4.0, original_max_position_embeddings=32),
    }
    scaled = random(LlamaForCausalLM, LlamaConfig, rope_parameters=llama3)
    gpt2 = GPT2LMHeadModel(GPT2Config(n_embd=32, n_layer=1, n_head=2, vocab_size=100))

    class Changed(LlamaForCausalLM):
        pass

    placed, normed = (random(LlamaForCausalLM, LlamaConfig) for _ in range(2))
    placed.hf_device_map = {"": "cpu"}
    normed.model.norm = nn.LayerNorm(32)
    others = [scaled, gpt2, random(Changed, LlamaConfig), placed, normed]
    assert [is_llama(model) for model in others] == [False] * 5
    decoder = SlotDecoder(Policy(scaled, CharTokenizer()), 2, 20)
    assert isinstance(decoder.network, HuggingFaceNetwork)
    tokens = tokens_of(2, 10)
    decoder.feed(None, tokens, torch.zeros(2, dtype=torch.long), torch.tensor([10, 10]))
    want = full_forward(scaled, tokens)[:, -1]
    torch.testing.assert_close(says(decoder), want, atol=1e-4, rtol=0)


NETWORKS = [LlamaNetwork, HuggingFaceNetwork]


@pytest.mark.parametrize("network", NETWORKS)
def test_equal_prompts_are_run_once_and_go_on_apart(network: Any) -> None:
    model = random(Qwen3ForCausalLM, Qwen3Config)
    decoder = SlotDecoder(Policy(model, CharTokenizer()), 6, 20, network=network)
    rows, lengths = [], []
    run = decoder._run
    decoder._run = lambda *args: rows.append(len(args[1])) or run(*args)  # type: ignore[method-assign]
    prompts = tokens_of(3, 8)[[0, 1, 0, 2, 1, 0]]
    lengths = torch.tensor([8, 5, 8, 8, 5, 5])  # the last has the first one's text, but shorter
    decoder.feed(None, prompts, torch.zeros(6, dtype=torch.long), lengths)
    assert rows == [4]
    own = [prompt[8 - n :] for prompt, n in zip(prompts, lengths.tolist(), strict=True)]
    for i in range(2):
        for slot in range(6):
            want = full_forward(model, own[slot][None])[0, -1]
            torch.testing.assert_close(says(decoder)[slot], want, atol=1e-4, rtol=0)
        new = tokens_of(6, 1, seed=i + 5)
        decoder.feed(None, new, lengths + i, torch.ones(6, dtype=torch.long))
        own = [torch.cat([a, b]) for a, b in zip(own, new, strict=True)]


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("limit", [8, 32, 1024])
def test_long_prompts_are_run_in_parts_that_change_nothing(
    network: Any, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = random(LlamaForCausalLM, LlamaConfig)
    monkeypatch.setattr(generation, "FORWARD_TOKENS", limit)
    decoder = SlotDecoder(Policy(model, CharTokenizer()), 5, 40, network=network)
    sizes, run = [], decoder._run
    decoder._run = lambda *args: sizes.append(args[1].numel()) or run(*args)  # type: ignore[method-assign]
    first, tokens = tokens_of(5, 7), tokens_of(5, 21, seed=1)
    decoder.feed(None, first, torch.zeros(5, dtype=torch.long), torch.full((5,), 7))
    lengths = torch.tensor([21, 1, 2, 13, 20])
    decoder.feed(None, tokens, torch.full((5,), 7), lengths)
    assert max(sizes) <= limit
    for slot, n in enumerate(lengths.tolist()):
        row = torch.cat([first[slot], tokens[slot, 21 - n :]])
        want = full_forward(model, row[None])[0, -1]
        torch.testing.assert_close(says(decoder)[slot], want, atol=1e-4, rtol=0)


@pytest.mark.parametrize("network", NETWORKS)
def test_padding_and_growth_overwrite_nothing(network: Any) -> None:
    model = random(LlamaForCausalLM, LlamaConfig)
    decoder = SlotDecoder(Policy(model, CharTokenizer()), 2, 60, network=network)
    tokens, ones = tokens_of(2, 60), torch.ones(2, dtype=torch.long)
    decoder.feed(None, tokens[:, :40], 0 * ones, 40 * ones)
    # Slot 0 hears a token again that it has, padded; slot 1 begins anew.
    decoder.feed(
        None,
        torch.stack([tokens[0, 1:4], tokens[1, :3]]),
        torch.tensor([3, 0]),
        torch.tensor([1, 3]),
    )
    for i in range(3, 20):
        at = torch.tensor([37 + i, i])
        decoder.feed(None, tokens[[0, 1], at][:, None], at, ones)
    want = torch.stack(
        [full_forward(model, tokens[:1, :57])[0, -1], full_forward(model, tokens[1:, :20])[0, -1]]
    )
    torch.testing.assert_close(says(decoder), want, atol=1e-4, rtol=0)
