"""The policy: a causal language model with a value head, and the log-probabilities of its tokens.

The only place where logits are shifted against tokens: outside, index i speaks about token i.
"""

from __future__ import annotations

import copy
import os
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from agents import sampling as sampling_
from agents.adapters import Adapter, add_adapter, has_adapter, merged, without_adapter  # noqa: F401
from agents.sampling import Sampling
from textgym.tokenizer import CharTokenizer, Tokenizer, Vocabulary, load_tokenizer

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
    """What `Policy.reference` gives: called like the policy, without gradients."""

    def __call__(self, tokens: Tensor, mask: Tensor, **kwargs: Any) -> TokenStats:
        """See `Policy.forward`."""


class Policy(nn.Module):
    """A causal language model that chooses legal tokens, with a value head on its last layer.

    Tokens that an environment never allows (pad, bos, unk, and rows of the model's embedding which
    the tokenizer does not have) have probability 0, in sampling and in learning alike.

    Args:
        model: any Hugging Face causal language model.
        tokenizer: whose ids the actions are.

    Raises:
        ValueError: if the model has fewer embeddings than the tokenizer has tokens.
    """

    def __init__(self, model: nn.Module, tokenizer: Tokenizer) -> None:
        super().__init__()
        self.model = model
        self.tokenizer = load_tokenizer(tokenizer)
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

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return self.value_head.weight.device

    def legal_log_probs(self, logits: Tensor, temperature: float = 1.0) -> Tensor:
        """[..., V] log-probabilities in float32 of the distribution that tokens are drawn from."""
        logits = logits.float() / temperature
        return logits.masked_fill(self.illegal, -torch.inf).log_softmax(-1)

    def value(self, hidden: Tensor) -> Tensor:
        """[...] values of states [..., D] of the last layer.

        The trunk gets no gradient from them: the regression must not spoil what the language model
        knows.
        """
        features = functional.layer_norm(hidden.detach().float(), hidden.shape[-1:])
        # Of norm 1, so that one step of Adam moves a value by little, whatever the model's width.
        features = features / hidden.shape[-1] ** 0.5
        return self.value_head(features.to(self.value_head.weight.dtype)).squeeze(-1)

    def forward(
        self,
        tokens: Tensor,
        mask: Tensor,
        *,
        sampling: Sampling = Sampling(),
        legal: Tensor | None = None,
        temperature: float | None = None,
    ) -> TokenStats:
        """One teacher-forced pass over whole episodes.

        Args:
            tokens: [B, L] int64, padded on the right. No attention mask is needed: attention is
                causal, so nothing that counts can see the padding.
            mask: [B, L] bool, the tokens that matter; the others' results are 0.
            sampling: how the tokens were drawn.
            legal: [B, L, W] uint8, the tokens that the environment allowed (see `Rollout`); None
                or W = 0: all.
            temperature: short for Sampling(temperature=...).
        """
        if temperature is not None:
            sampling = Sampling(temperature=temperature)
        if tokens.shape[1] < 2 or not bool(mask.any()):
            zeros = self.value_head.weight.sum() * torch.zeros(tokens.shape, device=tokens.device)
            return TokenStats(zeros, zeros, zeros)
        # The logits at i - 1 speak of token i; leading columns that hold only prompt are left out.
        first = max(int(mask.any(0).nonzero()[0]) - 1, 0)
        columns = torch.arange(first, tokens.shape[1] - 1, device=tokens.device)
        output = self.model(
            input_ids=tokens,
            use_cache=False,
            output_hidden_states=True,
            logits_to_keep=columns,
        )
        chosen = mask[:, first + 1 :]
        logits = output.logits[chosen]  # [n, V]: nothing is normalised that nobody asks for
        picked_tokens, illegal = tokens[mask], self.illegal
        if legal is not None and legal.shape[-1]:
            bits = legal[mask].unsqueeze(-1) >> torch.arange(7, -1, -1, device=tokens.device) & 1
            illegal = illegal | (bits.flatten(1)[:, : len(illegal)] == 0)
        log_probs = sampling_.log_probs(logits, illegal, sampling, chosen=picked_tokens)
        picked = log_probs.gather(-1, picked_tokens.unsqueeze(-1)).squeeze(-1)
        # p log p is 0 where p is 0: -inf times 0 would be NaN.
        finite = log_probs.masked_fill(log_probs.isinf(), 0.0)
        entropies = -(log_probs.exp() * finite).sum(-1)
        values = self.value(output.hidden_states[-1][:, first:-1][chosen])
        return TokenStats(*(self._scatter(x, mask) for x in (picked, entropies, values)))

    @staticmethod
    def _scatter(values: Tensor, mask: Tensor) -> Tensor:
        """[n] values of the masked tokens -> [B, L], 0 elsewhere."""
        return values.new_zeros(mask.shape).masked_scatter(mask, values)

    def frozen_copy(self) -> Policy:
        """The policy as it is now, without gradients or dropout: a reference."""
        reference = copy.deepcopy(self).eval()
        return reference.requires_grad_(False)

    def reference(self) -> Reference:
        """The policy as it began: its log_probs stay, whatever the policy learns.

        With an adapter it is the same model with the adapter switched off, without a second copy;
        else a frozen copy.
        """
        return _AdapterOff(self) if has_adapter(self.model) else self.frozen_copy()

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write a folder that `AutoModelForCausalLM` and `AutoTokenizer.from_pretrained` load.

        The value head goes into a file of its own, `value_head.safetensors`.
        """
        from safetensors.torch import save_file

        if has_adapter(self.model):
            self.model.save_pretrained(Path(folder) / "adapter")
            merged(self.model).save_pretrained(folder)
        else:
            self.model.save_pretrained(folder)
        tokenizer: Any = self.tokenizer
        if isinstance(tokenizer, CharTokenizer):
            tokenizer = tokenizer.to_hugging_face()
        tokenizer.save_pretrained(folder)
        head = {name: x.detach().contiguous() for name, x in self.value_head.state_dict().items()}
        save_file(head, Path(folder) / "value_head.safetensors")


class _AdapterOff:
    """A policy's reference: the same model, without its adapter."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy

    @torch.no_grad()
    def __call__(self, tokens: Tensor, mask: Tensor, **kwargs: Any) -> TokenStats:
        policy, training = self.policy, self.policy.training
        policy.eval()  # dropout in the reference would be noise in the KL
        try:
            with policy.model.disable_adapter():
                return policy(tokens, mask, **kwargs)
        finally:
            policy.train(training)


def as_policy(model: Policy | nn.Module, tokenizer: Tokenizer | None = None) -> Policy:
    """A Policy as it is, or one made of a causal language model and its tokenizer.

    Raises:
        TypeError: if the model is no Policy and the tokenizer is missing.
    """
    if isinstance(model, Policy):
        return model
    if tokenizer is None:
        raise TypeError(
            f"tokenizer is missing: a {type(model).__name__} needs it, a Policy has its own"
        )
    return Policy(model, tokenizer)


def load_policy(
    name: str | os.PathLike[str] = "tiny",
    *,
    dtype: Literal["float32", "bfloat16"] = "float32",
    adapter: Adapter | None = None,
    gradient_checkpointing: bool = False,
    device: torch.device | str | None = None,
) -> Policy:
    """A policy from "tiny" (the embedded one), a Hugging Face name, a folder, or a run folder.

    Raises:
        OSError: if there is no such model; from transformers, naming what was looked for.
    """
    from transformers import AutoModelForCausalLM

    folder = TINY if str(name) == "tiny" else Path(name)
    if (folder / "policy").is_dir():
        folder = folder / "policy"
    source = str(folder) if folder.is_dir() else str(name)
    if device is None:
        device = "cuda" if torch.cuda.is_available() and folder != TINY else "cpu"
    model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32).to(device)
    if adapter is not None:
        model = add_adapter(model, adapter)
    policy = Policy(model, load_tokenizer(source))
    if (folder / "value_head.safetensors").is_file():
        from safetensors.torch import load_file

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
