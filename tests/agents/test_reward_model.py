"""Reward models read what they should, plug in where they should, come back from files whole."""

from __future__ import annotations

import copy

import gymnasium as gym
import numpy as np
import pytest
import torch
from transformers import (
    AutoModelForSequenceClassification,
    BertConfig,
    BertModel,
    GPT2Config,
    GPT2LMHeadModel,
)

import textgym
from agents.adapters import Adapter
from agents.models import Policy, new_tiny_model
from agents.reward_backbone import Backbone, SharedPrefix
from agents.reward_ensemble import RewardEnsemble
from agents.reward_heads import Pool
from agents.reward_model import RewardModel
from agents.reward_variants import MultiObjectiveRewardModel, PairwiseRewardModel
from textgym import CharTokenizer
from textgym.rewards import load_reward

POOLINGS = ["last", "mean", "max", "attention"]
PROMPTS = ["2+3=", "capital of France? ", "2+3=", "a"]
RESPONSES = ["5", "Paris", "", "a long response to a short prompt"]


def tiny(seed: int = 0) -> torch.nn.Module:
    return new_tiny_model(seed, hidden_size=32, num_layers=2)


def new_model(kind: type = RewardModel, **settings) -> RewardModel:
    return kind(tiny(), CharTokenizer(), **settings).eval()


def encoder(**settings) -> RewardModel:
    """A BERT, whose tokenizer has [CLS] and [SEP] and no eos."""
    tokenizer = CharTokenizer().to_hugging_face()
    tokenizer.eos_token = None
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return RewardModel(BertModel(config), tokenizer, **settings).eval()


def close(a, b, tolerance: float = 1e-5) -> bool:
    return torch.allclose(torch.as_tensor(a), torch.as_tensor(b), atol=tolerance, rtol=tolerance)


# ----------------------------------------------------------------- pooling and padding


@pytest.mark.parametrize("pooling", POOLINGS)
def test_padding_never_changes_a_score(pooling):
    model = new_model(pooling=pooling)
    tokens, lengths = model.backbone.batch([[5, 6, 7], [8]])
    with torch.no_grad():
        plain = model(tokens, lengths)
        for pad in (0, 2, 50):
            wider = torch.nn.functional.pad(tokens, (0, 4))
            wider[torch.arange(7) >= lengths[:, None]] = pad
            assert close(model(wider, lengths), plain)


@pytest.mark.parametrize("pooling", ["cls", "mean", "last"])
def test_padding_never_changes_an_encoders_score(pooling):
    model = encoder(pooling=pooling)
    assert not model.backbone.causal
    alone = torch.cat([model.score([p], [r]) for p, r in zip(PROMPTS, RESPONSES, strict=True)])
    assert close(model.score(PROMPTS, RESPONSES), alone)


@pytest.mark.parametrize(
    "how, expected", [("last", [3.0, 10.0]), ("mean", [2.0, 10.0]), ("max", [3.0, 10.0])]
)
def test_poolings_by_hand(how, expected):
    hidden = torch.tensor([[[1.0], [2.0], [3.0]], [[10.0], [99.0], [99.0]]])
    assert Pool(how, 1)(hidden, torch.tensor([3, 1])).squeeze(-1).tolist() == expected


def test_attention_pooling_weighs_by_its_query():
    pool = Pool("attention", 1)
    hidden, lengths = torch.tensor([[[0.0], [1.0], [50.0]]]), torch.tensor([2])
    assert pool(hidden, lengths).item() == pytest.approx(0.5)  # it begins as the mean
    with torch.no_grad():
        pool.query.fill_(2.0)
    assert pool(hidden, lengths).item() == pytest.approx(torch.tensor(2.0).sigmoid().item())


def test_last_pooling_reads_the_eos_behind_the_response():
    model = new_model()
    assert model.backbone.encode(["a"], ["b"]).rows == [[*CharTokenizer().encode("ab"), 2]]
    row = torch.tensor([model.backbone.encode(["a"], ["b"]).rows[0]])
    with torch.no_grad():
        last = model.backbone.trunk(input_ids=row).last_hidden_state[0, -1]
        assert close(model.score(["a"], ["b"])[0], last @ model.head.weight[0])


def test_cls_pooling_of_a_causal_model_is_refused():
    with pytest.raises(ValueError, match="first token of a causal model sees no other"):
        new_model(pooling="cls")


def test_an_unknown_pooling_is_told():
    with pytest.raises(ValueError, match="pooling is 'median', expected one of"):
        new_model(pooling="median")


@pytest.mark.parametrize("pad", ["eos", None])
def test_a_tokenizer_whose_padding_is_eos_or_missing_is_read_at_the_last_token(pad):
    tokenizer = CharTokenizer().to_hugging_face()
    tokenizer.pad_token = tokenizer.eos_token if pad == "eos" else None
    config = GPT2Config(vocab_size=100, n_positions=64, n_embd=32, n_layer=2, n_head=2)
    model = RewardModel(GPT2LMHeadModel(config).eval(), tokenizer).eval()
    assert model.backbone.encode(["a"], ["b"]).rows == [CharTokenizer().encode("ab")]
    alone = torch.cat([model.score([p], [r]) for p, r in zip(PROMPTS, RESPONSES, strict=True)])
    assert close(model.score(PROMPTS, RESPONSES), alone)
    assert model.score([""], [""]).isfinite().all()


def test_a_long_text_keeps_its_end_and_is_counted():
    backbone = Backbone(tiny(), CharTokenizer(), max_length=6)
    texts = backbone.encode(["0123456789", "01"], ["abc", "ab"])
    assert texts.num_cut == 1
    assert [CharTokenizer().decode(row[:-1]) for row in texts.rows] == ["89abc", "01ab"]
    assert texts.starts == [2, 2]


def test_a_text_beyond_the_context_gets_a_score():
    model = new_model()
    assert model.score(["x" * 5000], ["y" * 5000]).isfinite().all()


def test_half_of_a_surrogate_pair_gets_a_score():
    assert new_model().score(["\ud800"], ["é\udfff"]).isfinite().all()


# ----------------------------------------------------------------- trunks


def test_the_policy_that_it_is_made_of_stays_as_it_is():
    policy = Policy(tiny(), CharTokenizer())
    before = copy.deepcopy(policy.state_dict())
    model = RewardModel(policy)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)
    assert all(torch.equal(x, before[name]) for name, x in policy.state_dict().items())


def test_no_weights_of_a_language_model_head_are_kept():
    names = [
        name
        for name, _ in RewardModel(
            GPT2LMHeadModel(
                GPT2Config(
                    vocab_size=100, n_embd=32, n_layer=1, n_head=2, tie_word_embeddings=False
                )
            ),
            CharTokenizer(),
        ).named_parameters()
    ]
    assert not any("lm_head" in name for name in names)


def test_equal_seeds_make_equal_heads_and_leave_the_global_generator_alone():
    state = torch.get_rng_state()
    first, second, other = (new_model(seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first.head.weight, second.head.weight)
    assert not torch.equal(first.head.weight, other.head.weight)
    assert torch.equal(torch.get_rng_state(), state)


def test_only_the_adapter_and_the_head_train_with_an_adapter():
    model = new_model(adapter=Adapter(rank=2))
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert trained and all("lora" in name or name == "head.weight" for name in trained)


# ----------------------------------------------------------------- shared prefixes


def test_pairs_with_a_shared_prefix_score_as_apart_with_the_same_gradients():
    model = new_model()
    prompts = ["a prompt of some length: "] * 3 + ["another prompt of its own: "]
    chosen, rejected = ["yes", "abc", "ab", "q"], ["no", "ab", "abc", "rrrr"]
    firsts, seconds = model.encode_pairs(prompts, chosen, rejected)
    assert SharedPrefix(firsts.rows, seconds.rows).saving > 0.3
    found = []
    for shares in (True, False):
        model._shares = shares
        model.zero_grad()
        scores = model.forward_pairs(firsts, seconds)
        (scores.chosen.sin().sum() + scores.rejected.cos().sum()).backward()
        gradients = [p.grad.clone() for p in model.parameters() if p.grad is not None]
        found.append((scores, gradients))
    (together, gradients), (apart, expected) = found
    assert close(together.chosen, apart.chosen) and close(together.rejected, apart.rejected)
    assert all(close(a, b) for a, b in zip(gradients, expected, strict=True))
    assert together.num_tokens == apart.num_tokens == sum(map(len, firsts.rows + seconds.rows))


def test_sharing_is_found_out_by_trying():
    assert new_model()._can_share()
    assert not new_model(pooling="mean")._can_share()
    assert not encoder(pooling="last")._can_share()


# ----------------------------------------------------------------- pairwise


def test_the_pairwise_model_is_antisymmetric_to_the_bit_in_any_batch():
    model = new_model(PairwiseRewardModel)
    a, b = ["yes", "x", "same", ""], ["no, never", "y", "same", "z"]
    prompts = ["p", "q", "r", "s"]
    forwards, backwards = model.margins(prompts, a, b), model.margins(prompts, b, a)
    assert torch.equal(forwards, -backwards)
    assert forwards[2] == 0 and forwards[0] != 0
    ahead, behind = model.probability(prompts, a, b), model.probability(prompts, b, a)
    assert close(ahead + behind, torch.ones(4), 1e-7)


def test_the_pairwise_model_averages_both_orders():
    model = new_model(PairwiseRewardModel)
    texts = [
        model.backbone.encode(["p"], [t])
        for t in ("\nA: x\nB: y\nBetter: ", "\nA: y\nB: x\nBetter: ")
    ]
    with torch.no_grad():
        one, other = (model.forward_texts(text)[0] for text in texts)
    assert close(model.margins(["p"], ["x"], ["y"])[0], (one - other) / 2)
    scores = model.forward_pairs(*model.encode_pairs(["p"], ["x"], ["y"]))
    assert close((scores.chosen - scores.rejected)[0], (one - other) / 2)


def test_the_pairwise_model_judges_in_an_environment():
    model = new_model(PairwiseRewardModel)
    env = gym.make("TextPreference-v0", form="duel", preference=model.as_preference())
    _, info = env.reset(seed=0)
    *_, info = env.step(CharTokenizer.eos_token_id)
    assert "verifier_error" not in info and 0 < info["components"]["preferred"] < 1


def test_the_pairwise_model_scores_no_response_alone():
    with pytest.raises(TypeError, match="compares two responses"):
        new_model(PairwiseRewardModel).score(["p"], ["x"])


# ----------------------------------------------------------------- several objectives


def test_the_total_is_the_weighted_sum_of_the_components():
    model = new_model(MultiObjectiveRewardModel, objectives={"a": 0.25, "b": -2.0})
    components = model.components(PROMPTS, RESPONSES)
    assert components.shape == (4, 2)
    assert close(model.score(PROMPTS, RESPONSES), 0.25 * components[:, 0] - 2 * components[:, 1])


def test_gating_begins_at_the_weights_and_depends_on_the_prompt_alone():
    model = new_model(MultiObjectiveRewardModel, objectives={"a": 3.0, "b": 1.0}, gating=True)
    components = model.components(PROMPTS, RESPONSES)
    expected = 0.75 * components[:, 0] + 0.25 * components[:, 1]
    assert close(model.score(PROMPTS, RESPONSES), expected)
    with torch.no_grad():
        model.gate.output.weight.normal_(generator=torch.Generator().manual_seed(0))
    texts = model.backbone.encode(["p: "] * 2, ["x", "something else"])
    tokens, lengths = model.backbone.batch(texts.rows)
    with torch.no_grad():
        prompt = model.prompt_features(model.backbone(tokens, lengths), torch.tensor(texts.starts))
        weights = model.gate(prompt)
    assert close(weights[0], weights[1]) and close(weights.sum(1), torch.ones(2))


def test_components_plug_into_the_multi_objective_environment():
    model = new_model(MultiObjectiveRewardModel, objectives={"a": 0.5, "b": 2.0})
    env = textgym.MultiObjectiveRewardEnv(
        tokenizer="char",
        prompts=["2+3="],
        reward_components=model.as_reward_components(),
        reward_weights=model.objectives,
    )
    env.reset(seed=0)
    env.step(CharTokenizer().encode("5")[0])
    _, reward, *_, info = env.step(CharTokenizer.eos_token_id)
    expected = model.components(["2+3="], ["5"])[0]
    assert info["components"] == pytest.approx(
        {"a": expected[0].item(), "b": expected[1].item()}, abs=1e-5
    )
    assert reward == pytest.approx(model.score(["2+3="], ["5"]).item(), abs=1e-5)


def test_the_weighted_sum_is_what_an_environment_pays():
    model = new_model(MultiObjectiveRewardModel, objectives={"a": 0.8, "b": 0.2}, pooling="mean")
    env = gym.make(
        "TextGeneration-v0", prompts=["2+3="], tokenizer="char", reward_fn=model.as_reward_fn()
    )
    env.reset(seed=0)
    env.step(CharTokenizer().encode("5")[0])
    a, b = model.components(["2+3="], ["5"])[0].tolist()
    assert env.step(CharTokenizer.eos_token_id)[1] == pytest.approx(0.8 * a + 0.2 * b, abs=1e-5)


def test_reward_components_are_those_of_the_model_as_it_is_now():
    model = new_model(MultiObjectiveRewardModel, objectives={"a": 0.7, "b": 0.3})
    reward = model.as_reward_components()["a"]
    before = reward(["2+3="], ["5"], ["2+3=5"])
    with torch.no_grad():
        model.head.weight.mul_(3.0)
    assert reward(["2+3="], ["5"], ["2+3=5"]) == pytest.approx([3.0 * before[0]], rel=1e-5)


def test_objectives_are_needed():
    with pytest.raises(ValueError, match="objectives is empty"):
        new_model(MultiObjectiveRewardModel, objectives={})


# ----------------------------------------------------------------- reward functions


def test_a_reward_function_pays_in_a_single_and_a_vector_environment():
    model = new_model()
    reward = model.as_reward_fn(CharTokenizer())
    settings = {"prompts": ["2+3="], "tokenizer": "char", "reward_fn": reward}
    expected = model.score(["2+3="], [""]).item()
    env = gym.make("TextGeneration-v0", **settings)
    env.reset(seed=0)
    assert env.step(CharTokenizer.eos_token_id)[1] == pytest.approx(expected, abs=1e-5)
    envs = gym.make_vec("TextGeneration-v0", num_envs=3, **settings)
    envs.reset(seed=0)
    rewards = envs.step(np.full(3, CharTokenizer.eos_token_id))[1]
    assert rewards == pytest.approx([expected] * 3, abs=1e-5)


def test_a_reward_function_is_not_copied_with_its_environment():
    reward = new_model().as_reward_fn()
    assert copy.deepcopy({"reward": reward})["reward"] is reward


def test_a_foreign_tokenizer_is_refused():
    tokenizer = CharTokenizer().to_hugging_face()
    tokenizer.add_tokens(["word"])
    with pytest.raises(ValueError, match="101 tokens and the model's own 100"):
        new_model().as_reward_fn(tokenizer)


def test_scores_come_in_the_order_of_the_texts_without_gradients_and_keep_the_mode():
    model = new_model().train()
    one_by_one = torch.cat([model.score([p], [r]) for p, r in zip(PROMPTS, RESPONSES, strict=True)])
    scores = model.score(PROMPTS, RESPONSES, batch_size=2)
    assert close(scores, one_by_one) and not scores.requires_grad and model.training
    assert model.score([], []).shape == (0,)


# ----------------------------------------------------------------- files


@pytest.mark.parametrize("pooling", POOLINGS)
def test_a_saved_model_comes_back_with_the_same_scores(pooling, tmp_path):
    model = new_model(pooling=pooling, max_length=30)
    model.save(tmp_path)
    loaded = RewardModel.load(tmp_path)
    assert torch.equal(loaded.score(PROMPTS, RESPONSES), model.score(PROMPTS, RESPONSES))
    assert not list(tmp_path.glob("*.bin")) and not list(tmp_path.glob("*.pt"))


def test_the_folder_is_a_reward_by_name_and_a_sequence_classifier(tmp_path):
    model = new_model(max_length=30)
    model.save(tmp_path)
    full = [p + r for p, r in zip(PROMPTS, RESPONSES, strict=True)]
    reward = load_reward(f"reward_model:{tmp_path}")
    assert close(reward(PROMPTS, RESPONSES, full), model.score(PROMPTS, RESPONSES))
    classifier = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    tokens, lengths = model.backbone.batch(model.backbone.encode(PROMPTS, RESPONSES).rows)
    with torch.no_grad():
        assert close(classifier(tokens).logits[:, 0], model(tokens, lengths))


def test_a_folder_whose_padding_is_eos_is_read_alike_by_name(tmp_path):
    tokenizer = CharTokenizer().to_hugging_face()
    tokenizer.pad_token = tokenizer.eos_token
    model = RewardModel(tiny(), tokenizer).eval()
    model.save(tmp_path)
    full = [p + r for p, r in zip(PROMPTS, RESPONSES, strict=True)]
    reward = load_reward(f"reward_model:{tmp_path}")
    assert close(reward(PROMPTS, RESPONSES, full), model.score(PROMPTS, RESPONSES))


@pytest.mark.parametrize("kind", ["mean", "multi", "pair"])
def test_a_folder_that_is_no_classifier_is_refused_by_name(kind, tmp_path):
    model = {
        "mean": lambda: new_model(pooling="mean"),
        "multi": lambda: new_model(MultiObjectiveRewardModel, objectives={"a": 1.0}),
        "pair": lambda: new_model(PairwiseRewardModel),
    }[kind]()
    model.save(tmp_path)
    with pytest.raises(ValueError, match="as_reward_fn"):
        load_reward(f"reward_model:{tmp_path}")


def test_each_kind_comes_back_as_what_it_is(tmp_path):
    several = new_model(MultiObjectiveRewardModel, objectives={"a": 1.0, "b": 2.0}, gating=True)
    with torch.no_grad():
        several.gate.output.weight.normal_(generator=torch.Generator().manual_seed(0))
    several.save(tmp_path / "several")
    loaded = RewardModel.load(tmp_path / "several")
    assert isinstance(loaded, MultiObjectiveRewardModel) and loaded.objectives == several.objectives
    assert torch.equal(loaded.score(PROMPTS, RESPONSES), several.score(PROMPTS, RESPONSES))
    pair = new_model(PairwiseRewardModel)
    pair.save(tmp_path / "pair")
    loaded = PairwiseRewardModel.load(tmp_path / "pair")
    assert torch.equal(loaded.margins(["p"], ["x"], ["y"]), pair.margins(["p"], ["x"], ["y"]))
    with pytest.raises(TypeError, match="holds a PairwiseRewardModel, expected a MultiObjective"):
        MultiObjectiveRewardModel.load(tmp_path / "pair")


def test_an_encoder_comes_back(tmp_path):
    model = encoder(pooling="cls")
    model.save(tmp_path)
    assert close(
        RewardModel.load(tmp_path).score(PROMPTS, RESPONSES), model.score(PROMPTS, RESPONSES)
    )


def test_an_adapter_is_merged_into_what_is_saved(tmp_path):
    model = new_model(adapter=Adapter(rank=2))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1, generator=torch.Generator().manual_seed(0))
    model.save(tmp_path)
    assert close(
        RewardModel.load(tmp_path).score(PROMPTS, RESPONSES), model.score(PROMPTS, RESPONSES)
    )


def test_a_folder_without_a_reward_model_is_told(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no reward model in"):
        RewardModel.load(tmp_path)


# ----------------------------------------------------------------- ensembles


def test_an_ensemble_ignores_shifts_and_pays_less_where_it_disagrees():
    models = [new_model(seed=seed) for seed in range(3)]
    ensemble = RewardEnsemble(models, PROMPTS, RESPONSES)
    scores = torch.stack([model.score(PROMPTS, RESPONSES) for model in models])
    shifted = scores - scores.mean(1, keepdim=True)
    mean, std = ensemble.mean_and_std(PROMPTS, RESPONSES)
    assert close(mean, shifted.mean(0)) and close(std, shifted.std(0))
    full = [""] * 4
    careful = ensemble.as_reward_fn(caution=2.0)(PROMPTS, RESPONSES, full)
    assert close(careful, mean - 2 * std)


def test_an_ensemble_of_one_is_refused():
    with pytest.raises(ValueError, match="there are 1 models"):
        RewardEnsemble([new_model()], ["p"], ["r"])
