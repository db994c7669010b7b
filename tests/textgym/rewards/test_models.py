"""Classifiers and reward models of Hugging Face's kind, on tiny ones made here."""

from __future__ import annotations

import pickle

import pytest
import torch
from transformers import AutoModelForSequenceClassification, LlamaConfig

from textgym import CharTokenizer
from textgym.rewards import Classifier, RewardModel, load_reward, range_of, score_many

PROMPTS = ["say: "] * 4
TEXTS = ["yes", "no, never, not at all", "", "\ud800 half a pair"]


@pytest.fixture(scope="module")
def make_model(tmp_path_factory):
    """Saves a tiny random model with `num_labels`, whose texts end after 64 tokens."""

    def make(num_labels: int, **settings) -> str:
        folder = tmp_path_factory.mktemp("model")
        config = LlamaConfig(
            vocab_size=100,
            hidden_size=16,
            intermediate_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            max_position_embeddings=64,
            num_labels=num_labels,
            **settings,
        )
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = AutoModelForSequenceClassification.from_config(config)
            model.score.weight.data.normal_()
        model.save_pretrained(folder)
        CharTokenizer().to_hugging_face().save_pretrained(folder)
        return str(folder)

    return make


@pytest.fixture(scope="module")
def classifier(make_model) -> str:
    return make_model(3, id2label={0: "bad", 1: "good", 2: "odd"})


@pytest.fixture(scope="module")
def reward_model(make_model) -> str:
    return make_model(1)


def logits_of(folder: str, text: str) -> torch.Tensor:
    """By the model itself, one text without padding."""
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    model.config.pad_token_id = 0
    with torch.no_grad():
        return model(torch.tensor([CharTokenizer().encode(text)])).logits[0]


def values(reward, texts=TEXTS) -> list[float]:
    scores = score_many(reward, PROMPTS[: len(texts)], texts)
    assert not any(score.error for score in scores)
    return [score.value for score in scores]


def test_a_classifier_is_the_labels_probability_for_the_response(classifier):
    good = values(Classifier(classifier, "good", batch_size=2))
    for text, value in zip(TEXTS[:2], good, strict=False):
        expected = logits_of(classifier, text).softmax(-1)[1].item()
        assert value == pytest.approx(expected, abs=1e-6)
    others = [values(Classifier(classifier, label)) for label in ("bad", 2)]
    assert [sum(each) for each in zip(good, *others, strict=True)] == pytest.approx([1] * 4)
    assert range_of(Classifier(classifier, 0)) == (0, 1)


def test_labels_that_do_not_exclude_each_other_have_a_probability_each(make_model):
    folder = make_model(3, problem_type="multi_label_classification")
    expected = logits_of(folder, "yes").sigmoid()[1].item()
    assert values(Classifier(folder, 1), ["yes"])[0] == pytest.approx(expected, abs=1e-6)


def test_a_reward_model_is_its_logit_for_prompt_and_response(reward_model):
    for text, value in zip(TEXTS[:3], values(RewardModel(reward_model)), strict=False):
        assert value == pytest.approx(logits_of(reward_model, "say: " + text).item(), abs=1e-5)
    reward = RewardModel(reward_model, text="generated")
    expected = logits_of(reward_model, "yes").item()
    assert values(reward, ["yes"])[0] == pytest.approx(expected, abs=1e-5)


def test_a_score_does_not_depend_on_the_responses_beside_it(reward_model):
    reward = RewardModel(reward_model)
    assert values(reward) == pytest.approx([values(reward, [t])[0] for t in TEXTS], abs=1e-5)


def test_of_a_text_that_is_too_long_the_end_is_read(reward_model):
    reward = RewardModel(reward_model, text="generated")
    end = "x" * 63 + "y"
    assert values(reward, ["a" * 5000 + end]) == pytest.approx(values(reward, [end]), abs=1e-5)
    reward = RewardModel(reward_model, text="generated", max_tokens=3)
    assert values(reward, ["abcxyz"]) == pytest.approx(values(reward, ["xyz"]), abs=1e-5)


def test_a_tokenizer_without_pad_pads_with_eos(make_model):
    folder = make_model(1)
    tokenizer = CharTokenizer().to_hugging_face()
    tokenizer.pad_token = None
    tokenizer.save_pretrained(folder)
    reward = RewardModel(folder)
    assert values(reward) == pytest.approx([values(reward, [t])[0] for t in TEXTS], abs=1e-5)


def test_a_copy_loads_its_model_anew(classifier):
    reward = Classifier(classifier, "good")
    data = pickle.dumps(reward)
    assert len(data) < 1000
    assert values(pickle.loads(data)) == values(reward)


def test_models_have_names_among_the_ready_rewards(classifier, reward_model):
    by_name = load_reward({"name": "classifier", "model": classifier, "label": "good"})
    assert values(by_name) == values(Classifier(classifier, "good"))
    assert values(load_reward(f"reward_model:{reward_model}")) == values(RewardModel(reward_model))


def test_a_model_or_label_that_does_not_exist_is_refused_at_once(classifier, tmp_path):
    with pytest.raises(ValueError, match=r"label is 'fine', expected one of \['bad', 'good', 'od"):
        Classifier(classifier, "fine")
    with pytest.raises(ValueError, match="label is 3, expected one of"):
        Classifier(classifier, 3)
    with pytest.raises(ValueError, match="which has 3 labels, expected one"):
        RewardModel(classifier)
    with pytest.raises(ValueError, match="expected a folder or a Hugging Face name of a sequence"):
        RewardModel(tmp_path)
    with pytest.raises(ValueError, match="model is None, expected a folder or"):
        RewardModel(None)
    with pytest.raises(ValueError, match="batch_size is 0, expected an integer of at least 1"):
        RewardModel(classifier, batch_size=0)
    with pytest.raises(ValueError, match="text is 'prompt', expected 'generated' or 'full_text'"):
        RewardModel(classifier, text="prompt")
