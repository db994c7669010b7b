"""Collection starts and finishes exactly N episodes, records what was played, and nothing else."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers import TimeLimit, TransformReward

from agents import collector
from agents import rollout as rollout_module
from agents.batch import Rollout
from agents.generation import Choice, SlotDecoder
from agents.models import Policy, new_tiny_model
from agents.rollout import Episodes, as_vector_env, collect, evaluate
from agents.sampling import Sampling
from textgym import CharTokenizer, Problem, RLEnvironment, Task, TokenMDP, TokenVectorEnv
from textgym.bank import hash64
from textgym.tasks import TextStructured

torch.set_num_threads(1)  # for tensors this small a second thread costs more than it gives

PAD, ILLEGAL = 0, [0, 1, 3]


class Chat(Task):
    """Three turns of about five tokens each, between which the environment says "[1]", "[2]"."""

    difficulties = ("easy", "hard")
    stop_strings = tuple("aeiou0123456789 .,!?")
    max_turns = 3
    max_reply_tokens = 3
    max_response_tokens = 12

    def sample(self, rng, difficulty):
        return Problem(prompt="x" * int(rng.integers(1, 4)) + f"{difficulty} {rng.integers(10**6)}")

    def reply(self, problem, turns):
        return None if turns[-1].endswith("!") else f"[{len(turns)}]"

    def grade(self, problem, response):
        return {"correct": float(len(response) % 2)}


class Lengths(Task):
    """A response has 1, 2 or 12 tokens, as the problem says, whatever the policy chooses."""

    stop_strings = tuple(CharTokenizer.characters)  # so every token is a turn
    max_turns = max_response_tokens = 12
    max_reply_tokens = 1

    def sample(self, rng):
        return Problem(prompt=f"{rng.integers(10**6)}", answer=str(rng.choice([1, 2, 12])))

    def reply(self, problem, turns):
        return None if len(turns) == int(problem.answer) else ""


CHAT, LENGTHS = TokenMDP(Chat()), TokenMDP(Lengths())


class Recorder(TokenVectorEnv):
    """Writes down what it was asked and what it said."""

    def __init__(self, mdp: TokenMDP, num_envs: int) -> None:
        super().__init__(mdp, num_envs, autoreset_mode=AutoresetMode.DISABLED)
        self.num_started = 0
        self.problems: list[list[int]] = [[] for _ in range(num_envs)]
        self.endings: list[list[dict]] = [[] for _ in range(num_envs)]

    def reset(self, *, seed=None, options=None):
        slots = np.flatnonzero((options or {}).get("reset_mask", np.ones(self.num_envs, bool)))
        observations, infos = super().reset(seed=seed, options=options)
        self.num_started += len(slots)
        for slot in slots:
            self.problems[slot].append(int(infos["problem"][slot]))
        return observations, infos

    def step(self, actions):
        observations, rewards, terminations, truncations, infos = super().step(actions)
        for slot in np.flatnonzero(terminations):
            ending = {"tokens": observations[slot], "reward": rewards[slot]}
            for key in ("response_mask", "response", "stop_reason"):
                ending[key] = infos[key][slot]
            self.endings[slot].append(ending)
        return observations, rewards, terminations, truncations, infos

    def ending(self, episode: int) -> dict:
        """How an episode ended, numbered as collect numbers them."""
        return self.endings[episode % self.num_envs][episode // self.num_envs]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def new_policy(seed: int = 0) -> Policy:
    """A tiny policy with weights that count, and values other than 0."""
    policy = Policy(new_tiny_model(seed, hidden_size=32, num_layers=2), CharTokenizer())
    with torch.no_grad():
        for parameter in policy.model.parameters():
            if parameter.ndim == 2:
                parameter.mul_(15.0)
        policy.value_head.weight.normal_(generator=seeded(1))
    return policy


def play(envs, num_episodes: int, **kwargs) -> tuple[Rollout, Episodes]:
    kwargs = {"generator": seeded(), "seed": 5, **kwargs}
    return collect(new_policy(), envs, num_episodes, **kwargs)


def vector(mdp: TokenMDP, num_envs: int) -> TokenVectorEnv:
    return as_vector_env(RLEnvironment(mdp), num_envs)


def limited(mdp: TokenMDP, num_envs: int, steps: int) -> SyncVectorEnv:
    """Gymnasium's own vector environment over Gymnasium's own time limit."""
    return as_vector_env(TimeLimit(RLEnvironment(mdp), steps), num_envs)


# ------------------------------------------------------------------- unbiased collection


def test_exactly_the_asked_episodes_are_started_and_finished() -> None:
    envs = Recorder(CHAT, 4)
    rollout, episodes = play(envs, 10)
    assert envs.num_started == 10
    assert len(rollout) == len(episodes.responses) == len(episodes.returns) == 10
    assert [len(endings) for endings in envs.endings] == [3, 3, 2, 2]
    assert rollout.terminated.all() and (rollout.mask.sum(1) > 0).all()


def test_fewer_episodes_than_slots_are_those_of_the_first_slots() -> None:
    envs = Recorder(CHAT, 8)
    rollout, _ = play(envs, 3)
    want = [CHAT.bank.problem(envs.problems[slot][0]).id for slot in range(3)]
    assert rollout.problem.tolist() == want


def test_a_slot_plays_the_same_problems_however_many_slots_there_are() -> None:
    seeds = [11, 22, 33, 44]
    together, _ = play(vector(CHAT, 4), 12, seed=seeds)
    for slot, seed in enumerate(seeds):
        alone, _ = play(vector(CHAT, 1), 3, seed=[seed])
        assert together.problem[slot::4].tolist() == alone.problem.tolist()
    assert together.problem.unique().numel() == 12


def test_mean_length_is_unbiased_where_lengths_depend_on_the_problem() -> None:
    num_slots, num_episodes, seed = 64, 128, 5
    rollout, _ = play(vector(LENGTHS, num_slots), num_episodes, seed=seed)
    # Slot i plays the problems that its seed gives, by the definition of a seed.
    numbers = [
        hash64(np.array([seed + i], np.uint64), np.array([k], np.uint64))[0] % LENGTHS.bank.num_rows
        for k in range(num_episodes // num_slots)
        for i in range(num_slots)
    ]
    lengths = np.array([int(LENGTHS.bank.problem(int(number)).answer) for number in numbers])
    assert rollout.mask.sum(1).tolist() == lengths.tolist()
    # E[n] = (1 + 2 + 12) / 3, and the mean of N is within 3 standard deviations of it.
    bound = 3 * np.std([1, 2, 12]) / num_episodes**0.5
    assert abs(lengths.mean() - 5.0) < bound
    # The first N to finish, of twice as many that were started, would be outside.
    first_to_finish = np.sort(lengths)[: num_episodes // 2]
    assert abs(first_to_finish.mean() - 5.0) > bound


def test_rows_of_one_problem_form_a_group() -> None:
    envs = as_vector_env(RLEnvironment(CHAT), 6, group_size=3)
    rollout, _ = play(envs, 12)
    groups = rollout.problem.reshape(2, 2, 3)
    assert (groups == groups[..., :1]).all() and groups.unique().numel() == 4


# ------------------------------------------------------------------- what is recorded


def test_tokens_are_the_last_observation_and_the_mask_the_policys_tokens() -> None:
    envs = Recorder(CHAT, 4)
    rollout, _ = play(envs, 10)
    for row in range(10):
        assert rollout.tokens[row].tolist() == envs.ending(row)["tokens"].tolist()
        assert rollout.mask[row].tolist() == envs.ending(row)["response_mask"].tolist()


def test_text_of_the_environment_is_masked_out() -> None:
    rollout, _ = play(vector(CHAT, 4), 10)
    tokenizer, num_replies = CharTokenizer(), 0
    for row in range(10):
        inside = torch.arange(rollout.tokens.shape[1]) < rollout.lengths[row]
        given = tokenizer.decode(rollout.tokens[row, inside & ~rollout.mask[row]].tolist())
        prompt, *replies = given.split("[")
        assert prompt.startswith("x") and replies == ["1]", "2]"][: len(replies)]
        num_replies += len(replies)
    assert num_replies >= 10


def test_the_reward_stands_at_the_policys_last_token_and_nowhere_else() -> None:
    envs = Recorder(CHAT, 4)
    rollout, episodes = play(envs, 10)
    for row in range(10):
        last = int(rollout.mask[row].nonzero()[-1])
        assert rollout.rewards[row, last] == envs.ending(row)["reward"] == episodes.returns[row]
        assert rollout.rewards[row].count_nonzero() <= 1
    assert 0 < rollout.rewards.sum() < 10


def test_lengths_end_where_padding_begins() -> None:
    rollout, _ = play(vector(CHAT, 4), 10)
    for tokens, length in zip(rollout.tokens, rollout.lengths, strict=True):
        assert (tokens[:length] != PAD).all() and (tokens[length:] == PAD).all()


def test_episodes_tell_how_each_row_ended() -> None:
    envs = Recorder(CHAT, 4)
    _, episodes = play(envs, 10)
    endings = [envs.ending(row) for row in range(10)]
    assert episodes.responses == [ending["response"] for ending in endings]
    assert episodes.stop_reasons == [ending["stop_reason"] for ending in endings]
    assert episodes.components["correct"].tolist() == [ending["reward"] for ending in endings]
    assert episodes.success is episodes.components["correct"]


@pytest.mark.parametrize(
    ("env_id", "settings", "is_share"),
    [
        ("TextMath-v0", {}, True),
        ("TextConcise-v0", {}, True),  # its `correct` is
        ("TextTaste-v0", {}, False),
        ("TextTaste-v0", {"reward_fn": "distinct"}, False),
    ],
)
def test_success_is_told_where_it_is_a_share(
    env_id: str, settings: dict[str, str], is_share: bool
) -> None:
    episodes = evaluate(new_policy(), env_id, num_episodes=4, **settings)
    assert episodes.has_success is is_share
    assert episodes.mean_success == (episodes.success.mean() if is_share else None)
    assert episodes.mean_return == pytest.approx(episodes.returns.mean())


def test_episodes_tell_the_difficulty_that_was_played() -> None:
    assert play(vector(CHAT, 4), 6)[1].difficulties.tolist() == [0] * 6
    _, episodes = play(vector(CHAT, 4), 6, options={"difficulty": "hard"})
    assert episodes.difficulties.tolist() == [1] * 6


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_log_probs_and_values_equal_one_forward_over_the_recorded_tokens(
    temperature: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    dropped = []
    keep = SlotDecoder.keep
    monkeypatch.setattr(
        SlotDecoder, "keep", lambda self, slots: dropped.append(slots) or keep(self, slots)
    )
    sampling = Sampling(temperature=temperature)
    rollout, _ = play(vector(CHAT, 8), 21, sampling=sampling)
    assert dropped  # slots were refilled, replied to, and dropped
    with torch.no_grad():
        stats = new_policy()(rollout.tokens, rollout.mask, sampling=sampling)
    # Seen: 5e-6 and 2e-5.
    torch.testing.assert_close(rollout.log_probs, stats.log_probs, atol=1e-4, rtol=0)
    torch.testing.assert_close(rollout.values, stats.values, atol=1e-4, rtol=0)


def test_dropping_finished_rows_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rollouts = []
    for below in (0.0, 1.1):
        monkeypatch.setattr(collector, "COMPACT_BELOW", below)
        rollouts.append(play(vector(CHAT, 8), 13, generator=None)[0])
    never, always = rollouts
    assert torch.equal(never.tokens, always.tokens) and torch.equal(never.mask, always.mask)
    torch.testing.assert_close(never.log_probs, always.log_probs, atol=1e-5, rtol=0)


@pytest.mark.parametrize("sampling", [Sampling(top_k=5), Sampling(temperature=2.0, top_p=0.5)])
def test_log_probs_are_those_of_the_filtered_distribution(sampling: Sampling) -> None:
    rollout, _ = play(vector(CHAT, 8), 21, sampling=sampling)
    with torch.no_grad():
        stats = new_policy()(rollout.tokens, rollout.mask, sampling=sampling)
        plain = new_policy()(rollout.tokens, rollout.mask)
    torch.testing.assert_close(rollout.log_probs, stats.log_probs, atol=1e-4, rtol=0)
    assert (rollout.log_probs - plain.log_probs).abs().max() > 0.5


def everything(rollout: Rollout) -> list[list[int]]:
    return [*rollout.tokens.tolist(), *rollout.mask.tolist(), *rollout.legal.tolist()]


@pytest.mark.parametrize("below", [0.0, 0.75, 1.1])
@pytest.mark.parametrize("num_slots", [12, 6, 5, 1])
def test_the_tokens_depend_neither_on_the_number_of_slots_nor_on_compaction(
    num_slots: int, below: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    def rollout(num_slots: int) -> Rollout:
        # Slot i's k-th episode is episode i + k B: to each its own problem, whatever B is.
        envs = Numbered(CHAT, num_slots, autoreset_mode=AutoresetMode.DISABLED)
        return play(envs, 12, sampling=Sampling(temperature=1.5, top_p=0.9))[0]

    want = everything(rollout(12))
    monkeypatch.setattr(collector, "COMPACT_BELOW", below)
    assert everything(rollout(num_slots)) == want


class Numbered(TokenVectorEnv):
    """The n-th episode to begin plays problem n."""

    def reset(self, *, seed=None, options=None):
        mask = (options or {}).get("reset_mask", np.ones(self.num_envs, bool))
        if seed is not None:
            self.next = np.arange(self.num_envs)
        numbers = self.next.copy()
        self.next = self.next + self.num_envs * mask
        return super().reset(seed=seed, options={"problem": numbers, **(options or {})})


@pytest.mark.parametrize("num_parts", [2, 3])
def test_processes_that_share_the_episodes_draw_the_tokens_that_one_would(num_parts: int) -> None:
    seeds = list(range(12))
    want, _ = play(vector(CHAT, 12), 12, seed=seeds)
    num = 12 // num_parts
    for i in range(num_parts):
        generator = seeded()
        share = dict(seed=seeds[i * num :][:num], part=(i, num_parts), generator=generator)
        rollout, _ = play(vector(CHAT, num), num, **share)
        rows = torch.arange(i * num, (i + 1) * num)
        assert everything(rollout) == everything(want[rows])
        assert generator.get_state().equal(after(12))


def test_a_part_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match=r"part is \(2, 2\), expected \(i, n\) with i from 0 to n"):
        play(vector(CHAT, 4), 4, part=(2, 2))


def after(num_episodes: int) -> torch.Tensor:
    """The generator's state after a collection of so many episodes."""
    generator = seeded()
    play(vector(CHAT, num_episodes), num_episodes, generator=generator)
    return generator.get_state()


# ------------------------------------------------------------------------- action masks


def structured(num_envs: int, native: bool = True):
    env = RLEnvironment(TextStructured(), difficulty=0)
    if native:
        return as_vector_env(env, num_envs)
    return SyncVectorEnv(
        [lambda: RLEnvironment(TextStructured(), difficulty=0)] * num_envs,
        autoreset_mode=AutoresetMode.DISABLED,
    )


@pytest.mark.parametrize("native", [True, False])
def test_under_action_masks_every_response_is_valid_and_the_masks_are_recorded(
    native: bool,
) -> None:
    rollout, episodes = play(structured(6, native), 12, action_masks=True)
    assert episodes.components["valid"].all()
    free, _ = play(structured(6, native), 12)
    assert free.legal.shape[2] == 0 and rollout.legal.shape == (*rollout.tokens.shape, 13)
    legal = np.unpackbits(rollout.legal.numpy(), axis=2)[:, :, :100].astype(bool)
    rows, columns = rollout.mask.nonzero(as_tuple=True)
    assert legal[rows, columns, rollout.tokens[rows, columns]].all()
    assert not legal[~rollout.mask.numpy()].any()
    assert legal[rows, columns].sum(1).min() == 1  # somewhere there was no choice


def test_log_probs_are_those_of_the_masked_distribution() -> None:
    sampling = Sampling(top_p=0.9)
    rollout, _ = play(structured(6), 12, action_masks=True, sampling=sampling)
    with torch.no_grad():
        stats = new_policy()(rollout.tokens, rollout.mask, legal=rollout.legal, sampling=sampling)
    torch.testing.assert_close(rollout.log_probs, stats.log_probs, atol=1e-4, rtol=0)
    assert rollout.log_probs.exp().max() == pytest.approx(1)


def test_the_native_environment_and_gymnasiums_give_the_same_masked_rollout() -> None:
    rollouts = [play(structured(6, native), 12, action_masks=True)[0] for native in (True, False)]
    assert everything(rollouts[0]) == everything(rollouts[1])


def test_a_mask_without_a_legal_token_is_refused() -> None:
    envs = structured(3)
    envs.action_masks = lambda: np.zeros((3, 100), dtype=bool)
    with pytest.raises(ValueError) as error:
        play(envs, 3, action_masks=True)
    assert str(error.value) == (
        "action_masks() of slot 0 allows no token that can be chosen; expected at least eos"
    )


def test_action_masks_are_asked_of_an_environment_that_has_some() -> None:
    envs = SyncVectorEnv([lambda: Chatter()] * 2, autoreset_mode=AutoresetMode.DISABLED)
    with pytest.raises(ValueError, match="has no action_masks"):
        play(envs, 2, action_masks=True)


class Chatter(gym.Env):
    """A token environment without masks."""

    observation_space = gym.spaces.Box(0, 99, (8,), np.int64)
    action_space = gym.spaces.Discrete(100)

    def reset(self, *, seed=None, options=None):
        return np.full(8, 5), {"length": 3, "problem_id": 0, "difficulty": 0}


# ------------------------------------------------------------------------- engines


class Echo:
    """An engine without a model: each slot says the first token of its prompt again and again."""

    def __init__(self, policy: Policy, num_slots: int, capacity: int, sampling: Sampling) -> None:
        self.made_with = num_slots, capacity, sampling
        self.said: list[list[int]] = [[] for _ in range(num_slots)]

    def feed(self, slots, tokens, starts, counts) -> None:
        slots = range(len(self.said)) if slots is None else slots.tolist()
        rows = zip(slots, tokens.tolist(), starts.tolist(), counts.tolist(), strict=True)
        for slot, row, start, count in rows:
            assert 1 <= count <= len(row) and start <= len(self.said[slot])
            self.said[slot][start:] = row[len(row) - count :]

    def choose(self, points, legal=None) -> Choice:
        return Choice(torch.tensor([said[0] for said in self.said]), points.log(), -points)

    def values(self):
        return torch.zeros(len(self.said))

    def keep(self, slots) -> None:
        self.said = [self.said[slot] for slot in slots.tolist()]


def test_another_engine_can_generate() -> None:
    made = []
    sampling = Sampling(temperature=0.5)

    def engine(*args) -> Echo:
        made.append(Echo(*args))
        return made[0]

    rollout, _ = play(vector(CHAT, 4), 10, engine=engine, sampling=sampling)
    assert made[0].made_with == (4, rollout.tokens.shape[1], sampling)
    points = torch.rand(10, rollout.tokens.shape[1], generator=seeded())
    mask = rollout.mask
    assert torch.equal(rollout.log_probs[mask], points[mask].log())
    assert torch.equal(rollout.values[mask], -points[mask])
    first = rollout.tokens[:, :1].expand_as(mask)
    assert torch.equal(rollout.tokens[mask], first[mask])


def test_the_tokens_recorded_are_those_that_were_drawn() -> None:
    drawn = []

    class Recording(SlotDecoder):
        def choose(self, points, legal=None) -> Choice:
            choice = super().choose(points, legal)
            drawn.extend(zip(choice.log_probs.tolist(), choice.tokens.tolist(), strict=True))
            return choice

    rollout, _ = play(vector(CHAT, 8), 8, engine=Recording)
    log_probs, tokens = rollout.log_probs[rollout.mask], rollout.tokens[rollout.mask]
    token_of = dict(drawn)  # log-probabilities are as good as names
    assert len(token_of) >= len(tokens)
    assert [token_of[log_prob] for log_prob in log_probs.tolist()] == tokens.tolist()


def naive_rows(policy: Policy, seeds: list[int], num_episodes: int) -> dict[int, list[int]]:
    """Single environments, a full forward over each observation, no cache: episode -> tokens.

    The same uniform numbers are turned into tokens: one per episode and position.
    """
    num_slots, rows = len(seeds), {}
    envs = [RLEnvironment(CHAT) for _ in seeds]
    states = [env.reset(seed=seed) for env, seed in zip(envs, seeds, strict=True)]
    episode = list(range(num_slots))
    uniform = torch.rand(num_episodes, len(states[0][0]), generator=seeded()).tolist()
    while min(episode) < num_episodes:
        for slot in range(num_slots):
            if episode[slot] >= num_episodes:
                continue
            observation, info = states[slot]
            tokens = torch.from_numpy(observation[: info["length"]])
            with torch.no_grad():
                logits = policy.model(tokens[None]).logits[0, -1].double()
            logits[ILLEGAL] = -torch.inf
            below = logits.softmax(-1).cumsum(-1) <= uniform[episode[slot]][info["length"]]
            observation, _, over, _, info = envs[slot].step(int(below.sum()))
            states[slot] = observation, info
            if over:
                rows[episode[slot]] = observation.tolist()
                episode[slot] += num_slots
                states[slot] = envs[slot].reset()
    return rows


def test_acting_by_full_forwards_with_the_same_random_numbers_gives_the_same_tokens() -> None:
    seeds = [5, 6, 7, 8]
    rollout, _ = play(vector(CHAT, 4), 10, seed=seeds)
    rows = naive_rows(new_policy(), seeds, 10)
    assert rollout.tokens.tolist() == [rows[episode] for episode in range(10)]


def test_one_seed_gives_one_rollout_and_another_seed_another() -> None:
    first, again = (play(vector(CHAT, 4), 10)[0] for _ in range(2))
    other = play(vector(CHAT, 4), 10, generator=seeded(1))[0]
    for name in Rollout.__dataclass_fields__:
        assert torch.equal(getattr(first, name), getattr(again, name)), name
    assert not torch.equal(first.tokens, other.tokens)


def test_collecting_leaves_the_policy_and_the_global_generator_alone() -> None:
    policy, before = new_policy(), torch.get_rng_state()
    collect(policy, vector(CHAT, 4), 6, generator=seeded(), seed=5)
    assert torch.equal(torch.get_rng_state(), before)
    for name, tensor in new_policy().state_dict().items():
        assert torch.equal(policy.state_dict()[name], tensor), name
    assert all(parameter.grad is None for parameter in policy.parameters())


@pytest.mark.parametrize("name", ["log_probs", "values"])
def test_a_policy_that_is_not_finite_is_a_floating_point_error(name: str) -> None:
    policy = new_policy()
    layer = policy.model.model.norm if name == "log_probs" else policy.value_head
    with torch.no_grad():
        layer.weight[0].fill_(torch.nan)
    with pytest.raises(FloatingPointError) as error:
        collect(policy, vector(CHAT, 4), 6, generator=seeded(), seed=5)
    assert str(error.value) == (
        f"{name} of the policy are not finite: its weights have become too large or NaN"
    )


def test_no_episodes_are_refused() -> None:
    with pytest.raises(ValueError, match="num_episodes is 0, expected at least 1"):
        play(vector(CHAT, 4), 0)


# ------------------------------------------------------------------- truncation


def test_a_limit_from_outside_truncates_and_the_task_itself_terminates() -> None:
    rollout, episodes = play(limited(LENGTHS, 4, steps=5), 24)
    lengths = rollout.mask.sum(1)
    assert set(lengths.tolist()) == {1, 2, 5}
    assert rollout.terminated.tolist() == (lengths < 5).tolist()
    assert [reason == "truncated" for reason in episodes.stop_reasons] == (lengths == 5).tolist()


@pytest.mark.parametrize("mdp", [LENGTHS, CHAT])
def test_the_bootstrap_is_the_value_of_the_state_in_which_an_episode_was_cut_off(mdp) -> None:
    rollout, _ = play(limited(mdp, 4, steps=5), 18, generator=seeded(1))
    policy = new_policy()
    for row in range(18):
        tokens = rollout.tokens[row : row + 1, : rollout.lengths[row]]
        with torch.no_grad():
            state = policy.model(tokens, output_hidden_states=True).hidden_states[-1][0, -1]
            value = float(policy.value(state))
        want = 0.0 if rollout.terminated[row] else value
        assert rollout.bootstrap[row].item() == pytest.approx(want, abs=1e-4)
    assert 0 < rollout.terminated.sum() < 18 and rollout.bootstrap.abs().max() > 0.1


def test_a_truncated_dialogue_is_recorded_with_the_reply_that_it_ended_on() -> None:
    rollout, _ = play(limited(CHAT, 4, steps=5), 18)
    last_is_given = ~rollout.mask[torch.arange(18), rollout.lengths - 1]
    assert last_is_given.any() and not rollout.terminated[last_is_given].any()


def test_idle_slots_of_gymnasiums_own_vector_environment_are_kept_going() -> None:
    # Slots 0 and 1 play three episodes, 2 and 3 two: those idle for up to 12 steps.
    rollout, _ = play(
        SyncVectorEnv([lambda: RLEnvironment(LENGTHS)] * 4, autoreset_mode=AutoresetMode.DISABLED),
        10,
    )
    native, _ = play(vector(LENGTHS, 4), 10)
    assert rollout.problem.tolist() == native.problem.tolist()
    assert rollout.lengths.tolist() == native.lengths.tolist()


# ------------------------------------------------------------------- which environment is played


def test_textgyms_own_environments_become_native_with_their_settings() -> None:
    single = gym.make("TextMath-v0", difficulty="product", max_response_tokens=9)
    many = gym.make_vec("TextMath-v0", num_envs=4, difficulty="product", group_size=2)
    for env in (single, many):
        envs = as_vector_env(env, 6)
        assert type(envs) is TokenVectorEnv and envs.num_envs == 6
        assert envs.mdp is env.unwrapped.mdp
        assert envs.difficulty == env.unwrapped.difficulty == 4
        assert envs.autoreset_mode is AutoresetMode.DISABLED
        assert envs.group_size == (2 if env is many else 1)
        assert envs.spec.id == "TextMath-v0"


def test_an_id_becomes_native_with_its_keywords() -> None:
    envs = as_vector_env("TextMath-v0", 6, difficulty="digit", split="test", group_size=3)
    assert type(envs) is TokenVectorEnv and envs.num_envs == 6
    assert (envs.difficulty, envs.mdp.bank.split, envs.group_size) == (0, "test", 3)


def test_an_id_with_a_time_limit_keeps_it() -> None:
    envs = as_vector_env("TextMath-v0", 2, max_episode_steps=2)
    assert set(play(envs, 4)[1].stop_reasons) == {"truncated"}


def test_an_id_without_a_vector_form_is_played() -> None:
    gym.register("Foreign-test-v0", entry_point=lambda: RLEnvironment(LENGTHS))
    try:
        envs = as_vector_env("Foreign-test-v0", 3)
    finally:
        del gym.registry["Foreign-test-v0"]
    assert len(play(envs, 7)[0]) == 7


def test_a_wrapped_environment_is_played_with_its_wrapper() -> None:
    env = TransformReward(RLEnvironment(CHAT), lambda reward: 2.0 * reward + 1.0)
    rollout, episodes = play(as_vector_env(env, 4), 10)
    plain, _ = play(vector(CHAT, 4), 10)
    # Now each of the policy's tokens is rewarded, those before a reply of the environment too.
    assert torch.equal(rollout.tokens, plain.tokens) and plain.rewards.sum() > 0
    assert torch.equal(rollout.rewards, (2.0 * plain.rewards + 1.0) * plain.mask)
    assert episodes.returns.tolist() == rollout.rewards.sum(1).tolist()


def test_slots_of_a_wrapped_environment_are_copies_of_their_own() -> None:
    env = TransformReward(RLEnvironment(CHAT), lambda reward: reward)
    envs = as_vector_env(env, 3)
    assert len({id(copy.unwrapped) for copy in (env, *envs.envs)}) == 4


def test_a_foreign_vector_environment_without_autoreset_is_taken_as_it_is() -> None:
    envs = SyncVectorEnv([lambda: RLEnvironment(CHAT)], autoreset_mode=AutoresetMode.DISABLED)
    assert as_vector_env(envs, 99) is envs


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
def test_a_foreign_vector_environment_with_autoreset_is_refused(mode: AutoresetMode) -> None:
    envs = SyncVectorEnv([lambda: RLEnvironment(CHAT)], autoreset_mode=mode)
    with pytest.raises(ValueError) as error:
        as_vector_env(envs, 1)
    assert str(error.value) == (
        "the vector environment resets finished slots by itself; make it with autoreset_mode="
        "AutoresetMode.DISABLED, so that exactly the episodes that were started are collected"
    )


def test_what_is_no_environment_is_refused() -> None:
    with pytest.raises(TypeError, match="env is Chat, expected an id, an Env or a VectorEnv"):
        as_vector_env(Chat(), 1)


def test_an_environment_with_another_tokenizer_is_refused() -> None:
    envs = as_vector_env("CartPole-v1", 2)
    with pytest.raises(ValueError) as error:
        play(envs, 2)
    assert str(error.value) == (
        "the environment's actions are Discrete(2) and the policy's tokenizer has 100 tokens: "
        "make the environment with tokenizer=policy.tokenizer"
    )


class Silent(gym.Env):
    """Speaks in tokens and says nothing about them."""

    observation_space = gym.spaces.Box(0, 99, (8,), np.int64)
    action_space = gym.spaces.Discrete(100)

    def reset(self, *, seed=None, options=None):
        return np.zeros(8, np.int64), {}


def test_an_environment_that_does_not_tell_its_lengths_is_refused() -> None:
    with pytest.raises(ValueError, match=r"gives no \['difficulty', 'length', 'problem_id'\]"):
        play(as_vector_env(Silent(), 2), 2)


# ------------------------------------------------------------------- evaluation


def test_evaluate_asks_the_same_numbered_problems_each_time() -> None:
    asked = []
    for seed, policy in ((0, new_policy(0)), (1, new_policy(1))):
        envs = Recorder(CHAT, 20)
        evaluate(policy, envs, num_episodes=20, seed=seed)
        asked.append(envs.problems)
    assert asked == [[[number] for number in range(20)]] * 2


def test_evaluate_plays_the_test_split_of_an_id(monkeypatch: pytest.MonkeyPatch) -> None:
    played = []
    real = rollout_module.collect
    monkeypatch.setattr(
        rollout_module,
        "collect",
        lambda p, envs, n, **k: played.append(envs) or real(p, envs, n, **k),
    )
    episodes = evaluate(new_policy(), "TextMath-v0", num_episodes=30)
    assert played[0].mdp.bank.split == "test" and len(episodes.responses) == 30


def test_evaluate_ignores_groups() -> None:
    envs = TokenVectorEnv(CHAT, 4, group_size=4)
    assert len(evaluate(new_policy(), envs, num_episodes=7).responses) == 7


@pytest.mark.parametrize("training", [True, False])
def test_evaluate_plays_in_evaluation_mode_and_puts_the_training_flag_back(training: bool) -> None:
    policy, flags = new_policy().train(training), []
    model = policy.model
    model.lm_head.register_forward_pre_hook(lambda head, inputs: flags.append(model.training))
    evaluate(policy, RLEnvironment(LENGTHS), num_episodes=4)
    assert flags and not any(flags)
    assert policy.training is training and policy.model.training is training


def test_greedy_evaluation_does_not_depend_on_the_seed_and_sampling_does() -> None:
    for greedy in (True, False):
        first, second = (
            evaluate(
                new_policy(), RLEnvironment(CHAT), num_episodes=16, greedy=greedy, seed=seed
            ).responses
            for seed in (0, 1)
        )
        assert (first == second) is greedy


def test_an_id_whose_environment_takes_no_tokenizer_is_told() -> None:
    with pytest.raises(TypeError, match="^CartPole-v1 takes no tokenizer"):
        as_vector_env("CartPole-v1", 1, tokenizer=CharTokenizer())
