"""A small tokenizer with a chat template, as instruct models have one."""

from __future__ import annotations

from typing import Any

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
CHARACTERS = "\n" + "".join(map(chr, range(32, 127)))
SPECIAL = ("<|pad|>", "<|bos|>", "<|im_start|>", "<|im_end|>")


def chat_tokenizer(template: str = CHATML, *, adds_bos: bool = False, **names: str) -> Any:
    """One token a character, but "oo" and two newlines are one; eos is the end of a turn.

    Args:
        template: its chat template.
        adds_bos: whether encoding with special tokens puts bos before a text.
        **names: other special tokens, such as eos_token.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, processors
    from transformers import PreTrainedTokenizerFast

    tokens = [*SPECIAL, *CHARACTERS, "oo", "\n\n"]
    vocabulary = {token: i for i, token in enumerate(tokens)}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[("o", "o"), ("\n", "\n")]))
    backend.decoder = decoders.Fuse()
    backend.add_special_tokens([AddedToken(token, special=True) for token in SPECIAL])
    if adds_bos:
        backend.post_processor = processors.TemplateProcessing(
            single="<|bos|> $A", special_tokens=[("<|bos|>", vocabulary["<|bos|>"])]
        )
    names = {"pad_token": "<|pad|>", "bos_token": "<|bos|>", "eos_token": "<|im_end|>", **names}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, clean_up_tokenization_spaces=False, **names
    )
    tokenizer.chat_template = template
    return tokenizer


def chat_model(seed: int = 0) -> Any:
    """An untrained Llama for the tokenizer, the same for equal seeds."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=len(SPECIAL) + len(CHARACTERS) + 2,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=512,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=3,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LlamaForCausalLM(config)
