"""PPOBuffer: all that is stored is finished together and handed out once."""

from __future__ import annotations

import pytest
import torch

from agents.advantages import gae, whiten
from agents.batch import Rollout
from agents.buffer import PPOBuffer
from agents.packing import split


def episodes(*lengths: int, first_problem: int = 0) -> Rollout:
    """Episodes of a one-token prompt and lengths - 1 tokens, each its own problem, reward at end.

    The reward is the row's length, the log-probability and value of a token are made of its column.
    """
    width = max(lengths)
    column = torch.arange(width).expand(len(lengths), width)
    ends = torch.tensor(lengths)
    mask = (column > 0) & (column < ends[:, None])
    return Rollout(
        tokens=column + 1,
        mask=mask,
        log_probs=-0.125 * column * mask,
        values=0.25 * column * mask,
        rewards=(column == ends[:, None] - 1) * ends[:, None].float(),
        terminated=torch.ones(len(lengths), dtype=torch.bool),
        problem=torch.arange(len(lengths)) + first_problem,
        lengths=ends,
    )


def finished(*lengths: int) -> PPOBuffer:
    """A finished buffer of such episodes."""
    buffer = PPOBuffer()
    buffer.store(episodes(*lengths))
    buffer.finish(gamma=0.9, gae_lambda=0.8)
    return buffer


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_len_counts_the_episodes_of_all_rollouts() -> None:
    buffer = PPOBuffer()
    assert len(buffer) == 0
    buffer.store(episodes(3, 4))
    buffer.store(episodes(5))
    assert len(buffer) == 3


def test_finish_computes_gae_over_all_rollouts() -> None:
    first, second = episodes(3, 4), episodes(6, 2)
    buffer = PPOBuffer()
    buffer.store(first)
    buffer.store(second)
    buffer.finish(gamma=0.9, gae_lambda=0.8, whiten_advantages=False)
    (minibatch,) = buffer.minibatches(1, seeded())
    together = Rollout.concatenate([first, second], pad_token=0)
    advantages, returns = gae(
        together.rewards,
        together.values,
        together.mask,
        gamma=0.9,
        gae_lambda=0.8,
        bootstrap=together.bootstrap,
    )
    order = [together.returns.tolist().index(total) for total in minibatch.rollout.returns]
    assert torch.equal(minibatch.advantages, advantages[order])
    assert torch.equal(minibatch.returns, returns[order])


def test_a_truncated_episode_is_bootstrapped() -> None:
    row = episodes(2)
    cut = {name: getattr(row, name) for name in Rollout.__dataclass_fields__}
    cut |= {"terminated": torch.tensor([False]), "bootstrap": torch.tensor([10.0])}
    buffer = PPOBuffer()
    buffer.store(Rollout(**cut))
    buffer.finish(gamma=0.5, gae_lambda=1.0, whiten_advantages=False)
    (minibatch,) = buffer.minibatches(1, seeded())
    # reward 2 + .5 * 10 = 7;  minus the value .25
    assert minibatch.returns.tolist() == [[0.0, 7.0]]
    assert minibatch.advantages.tolist() == [[0.0, 6.75]]


def test_advantages_are_whitened_over_the_whole_buffer_not_per_minibatch() -> None:
    plain = PPOBuffer()
    plain.store(episodes(3, 7, 5, 4))
    plain.finish(gamma=0.9, gae_lambda=0.8, whiten_advantages=False)
    (whole,) = plain.minibatches(1, seeded())
    expected = whiten(whole.advantages, whole.rollout.mask)
    by_problem = dict(zip(whole.rollout.problem.tolist(), expected, strict=True))
    for rollout, advantages, *_ in finished(3, 7, 5, 4).minibatches(2, seeded(1)):
        width = rollout.tokens.shape[1]
        for problem, row in zip(rollout.problem.tolist(), advantages, strict=True):
            torch.testing.assert_close(row, by_problem[problem][:width])


def test_whitening_leaves_the_returns_alone() -> None:
    (whitened,) = finished(3, 7, 5).minibatches(1, seeded())
    plain = PPOBuffer()
    plain.store(episodes(3, 7, 5))
    plain.finish(gamma=0.9, gae_lambda=0.8, whiten_advantages=False)
    (unwhitened,) = plain.minibatches(1, seeded())
    assert torch.equal(whitened.returns, unwhitened.returns)


def test_an_epoch_has_every_row_exactly_once() -> None:
    problems = []
    for rollout, *_ in finished(*range(2, 13)).minibatches(4, seeded()):
        problems += rollout.problem.tolist()
    assert sorted(problems) == list(range(11))


def test_minibatch_sizes_differ_by_at_most_one() -> None:
    minibatches = finished(*range(2, 13)).minibatches(4, seeded())
    assert sorted(len(minibatch.rollout) for minibatch in minibatches) == [2, 3, 3, 3]


def test_minibatches_are_trimmed_to_their_longest_row() -> None:
    for rollout, advantages, returns, _ in finished(2, 9, 3, 5).minibatches(4, seeded()):
        assert rollout.tokens.shape == (1, rollout.lengths[0])
        assert advantages.shape == returns.shape == rollout.tokens.shape


def test_rows_stay_aligned_with_their_advantages_and_returns() -> None:
    for rollout, advantages, returns, _ in finished(2, 9, 3, 5).minibatches(2, seeded()):
        last = rollout.lengths - 1
        rows = torch.arange(len(rollout))
        # The last step's target is its reward, which episodes() made the row's length.
        torch.testing.assert_close(returns[rows, last], rollout.lengths.float())
        assert not advantages[~rollout.mask].any() and not returns[~rollout.mask].any()


def test_one_seed_gives_one_order() -> None:
    buffer = finished(*range(2, 13))
    first, second = (
        [m.rollout.problem.tolist() for m in buffer.minibatches(3, seeded(5))] for _ in range(2)
    )
    assert first == second


def test_epochs_are_shuffled_anew() -> None:
    buffer, generator = finished(*range(2, 13)), seeded()
    first, second = (
        [m.rollout.problem.tolist() for m in buffer.minibatches(3, generator)] for _ in range(2)
    )
    assert first != second


def test_minibatches_do_not_touch_the_global_generator() -> None:
    before = torch.get_rng_state()
    list(finished(3, 4, 5).minibatches(2, seeded()))
    assert torch.equal(torch.get_rng_state(), before)


def test_the_pad_token_fills_shorter_rollouts() -> None:
    buffer = PPOBuffer(pad_token=42)
    buffer.store(episodes(2))
    buffer.store(episodes(4, first_problem=1))
    buffer.finish(gamma=1.0, gae_lambda=1.0)
    (minibatch,) = buffer.minibatches(1, seeded())
    short = minibatch.rollout.lengths == 2
    assert minibatch.rollout.tokens[short].tolist() == [[1, 2, 42, 42]]


def test_clear_empties_the_buffer() -> None:
    buffer = finished(3, 4)
    buffer.clear()
    assert len(buffer) == 0
    with pytest.raises(RuntimeError, match="not finished"):
        buffer.minibatches(1, seeded())


def test_finishing_an_empty_buffer_is_refused() -> None:
    with pytest.raises(RuntimeError) as error:
        PPOBuffer().finish(gamma=1.0, gae_lambda=1.0)
    assert str(error.value) == "the buffer is empty: store() a rollout before finish()"


def test_minibatches_before_finish_are_refused() -> None:
    buffer = PPOBuffer()
    buffer.store(episodes(3))
    with pytest.raises(RuntimeError) as error:
        buffer.minibatches(1, seeded())
    assert str(error.value) == "the buffer is not finished: call finish() before minibatches()"


def test_storing_after_finish_needs_another_finish() -> None:
    buffer = finished(3, 4)
    buffer.store(episodes(5))
    with pytest.raises(RuntimeError, match="not finished"):
        buffer.minibatches(1, seeded())


@pytest.mark.parametrize("num_minibatches", [0, 3])
def test_the_number_of_minibatches_is_checked_at_the_call(num_minibatches: int) -> None:
    with pytest.raises(ValueError) as error:
        finished(3, 4).minibatches(num_minibatches, seeded())
    assert str(error.value) == f"num_minibatches is {num_minibatches}, expected 1 to 2 rows"


def test_selected_rows_of_a_minibatch_are_trimmed_together() -> None:
    (minibatch,) = finished(2, 9, 3, 5).minibatches(1, seeded())
    for rows in split(minibatch.rollout.lengths, max_rows=2):
        micro_batch = minibatch.select(rows)
        width = int(micro_batch.rollout.lengths.max())
        assert micro_batch.rollout.tokens.shape == micro_batch.advantages.shape == (2, width)
        assert torch.equal(micro_batch.returns, minibatch.returns[rows, :width])


def test_a_response_as_one_action_earns_its_whole_return_less_the_prompts_value() -> None:
    rows = episodes(3, 4)
    for gamma, gae_lambda in ((1.0, 1.0), (0.5, 0.1)):
        buffer = PPOBuffer()
        buffer.store(rows)
        settings = {"gamma": gamma, "gae_lambda": gae_lambda, "whiten_advantages": False}
        buffer.finish(**settings, level="sequence")
        (minibatch,) = buffer.minibatches(1, seeded())
        order = minibatch.rollout.problem.tolist()
        # The rewards are 3 and 4, the first values .25.
        want = [[[0, 2.75, 2.75, 0], [0, 3.75, 3.75, 3.75]][i] for i in order]
        assert minibatch.advantages.tolist() == want
        assert minibatch.returns.tolist() == [[[0, 3, 3, 0], [0, 4, 4, 4]][i] for i in order]


def test_a_truncated_response_as_one_action_is_bootstrapped() -> None:
    row = episodes(3)
    cut = {name: getattr(row, name) for name in Rollout.__dataclass_fields__}
    cut |= {"terminated": torch.tensor([False]), "bootstrap": torch.tensor([10.0])}
    buffer = PPOBuffer()
    buffer.store(Rollout(**cut))
    buffer.finish(gamma=0.5, gae_lambda=1.0, level="sequence", whiten_advantages=False)
    (minibatch,) = buffer.minibatches(1, seeded())
    assert minibatch.returns.tolist() == [[0, 13, 13]]
    assert minibatch.advantages.tolist() == [[0, 12.75, 12.75]]


def test_whitened_rewards_have_standard_deviation_1_and_their_mean() -> None:
    buffer = PPOBuffer()
    buffer.store(episodes(3, 7, 5))
    settings = {"gamma": 0.0, "gae_lambda": 1.0, "whiten_advantages": False}
    buffer.finish(**settings, whiten_rewards=True)
    (minibatch,) = buffer.minibatches(1, seeded())
    mask = minibatch.rollout.mask
    rewards = minibatch.returns[mask]  # with γ = 0 the target is the reward
    assert rewards.std(correction=0).item() == pytest.approx(1.0, abs=1e-5)
    assert rewards.mean().item() == pytest.approx(15 / 12, abs=1e-5)


def test_weights_multiply_the_whitened_advantages() -> None:
    rows = episodes(3, 7, 5)
    weights = torch.rand(rows.tokens.shape, generator=seeded())
    results = []
    for given in (None, weights):
        buffer = PPOBuffer()
        buffer.store(rows)
        buffer.finish(gamma=0.9, gae_lambda=0.8, weights=given)
        (minibatch,) = buffer.minibatches(1, seeded())
        results.append(minibatch.advantages)
    order = minibatch.rollout.problem
    torch.testing.assert_close(results[1], results[0] * weights[order])


def test_references_stay_with_their_rows_and_are_zero_where_none_was_stored() -> None:
    first, second = episodes(3, 4), episodes(6, 2, first_problem=2)
    buffer = PPOBuffer()
    buffer.store(first, first.log_probs - 1)
    buffer.store(second)
    buffer.finish(gamma=1.0, gae_lambda=1.0)
    for rollout, *_, reference in buffer.minibatches(2, seeded()):
        assert reference.shape == rollout.tokens.shape
        for problem, row, log_probs in zip(
            rollout.problem.tolist(), reference, rollout.log_probs, strict=True
        ):
            width = first.tokens.shape[1]
            want = (log_probs - 1)[:width] if problem < 2 else torch.zeros(width)
            torch.testing.assert_close(row[:width], want)
