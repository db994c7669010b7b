"""The policy: a causal language model with a value head, and the log-probabilities of its tokens.

The only place where logits are shifted against tokens: outside, index i speaks about token i.
"""

from __future__ import annotations

import copy
import dataclasses
import os
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from agents.adapters import (
    Adapter,
    add_adapter,
    check_adapter,
    has_adapter,
    is_fresh,
    loaded_trunk,
    merged,
    merged_layers,
    without_adapter,
)
from agents.batch import Rollout
from agents.distributed import in_step
from agents.hub import find_model
from agents.hugging_face import (
    attention_span,
    checkpointing,
    enable_checkpointing,
    evaluating,
    head_scale,
)
from agents.log_probs import Choices, from_hidden, from_logits
from agents.packing import can_share, split, states
from agents.sampling import Sampling
from textgym.tokenizer import CharTokenizer, Tokenizer, Vocabulary, load_tokenizer

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}

TINY = Path(__file__).parent / "assets" / "tiny"
"""The embedded default policy: a small Llama that can do a little arithmetic (see pretrain.py)."""


class TokenStats(NamedTuple):
    """What the policy says of each token of a batch, all [B, L]; column 0 is 0 throughout.

    log_probs: log pi(token i | tokens < i). entropies: of the distribution that token i was chosen
    from, in nats. values: v(s) of the state in which token i was chosen.
    """

    log_probs: Tensor
    entropies: Tensor
    values: Tensor


class Reference(Protocol):
    """What `Policy.reference` gives: called like the policy, it says what that said at first."""

    def __call__(
        self,
        tokens: Tensor,
        mask: Tensor,
        *,
        sampling: Sampling = ...,
        legal: Tensor | None = None,
    ) -> TokenStats:
        """See `Policy.forward`; without gradients."""


class Policy(nn.Module):
    """A causal language model that chooses legal tokens, and a value function.

    Tokens that an environment never allows (pad, bos, unk, and rows of the model's embedding which
    the tokenizer does not have) have probability 0, in sampling and in learning alike.

    Args:
        model: any Hugging Face causal language model, or peft's PeftModel of one.
        tokenizer: whose ids the actions are.
        value: "head": a linear function of the model's last layer, which it leaves as it is.
            "separate": a network of its own, which begins as a copy of the model (with an adapter,
            the copy learns by an adapter as well).
        dtype: bfloat16: the model computes in it (autocast); weights, log-probabilities and
            values stay in float32.

    Raises:
        ValueError: if the model has fewer embeddings than the tokenizer has tokens, or an adapter
            that is no part of its layers.
    """

    def __init__(
        self,
        model: nn.Module,
        tokenizer: Tokenizer,
        *,
        value: Literal["head", "separate"] = "head",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        check_adapter(model)
        self.model = model
        self.tokenizer = load_tokenizer(tokenizer)
        self.autocast_dtype = None if dtype == torch.float32 else dtype
        config, device = model.config.get_text_config(), next(model.parameters()).device
        vocabulary, size = Vocabulary(self.tokenizer), config.vocab_size
        if size < vocabulary.size:
            raise ValueError(
                f"the model has {size} embeddings and the tokenizer {vocabulary.size} tokens: call "
                "model.resize_token_embeddings(len(tokenizer))"
            )
        self.pad, self.eos = vocabulary.pad, vocabulary.eos
        illegal = torch.ones(size, dtype=torch.bool)
        illegal[: vocabulary.size] = torch.from_numpy(vocabulary.illegal)
        self.register_buffer("illegal", illegal.to(device), persistent=False)
        # skip_init: the layer's own initialization would draw from the global generator.
        self.value_head = nn.utils.skip_init(nn.Linear, config.hidden_size, 1, device=device)
        # Zero: a random head's values would be noise in the first advantages and gradients.
        nn.init.zeros_(self.value_head.weight)
        nn.init.zeros_(self.value_head.bias)
        self.head_scale: float | None = None
        self.longest_shared = 0.0  # tokens of the longest rows whose prompts may be shared
        if device.type != "meta":
            self._try_out()
        self.value_model: nn.Module | None = None
        if value == "separate":
            self.separate_values()

    def _try_out(self) -> None:
        """Find out which short ways lead to the model's own results."""
        model = without_adapter(self.model)
        with evaluating(model):
            self.head_scale = head_scale(model)
            if self.head_scale is not None and can_share(model.base_model):
                self.longest_shared = attention_span(model.config.get_text_config())

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return self.value_head.weight.device

    def autocast(self) -> torch.autocast:
        """The precision in which the model computes, for those who call `self.model` themselves."""
        dtype, kind = self.autocast_dtype, self.device.type
        return torch.autocast(kind, dtype or torch.bfloat16, enabled=dtype is not None)

    # ------------------------------------------------------------------ what is said of tokens

    def forward(
        self,
        tokens: Tensor,
        mask: Tensor,
        *,
        sampling: Sampling = Sampling(),
        legal: Tensor | None = None,
    ) -> TokenStats:
        """One teacher-forced pass over whole episodes.

        The logits are never held all at once (see log_probs.py), and prompts that rows share are
        computed once (see packing.py). The entropies' gradient costs nothing if it is not used.

        Args:
            tokens: [B, L] int64, padded on the right. No attention mask is needed: attention is
                causal, so nothing that counts can see the padding.
            mask: [B, L] bool, the tokens that matter; the others' results are 0.
            sampling: how the tokens were drawn.
            legal: [B, L, W] uint8, the tokens that the environment allowed (see `batch.Rollout`);
                None or W = 0: all.
        """
        if not bool(mask.any()):
            zeros = self._nothing(tokens)
            return TokenStats(zeros, zeros, zeros)
        picked, entropies, hidden = self._judge(tokens, mask, sampling, legal)
        if self.value_model is not None:
            values = self.values(tokens, mask)
        else:
            values = _scatter(self._read_values(hidden.detach()), mask)
        return TokenStats(_scatter(picked, mask), _scatter(entropies, mask), values)

    def values(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """[B, L] v(s) of the states in which the tokens under the mask were chosen, 0 elsewhere.

        Args:
            tokens: [B, L] int64, padded on the right.
            mask: [B, L] bool.
        """
        if self.value_model is None:
            return self(tokens, mask).values
        if not bool(mask.any()):
            return self._nothing(tokens)
        with self.autocast():
            hidden = self._states(self.value_model, tokens, mask)
        return _scatter(self._read_values(hidden), mask)

    @torch.no_grad()
    def revalue(self, rollout: Rollout, *, max_tokens: int | None = None) -> Rollout:
        """The rollout with `values` and `bootstrap` as the value function sees them now.

        Decoding does not ask a separate value network: its values are 0 until this is called.

        Args:
            rollout: some episodes.
            max_tokens: the most tokens, padding included, in one pass; None: all.
        """
        # The state after a row's last token is the one in which the token after it is chosen.
        tokens, mask = (functional.pad(x, (0, 1)) for x in (rollout.tokens, rollout.mask))
        mask.scatter_(1, rollout.lengths[:, None], ~rollout.terminated[:, None])
        mask[~rollout.mask.any(1)] = False  # no verdict: nothing of the row counts
        values = torch.zeros(mask.shape, device=mask.device)
        limits = {"max_rows": max(len(rollout), 1), "max_tokens": max_tokens}
        for rows in in_step(split(rollout.lengths + 1, **limits, groups=rollout.problem)):
            values[rows] = self.values(tokens[rows], mask[rows])
        bootstrap = values.gather(1, rollout.lengths[:, None])[:, 0]
        values = values[:, :-1].masked_fill(~rollout.mask, 0.0)
        return dataclasses.replace(rollout, values=values, bootstrap=bootstrap)

    def value(self, hidden: Tensor) -> Tensor:
        """[...] values of the model's states [..., D]; 0 if a separate network gives the values."""
        if self.value_model is not None:
            return hidden.new_zeros(hidden.shape[:-1], dtype=torch.float32)
        # The trunk gets no gradient: the regression must not spoil what the language model knows.
        return self._read_values(hidden.detach())

    def _read_values(self, hidden: Tensor) -> Tensor:
        features = functional.layer_norm(hidden.float(), hidden.shape[-1:])
        # Of norm 1, so that one step of Adam moves a value by little, whatever the model's width.
        features = features / hidden.shape[-1] ** 0.5
        return self.value_head(features.to(self.value_head.weight.dtype)).squeeze(-1)

    def _nothing(self, tokens: Tensor) -> Tensor:
        """[B, L] zeros that a loss can pass a gradient to."""
        return self.value_head.weight.sum() * torch.zeros(tokens.shape, device=tokens.device)

    def _judge(
        self, tokens: Tensor, mask: Tensor, sampling: Sampling, legal: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Log-probabilities [n], entropies [n] and states [n, D] of the tokens under the mask."""
        legal = None if legal is None else legal[mask]
        choices = Choices(tokens[mask], self.illegal, sampling, legal)
        with self.autocast():
            if self.head_scale is None:
                hidden, logits = self._states_and_logits(tokens, mask)
                return *from_logits(logits, choices), hidden
            model = without_adapter(self.model)
            hidden = self._states(model.base_model, tokens, mask)
            scaled = hidden if self.head_scale == 1.0 else hidden * self.head_scale
            return *from_hidden(scaled, model.get_output_embeddings(), choices), hidden

    def _states(self, trunk: nn.Module, tokens: Tensor, mask: Tensor) -> Tensor:
        """[n, D] states in which the n tokens under the mask were chosen."""
        with checkpointing(trunk) as is_checkpointing:
            # Recomputed layers do not keep the prompts' keys and values.
            share = tokens.shape[1] <= self.longest_shared and not is_checkpointing
            return states(trunk, tokens, mask, share=share)

    def _states_and_logits(self, tokens: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """The same and the model's own logits [n, V], for a head that is more than one matrix."""
        # The logits at i - 1 speak of token i; leading columns that hold only prompt are left out.
        first = int(mask.any(0).nonzero()[0]) - 1
        columns = torch.arange(first, tokens.shape[1] - 1, device=tokens.device)
        with checkpointing(self.model):
            output = self.model(
                input_ids=tokens,
                use_cache=False,
                output_hidden_states=True,
                logits_to_keep=columns,
            )
        chosen = mask[:, first + 1 :]
        return output.hidden_states[-1][:, first:-1][chosen], output.logits[chosen]

    # ------------------------------------------------------------------ copies and files

    def separate_values(self) -> None:
        """Give the value function a network of its own, a copy of the model as it is now."""
        self.value_model = copy.deepcopy(without_adapter(self.model).base_model)

    def frozen_copy(self) -> Policy:
        """The policy as it is now, without gradients or dropout, or a value network."""
        reference = copy.deepcopy(self, {id(self.value_model): None}).eval()
        return reference.requires_grad_(False)

    def reference(self) -> Reference:
        """The policy as it began: its log_probs stay, whatever the policy learns.

        With a fresh adapter it is the same model with the adapter switched off, without a second
        copy; else a frozen copy, which keeps what the adapter has learned so far.
        """
        is_model = has_adapter(self.model) and is_fresh(self.model)
        return _AdapterOff(self) if is_model else self.frozen_copy()

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write a folder that `AutoModelForCausalLM` and `AutoTokenizer.from_pretrained` load.

        What an adapter learned is merged into the weights; the adapter itself goes into
        `adapter/`, as peft writes it. The value function goes into files of its own,
        `value_head.safetensors` and, if it is a network, `value_model.safetensors`.
        """
        from safetensors.torch import save_file, save_model

        folder = Path(folder)
        if has_adapter(self.model):
            merged(self.model).save_pretrained(folder)
            self.model.save_pretrained(folder / "adapter")
        else:
            self.model.save_pretrained(folder)
        tokenizer: Any = self.tokenizer
        if isinstance(tokenizer, CharTokenizer):
            tokenizer = tokenizer.to_hugging_face()
        tokenizer.save_pretrained(folder)
        head = {name: x.detach().contiguous() for name, x in self.value_head.state_dict().items()}
        save_file(head, folder / "value_head.safetensors")
        if self.value_model is not None:
            value_model = self.value_model
            if has_adapter(self.model):
                value_model = merged_layers(value_model)
            save_model(value_model, str(folder / "value_model.safetensors"))


def _scatter(values: Tensor, mask: Tensor) -> Tensor:
    """[n] values of the masked tokens -> [B, L], 0 elsewhere."""
    return values.new_zeros(mask.shape).masked_scatter(mask, values)


class _AdapterOff:
    """A policy's reference: the same model, without its adapter."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy

    @torch.no_grad()
    def __call__(
        self,
        tokens: Tensor,
        mask: Tensor,
        *,
        sampling: Sampling = Sampling(),
        legal: Tensor | None = None,
    ) -> TokenStats:
        policy, zeros = self.policy, torch.zeros(mask.shape, device=mask.device)
        if not bool(mask.any()):
            return policy(tokens, mask)
        # Dropout in the reference would be noise in the KL. Its values nobody asks for.
        with evaluating(policy), policy.model.disable_adapter():
            picked, entropies, _ = policy._judge(tokens, mask, sampling, legal)
        return TokenStats(_scatter(picked, mask), _scatter(entropies, mask), zeros)


def as_policy(model: Policy | nn.Module, tokenizer: Tokenizer | None = None) -> Policy:
    """A Policy as it is, or one made of a causal language model and its tokenizer.

    Raises:
        TypeError: if the model is no Policy and the tokenizer is missing.
        ValueError: if the model is a Policy and the tokenizer is another one than its own.
    """
    if isinstance(model, Policy):
        own = len(model.tokenizer)
        if isinstance(tokenizer, Tokenizer) and len(tokenizer) != own:
            raise ValueError(
                f"the tokenizer has {len(tokenizer)} tokens, the Policy's own {own}: leave it out"
            )
        return model
    if tokenizer is None:
        raise TypeError(
            f"tokenizer is missing: a {type(model).__name__} needs it; load_policy(NAME) has both"
        )
    return Policy(model, tokenizer)


def source_of(name: str | os.PathLike[str]) -> str:
    """What transformers is to load for "tiny", a Hugging Face name, a folder, or a run folder."""
    folder = TINY if str(name) == "tiny" else Path(name)
    folder = folder / "policy" if (folder / "policy").is_dir() else folder
    return str(folder) if folder.is_dir() else str(name)


def load_policy(
    name: str | os.PathLike[str] = "tiny",
    *,
    dtype: Literal["float32", "bfloat16"] = "float32",
    adapter: Adapter | None = None,
    gradient_checkpointing: bool = False,
    value: Literal["head", "separate"] = "head",
    device: torch.device | str | None = None,
) -> Policy:
    """A policy from "tiny" (the embedded one), a Hugging Face name, a folder, or a run folder.

    Args:
        name: which one. A folder that `Policy.save` wrote brings its value function along.
        dtype: "bfloat16": the model computes in it, by autocast. What learns stays in float32.
        adapter: learn by a fresh adapter of this kind; the loaded weights are the reference.
        gradient_checkpointing: compute activations again in the backward pass instead of holding
            them: a third more work, much less memory.
        value: see `Policy`.
        device: None: the GPU, if there is one; "tiny" is fastest on the CPU.

    Raises:
        OSError: if there is no such model, naming what was looked for.
        ValueError: if dtype is unknown, or adapter's fields are out of range.
    """
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM

    if dtype not in DTYPES:
        raise ValueError(f"dtype is {dtype!r}, expected one of {', '.join(DTYPES)}")
    source = find_model(source_of(name))
    folder = Path(source)
    if device is None:
        device = "cuda" if torch.cuda.is_available() and folder != TINY else "cpu"
    model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32).to(device)
    saved = folder / "value_model.safetensors"
    value_model = loaded_trunk(model, saved, adapter) if saved.is_file() else None
    if adapter is not None:
        model = add_adapter(model, adapter)
    if gradient_checkpointing:
        enable_checkpointing(without_adapter(model))
        if value_model is not None:
            enable_checkpointing(value_model)
    value = "head" if value_model is not None else value
    policy = Policy(model, load_tokenizer(source), value=value, dtype=DTYPES[dtype])
    policy.value_model = value_model or policy.value_model
    if (folder / "value_head.safetensors").is_file():
        policy.value_head.load_state_dict(load_file(folder / "value_head.safetensors"))
    return policy


def new_tiny_model(seed: int, *, hidden_size: int = 64, num_layers: int = 3) -> nn.Module:
    """An untrained Llama for the built-in tokenizer, tied embeddings, the same for equal seeds."""
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = CharTokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden_size,
        intermediate_size=3 * hidden_size,
        num_hidden_layers=num_layers,
        num_attention_heads=4,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LlamaForCausalLM(config)
