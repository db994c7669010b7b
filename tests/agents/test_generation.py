"""Decoding with a cache gives what one forward over the whole episode gives, and samples fairly."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor, nn
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GemmaConfig,
    GemmaForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MambaConfig,
    MambaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from agents.generation import Choice, SlotDecoder
from agents.models import Policy
from agents.sampling import Sampling
from textgym import CharTokenizer

torch.set_num_threads(1)  # for tensors this small a second thread costs more than it gives

EOS, ILLEGAL = 2, [0, 1, 3]
NUM_TOKENS = 100

SMALL = dict(
    vocab_size=NUM_TOKENS,
    hidden_size=32,
    intermediate_size=64,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=8,
    max_position_embeddings=64,
)

ARCHITECTURES: dict[str, Callable[[], nn.Module]] = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**SMALL)),
    "llama-eager": lambda: LlamaForCausalLM(LlamaConfig(**SMALL, attn_implementation="eager")),
    "qwen3": lambda: Qwen3ForCausalLM(Qwen3Config(**SMALL)),
    "gpt2": lambda: GPT2LMHeadModel(
        GPT2Config(
            **dict(vocab_size=NUM_TOKENS, bos_token_id=1, eos_token_id=2),
            **dict(n_embd=32, n_layer=2, n_head=4, n_positions=64),
        )
    ),
    "gemma": lambda: GemmaForCausalLM(GemmaConfig(**SMALL)),
    "gemma2": lambda: Gemma2ForCausalLM(Gemma2Config(**SMALL, query_pre_attn_scalar=8)),
    "gemma3": lambda: Gemma3ForCausalLM(Gemma3TextConfig(**SMALL, query_pre_attn_scalar=8)),
}


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def new_policy(architecture: str = "llama") -> Policy:
    """A random policy whose every weight counts, the value head's too; without dropout."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        policy = Policy(ARCHITECTURES[architecture](), CharTokenizer()).eval()
        for parameter in policy.model.parameters():
            if parameter.ndim == 2:
                parameter.mul_(15.0)
        policy.value_head.weight.normal_()
    return policy


class Episodes:
    """Keeps the books of a decoder: what each slot was fed and what was said of its tokens."""

    def __init__(self, decoder: SlotDecoder, prompts: Sequence[Sequence[int]]) -> None:
        self.decoder, self.generator = decoder, seeded(0)
        self.tokens: list[list[int]] = [[] for _ in prompts]
        self.said: list[list[tuple[int, float, float]]] = [[] for _ in prompts]
        self.finished: list[tuple[list[int], list[tuple[int, float, float]]]] = []
        self.feed(None, prompts)

    def feed(self, slots: Sequence[int] | None, new: Sequence[Sequence[int]]) -> None:
        """Append tokens to the slots, in one call, shorter rows with rubbish in front."""
        rows = range(len(self.tokens)) if slots is None else slots
        width = max(map(len, new))
        starts = [len(self.tokens[slot]) for slot in rows]
        for slot, tokens in zip(rows, new, strict=True):
            self.tokens[slot] += tokens
        self.decoder.feed(
            None if slots is None else torch.tensor(slots),
            torch.tensor([[77] * (width - len(tokens)) + list(tokens) for tokens in new]),
            torch.tensor(starts),
            torch.tensor([len(tokens) for tokens in new]),
        )

    def choose(self, greedy: bool = False) -> list[list[int]]:
        """The next token of each slot, noted but not fed yet."""
        points = None if greedy else torch.rand(len(self.tokens), generator=self.generator)
        choice = self.decoder.choose(points)
        for slot, (_, *said) in enumerate(zip(*(x.tolist() for x in choice), strict=True)):
            self.said[slot].append((len(self.tokens[slot]), *said))
        return choice.tokens[:, None].tolist()

    def restart(self, slot: int) -> None:
        self.finished.append((self.tokens[slot], self.said[slot]))
        self.tokens[slot], self.said[slot] = [], []

    def keep(self, slots: list[int]) -> None:
        for slot in set(range(len(self.tokens))) - set(slots):
            self.restart(slot)
        self.tokens = [self.tokens[slot] for slot in slots]
        self.said = [self.said[slot] for slot in slots]
        self.decoder.keep(torch.tensor(slots))

    def largest_errors(self) -> tuple[float, float, int]:
        """Of log-probabilities and values, against one plain forward per episode; their number."""
        policy, count, errors = self.decoder.policy, 0, [0.0, 0.0]
        for slot in range(len(self.tokens)):
            self.restart(slot)
        for tokens, said in self.finished:
            with torch.no_grad():
                output = policy.model(torch.tensor([tokens]), output_hidden_states=True)
                values = policy.value(output.hidden_states[-1])[0]
            logits = output.logits[0].double() / self.decoder.sampling.temperature
            logits[:, ILLEGAL] = -math.inf
            log_probs = logits.log_softmax(-1)
            for position, log_prob, value in said:
                want = log_probs[position - 1, tokens[position]]
                errors[0] = max(errors[0], abs(log_prob - float(want)))
                errors[1] = max(errors[1], abs(value - float(values[position - 1])))
                count += 1
        return errors[0], errors[1], count


def random_tokens(length: int, seed: int) -> list[int]:
    return torch.randint(4, NUM_TOKENS, (length,), generator=seeded(seed)).tolist()


def play(policy: Policy, temperature: float = 1.0) -> Episodes:
    """Three slots: prompts of different lengths, a reply, two refills, a slot dropped."""
    decoder = SlotDecoder(policy, 3, 40, Sampling(temperature=temperature))
    episodes = Episodes(decoder, [random_tokens(length, seed=length) for length in (5, 9, 2)])
    for time in range(14):
        new = episodes.choose()
        if time == 3:  # slots out of order, in two calls
            episodes.feed([2, 0], [new[2], new[0]])
            episodes.feed([1], [new[1]])
            continue
        if time in (5, 11):  # the environment replies to the policy's token
            new[1] += random_tokens(3, seed=time)
        if time in (6, 8):  # a new episode begins, shorter, then longer than its predecessor
            episodes.feed([2], [new[2]])
            episodes.restart(2)
            new[2] = random_tokens(time - 4, seed=time)
        episodes.feed(None, new)
        if time == 9:
            episodes.keep([1, 2])
    return episodes


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_cached_decoding_equals_one_forward_over_each_episode(architecture: str) -> None:
    log_prob_error, value_error, count = play(new_policy(architecture)).largest_errors()
    assert count == 10 * 3 + 4 * 2
    # Seen: 1e-6 to 5e-6 in log-probabilities that differ by 1 to 2 from token to token.
    assert log_prob_error < 1e-4
    assert value_error < 1e-4


@pytest.mark.parametrize("architecture", ["llama", "qwen3", "gpt2", "gemma", "gemma3"])
def test_padding_of_prompts_on_either_side_changes_nothing(architecture: str) -> None:
    policy = new_policy(architecture)
    lengths, width = torch.tensor([5, 9, 2]), 9
    rows = [random_tokens(int(length), seed=int(length)) for length in lengths]
    right = torch.tensor([row + [0] * (width - len(row)) for row in rows])
    left = torch.tensor([[0] * (width - len(row)) + row for row in rows])
    decoder = SlotDecoder(policy, 3, 20)
    decoder.feed(None, left, torch.zeros_like(lengths), lengths)
    places = torch.arange(width)
    with torch.no_grad():
        by_right = policy.model(right).logits[torch.arange(3), lengths - 1]
        by_left = policy.model(
            left,
            attention_mask=(places >= width - lengths[:, None]).long(),
            position_ids=(places - (width - lengths[:, None])).clamp(min=0),
        ).logits[:, -1]
    for want in (by_right, by_left):
        error = decoder.logits.log_softmax(-1) - want.log_softmax(-1)
        assert error.abs().max() < 1e-4


def test_the_log_probs_are_those_of_the_tempered_distribution() -> None:
    log_prob_error, _, _ = play(new_policy(), temperature=0.5).largest_errors()
    assert log_prob_error < 1e-4


def test_decoding_in_half_precision_runs_in_half_precision() -> None:
    policy = new_policy()
    policy.model.bfloat16()
    episodes = play(policy)
    log_prob_error, _, _ = episodes.largest_errors()
    assert 1e-3 < log_prob_error < 0.1  # seen: 0.02


def test_the_values_of_the_slots_are_those_of_the_next_choice() -> None:
    episodes = play(new_policy())
    values = episodes.decoder.values()
    assert torch.equal(values, episodes.decoder.choose(None).values)
    assert values.unique().numel() == 2


def test_a_row_fed_its_last_token_again_changes_nothing() -> None:
    episodes = play(new_policy())
    before = episodes.decoder.choose(None).values
    last = torch.tensor([tokens[-1:] for tokens in episodes.tokens])
    starts = torch.tensor([len(tokens) - 1 for tokens in episodes.tokens])
    episodes.decoder.feed(None, last, starts, torch.ones_like(starts))
    torch.testing.assert_close(episodes.decoder.choose(None).values, before, atol=1e-5, rtol=0)


def test_greedy_decoding_takes_the_most_probable_legal_token() -> None:
    policy = new_policy()
    decoder = SlotDecoder(policy, 2, 20)
    episodes = Episodes(decoder, [random_tokens(5, 1), random_tokens(3, 2)])
    for _ in range(12):
        episodes.feed(None, episodes.choose(greedy=True))
    for tokens, said in zip(episodes.tokens, episodes.said, strict=True):
        logits = policy.model(torch.tensor([tokens])).logits[0]
        logits[:, ILLEGAL] = -math.inf
        assert [tokens[position] for position, _, _ in said] == [
            int(logits[position - 1].argmax()) for position, _, _ in said
        ]


# ------------------------------------------------------------------------- sampling


def in_one_state(logits: Tensor, count: int, seed: int = 0, temperature: float = 1.0) -> Choice:
    """What a decoder chooses, `count` times, in the state of these logits [V]."""
    decoder = SlotDecoder(new_policy(), count, 8, Sampling(temperature=temperature))
    decoder.logits = logits.repeat(count, 1)
    return decoder.choose(torch.rand(count, generator=seeded(seed)))


def chi_square(tokens: Tensor, logits: Tensor) -> float:
    """How far the frequencies of tokens are from the softmax of logits over the legal ones.

    In standard deviations of the statistic: fair draws give about 0 +- 1.
    """
    weights = logits.double().exp()
    weights[ILLEGAL] = 0.0
    expected = len(tokens) * weights / weights.sum()
    observed = torch.bincount(tokens, minlength=NUM_TOKENS).double()
    # Tokens that are expected fewer than 5 times count as one.
    rare = expected < 5
    observed = torch.cat([observed[~rare], observed[rare].sum()[None]])
    expected = torch.cat([expected[~rare], expected[rare].sum()[None]])
    statistic = float(((observed - expected).square() / expected.clamp(min=1e-9)).sum())
    freedom = len(expected) - 1
    assert freedom >= 20
    return (statistic - freedom) / math.sqrt(2 * freedom)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_sampling_frequencies_equal_the_probabilities(temperature: float) -> None:
    logits = 2.0 * torch.randn(NUM_TOKENS, generator=seeded(1))
    tokens = in_one_state(logits, 20_000, temperature=temperature).tokens
    assert abs(chi_square(tokens, logits / temperature)) < 3


def test_that_bound_tells_a_temperature_of_1_from_one_of_1_05() -> None:
    logits = 2.0 * torch.randn(NUM_TOKENS, generator=seeded(1))
    tokens = in_one_state(logits, 20_000, temperature=1.05).tokens
    assert chi_square(tokens, logits) > 3


def test_the_log_prob_of_a_choice_is_that_of_the_distribution_it_is_drawn_from() -> None:
    logits = 2.0 * torch.randn(NUM_TOKENS, generator=seeded(1))
    choice = in_one_state(logits, 500, temperature=0.7)
    tempered = logits.double() / 0.7
    tempered[ILLEGAL] = -math.inf
    want = tempered.log_softmax(-1)[choice.tokens]
    torch.testing.assert_close(choice.log_probs.double(), want, atol=1e-5, rtol=0)


def test_an_illegal_token_is_never_drawn_however_probable_the_model_finds_it() -> None:
    logits = torch.zeros(NUM_TOKENS)
    logits[ILLEGAL] = 40.0
    tokens = in_one_state(logits, 20_000).tokens
    assert set(tokens.tolist()) == set(range(NUM_TOKENS)) - set(ILLEGAL)


def test_one_seed_gives_one_sequence_of_tokens() -> None:
    first, again = (play(new_policy()) for _ in range(2))
    assert first.tokens == again.tokens and first.finished == again.finished
    logits = torch.zeros(NUM_TOKENS)
    one, other = (in_one_state(logits, 50, seed=seed).tokens for seed in (0, 1))
    assert not torch.equal(one, other)


def test_sampling_leaves_the_global_generator_alone() -> None:
    policy, before = new_policy(), torch.get_rng_state()
    play(policy)
    assert torch.equal(torch.get_rng_state(), before)


# ------------------------------------------------------------------------- limits


def error_of(model: nn.Module, capacity: int) -> str:
    with pytest.raises(ValueError) as error:
        SlotDecoder(Policy(model, CharTokenizer()), 2, capacity)
    return str(error.value)


def sliding(window: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        return MistralForCausalLM(MistralConfig(**SMALL, sliding_window=window))


def test_a_model_with_a_sliding_window_shorter_than_an_episode_is_refused() -> None:
    assert error_of(sliding(8), 9) == (
        "the model attends to the last 8 tokens only and an episode may have 9: generation here "
        "needs full attention"
    )


def test_a_sliding_window_as_long_as_an_episode_is_full_attention() -> None:
    SlotDecoder(Policy(sliding(8), CharTokenizer()), 2, 8)


def test_a_model_with_fewer_positions_than_an_episode_has_tokens_is_refused() -> None:
    assert error_of(new_policy("gpt2").model, 65) == (
        "the model has 64 positions and an episode may have 65 tokens"
    )


def test_a_recurrent_model_is_refused() -> None:
    with torch.random.fork_rng(devices=[]):
        model = MambaForCausalLM(
            MambaConfig(vocab_size=NUM_TOKENS, hidden_size=16, num_hidden_layers=1)
        )
    assert error_of(model, 8) == (
        "MambaForCausalLM has recurrent layers: generation here keeps keys and values, and "
        "nothing else"
    )
