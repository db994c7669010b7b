"""An adapter learns while its model stays; the reference is that model; files hold both."""

from __future__ import annotations

import gymnasium as gym
import pytest
import torch
from peft import PeftModel, PromptTuningConfig, get_peft_model
from torch import Tensor
from transformers import AutoModelForCausalLM

from agents.adapters import Adapter, add_adapter
from agents.checkpoint import load_checkpoint, save_checkpoint
from agents.environments import as_vector_env
from agents.models import Policy, load_policy, new_tiny_model
from agents.rollout import collect
from textgym import CharTokenizer

SMALL = Adapter(rank=2, alpha=4.0)
KINDS = [SMALL, Adapter(rank=2, alpha=4.0, dora=True)]


def tiny() -> torch.nn.Module:
    return new_tiny_model(0, hidden_size=32, num_layers=2)


def new_policy(adapter: Adapter = SMALL, learned: bool = True) -> Policy:
    """A policy with an adapter, which has learned something or nothing yet."""
    policy = Policy(add_adapter(tiny(), adapter), CharTokenizer())
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in policy.model.named_parameters():
            if learned and "lora_B" in name:
                parameter.normal_(std=0.3, generator=generator)
    return policy


def batch() -> tuple[Tensor, Tensor]:
    """Four rows of two prompts."""
    tokens = torch.randint(4, 100, (4, 12), generator=torch.Generator().manual_seed(1))
    tokens[:, :6] = tokens[::2, :6].repeat_interleave(2, 0)
    return tokens, (torch.arange(12) >= 6).expand_as(tokens)


def train(policy: Policy) -> torch.optim.Optimizer:
    """One large step."""
    parameters = [p for p in policy.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=0.05)
    stats = policy(*batch())
    (stats.log_probs.sum() + (stats.values - 1.0).square().sum()).backward()
    optimizer.step()
    return optimizer


@pytest.mark.parametrize("adapter", KINDS)
def test_a_fresh_adapter_changes_nothing(adapter: Adapter) -> None:
    want = Policy(tiny(), CharTokenizer())(*batch()).log_probs
    got = new_policy(adapter, learned=False)(*batch()).log_probs
    torch.testing.assert_close(got, want, atol=1e-6, rtol=0)


@pytest.mark.parametrize("adapter", KINDS)
def test_only_the_adapter_and_the_value_head_learn(adapter: Adapter) -> None:
    policy = new_policy(adapter)
    before = {name: x.clone() for name, x in policy.named_parameters()}
    train(policy)
    changed = {name for name, x in policy.named_parameters() if not torch.equal(x, before[name])}
    assert {"value_head.weight", "value_head.bias"} < changed
    assert all("lora_" in name or name.startswith("value_head") for name in changed)
    assert sum("lora_B" in name for name in changed) == 2 * 7  # every linear map of both layers


def test_the_reference_is_the_model_without_the_adapter_and_stays() -> None:
    """A reference with the adapter left on would say that the KL is 0."""
    policy = new_policy(learned=False)
    reference = policy.reference()
    want = Policy(tiny(), CharTokenizer())(*batch())
    for _ in range(2):
        got = reference(*batch())
        assert torch.equal(got.log_probs, want.log_probs.detach())
        train(policy)
    assert (policy(*batch()).log_probs - want.log_probs).abs().max() > 0.1
    assert not got.log_probs.requires_grad


def test_the_reference_is_no_second_copy_and_leaves_the_policy_as_it_was() -> None:
    policy = new_policy(learned=False).train()
    reference = policy.reference()
    train(policy)
    before = policy(*batch()).log_probs
    trained = [name for name, x in policy.named_parameters() if x.requires_grad]
    assert vars(reference) == {"policy": policy}
    reference(*batch())
    assert policy.training and all(module.training for module in policy.modules())
    assert [name for name, x in policy.named_parameters() if x.requires_grad] == trained
    assert torch.equal(policy(*batch()).log_probs, before)


def test_the_reference_keeps_what_an_adapter_has_learned_before() -> None:
    """As after supervised training of one adapter, which DPO goes on with."""
    policy = new_policy()
    want = policy(*batch()).log_probs
    reference = policy.reference()
    train(policy)
    assert torch.equal(reference(*batch()).log_probs, want)
    assert (policy(*batch()).log_probs - want).abs().max() > 0.1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("adapter", [None, *KINDS])
def test_a_value_network_with_an_adapter_is_saved_merged(tmp_path, kind, adapter) -> None:
    """So that it can be loaded without one, or with a fresh one."""
    policy = new_policy(kind)
    policy.separate_values()
    train(policy)
    policy.save(tmp_path)
    loaded = load_policy(tmp_path, adapter=adapter)
    torch.testing.assert_close(
        loaded.values(*batch()), policy.values(*batch()), atol=1e-5, rtol=1e-4
    )
    trained = [name for name, x in loaded.value_model.named_parameters() if x.requires_grad]
    assert all("lora_" in name for name in trained) == (adapter is not None)


def test_the_adapters_dropout_is_off_in_the_reference() -> None:
    policy = new_policy(Adapter(rank=2, alpha=4.0, dropout=0.5)).train()
    with torch.random.fork_rng(devices=[]):
        first, second = (policy(*batch()).log_probs for _ in range(2))
        assert not torch.equal(first, second)
        first, second = (policy.reference()(*batch()).log_probs for _ in range(2))
    assert torch.equal(first, second)


@pytest.mark.parametrize("adapter", KINDS)
def test_the_samplers_log_probs_are_the_learners(adapter: Adapter) -> None:
    policy = new_policy(adapter)
    envs = as_vector_env(gym.make("TextMath-v0", tokenizer=policy.tokenizer), 8)
    rollout, _ = collect(policy, envs, 8, generator=torch.Generator().manual_seed(0), seed=0)
    stats = policy(rollout.tokens, rollout.mask)
    torch.testing.assert_close(stats.log_probs, rollout.log_probs, atol=1e-5, rtol=0)
    off = Policy(tiny(), CharTokenizer())(rollout.tokens, rollout.mask).log_probs
    assert (off - rollout.log_probs).abs().max() > 0.1  # the adapter's part in them


@pytest.mark.parametrize("adapter", KINDS)
def test_a_saved_folder_holds_the_merged_model_and_the_adapter(tmp_path, adapter: Adapter) -> None:
    policy, (tokens, mask) = new_policy(adapter), batch()
    frozen = {name: x.clone() for name, x in policy.state_dict().items()}
    policy.save(tmp_path)
    want = policy.model(tokens).logits
    merged = AutoModelForCausalLM.from_pretrained(tmp_path)
    torch.testing.assert_close(merged(tokens).logits, want, atol=1e-5, rtol=1e-5)
    base = PeftModel.from_pretrained(tiny(), tmp_path / "adapter")
    torch.testing.assert_close(base(tokens).logits, want, atol=1e-6, rtol=1e-6)
    loaded = load_policy(tmp_path, adapter=adapter)
    got, known = loaded.reference()(tokens, mask), policy(tokens, mask)
    torch.testing.assert_close(got.log_probs, known.log_probs, atol=1e-5, rtol=1e-5)
    # Saving has merged a copy: the policy itself is what it was, to the last bit.
    assert all(torch.equal(x, frozen[name]) for name, x in policy.state_dict().items())


def test_a_checkpoint_holds_what_trains_and_goes_on_from_there(tmp_path) -> None:
    policy = new_policy(learned=False)
    optimizer = train(policy)
    save_checkpoint(tmp_path, model=policy, optimizer=optimizer, state={})
    sizes = {name: p.numel() for name, p in policy.named_parameters() if p.requires_grad}
    size = (tmp_path / "checkpoint.safetensors").stat().st_size
    weights_and_moments = 3 * 4 * sum(sizes.values())
    assert weights_and_moments < size < weights_and_moments + 60_000  # the header
    again = new_policy(learned=False)
    parameters = [p for p in again.parameters() if p.requires_grad]
    load_checkpoint(tmp_path, model=again, optimizer=torch.optim.AdamW(parameters, lr=0.05))
    for got, want in zip(again(*batch()), policy(*batch()), strict=True):
        assert torch.equal(got, want)


def test_a_fresh_adapter_leaves_the_global_generator_alone() -> None:
    model, before = tiny(), torch.get_rng_state()
    add_adapter(model, SMALL)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_policy_of_a_callers_own_peft_model_has_the_base_as_reference() -> None:
    model = add_adapter(tiny(), SMALL)
    assert Policy(model, CharTokenizer()).reference().policy.model is model


def test_prompt_tuning_is_refused() -> None:
    with torch.random.fork_rng(devices=[]):
        config = PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2)
        model = get_peft_model(tiny(), config)
    with pytest.raises(ValueError) as error:
        Policy(model, CharTokenizer())
    assert str(error.value) == (
        "the model has an adapter of type PROMPT_TUNING, expected one that changes layers, as LoRA "
        "does"
    )


def test_an_adapters_fields_are_checked() -> None:
    with pytest.raises(ValueError, match="rank is 0, expected an integer of at least 1"):
        add_adapter(tiny(), Adapter(rank=0))


def test_a_rank_alone_is_no_adapter() -> None:
    with pytest.raises(TypeError, match=r"adapter is 8, expected an Adapter, such as Adapter\("):
        add_adapter(new_tiny_model(0), 8)
