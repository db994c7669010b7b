"""Our reward model's loss, gradients and training step are those of TRL's RewardTrainer."""

from __future__ import annotations

import copy

import pytest

torch = pytest.importorskip("torch")
trl = pytest.importorskip("trl")

from datasets import Dataset  # noqa: E402 - comes with trl
from transformers import AutoModelForSequenceClassification  # noqa: E402

from agents.models import new_tiny_model  # noqa: E402
from agents.reward_losses import bradley_terry_loss  # noqa: E402
from agents.reward_model import RewardModel  # noqa: E402
from textgym import CharTokenizer  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")

PROMPTS = ["2+3=", "a longer prompt: ", "name? ", "q"]
CHOSEN = ["5", "yes, surely", "Ann", "abc"]
REJECTED = ["6!", "no", "", "xyz and more"]


@pytest.fixture
def both(tmp_path):
    """Our model, and the same weights as TRL's model and the batch that its collator makes."""
    model = RewardModel(new_tiny_model(0, hidden_size=32, num_layers=2), CharTokenizer())
    with torch.no_grad():  # rewards of a size that matters
        model.head.weight.mul_(50.0)
    model.save(tmp_path / "model")
    theirs = AutoModelForSequenceClassification.from_pretrained(tmp_path / "model")
    tokenizer = CharTokenizer().to_hugging_face()
    columns = {"prompt": PROMPTS, "chosen": CHOSEN, "rejected": REJECTED}
    return model, theirs, tokenizer, Dataset.from_dict(columns), tmp_path


def trainer_of(theirs, tokenizer, data, folder, coefficient):
    return trl.RewardTrainer(
        model=theirs,
        args=trl.RewardConfig(
            output_dir=str(folder / "trl"),
            per_device_train_batch_size=len(PROMPTS),
            center_rewards_coefficient=coefficient,
            report_to=[],
            use_cpu=True,
            bf16=False,
            disable_tqdm=True,
            disable_dropout=True,
            gradient_checkpointing=False,
        ),
        train_dataset=data,
        processing_class=tokenizer,
    )


@pytest.mark.parametrize("share", [False, True], ids=["apart", "shared-prefix"])
@pytest.mark.parametrize("coefficient", [None, 0.01])
@pytest.mark.parametrize("with_margins", [False, True], ids=["plain", "margins"])
def test_loss_and_gradients_are_trls(both, coefficient, with_margins, share):
    model, theirs, tokenizer, data, folder = both
    margins = torch.tensor([0.0, 0.5, 1.0, 2.0])
    if with_margins:
        data = data.add_column("margin", margins.tolist())
    trainer = trainer_of(theirs, tokenizer, data, folder, coefficient)
    rows = [trainer.train_dataset[i] for i in range(len(PROMPTS))]
    batch = trainer.data_collator(rows)
    # TRL's texts end with eos as ours do, so the tokens are the same.
    texts = model.encode_pairs(PROMPTS, CHOSEN, REJECTED)
    expected_rows = [*texts[0].rows, *texts[1].rows]
    lengths = batch["attention_mask"].sum(1).tolist()
    got = [row[:n].tolist() for row, n in zip(batch["input_ids"], lengths, strict=True)]
    assert got == expected_rows

    trainer.model.train()
    expected = trainer.compute_loss(trainer.model, batch)
    expected.backward()

    model._shares = share
    scores = model.forward_pairs(*texts)
    loss, _ = bradley_terry_loss(
        scores.chosen,
        scores.rejected,
        margins=margins if with_margins else None,
        centering_coef=coefficient or 0.0,
    )
    loss.backward()
    assert loss.item() == pytest.approx(expected.item(), abs=1e-5)
    wanted = {
        name: parameter.grad
        for name, parameter in trainer.model.named_parameters()
        if parameter.grad is not None
    }
    ours = {f"model.{n}": p.grad for n, p in model.backbone.trunk.named_parameters()}
    ours["score.weight"] = model.head.weight.grad
    assert ours.keys() == wanted.keys()
    for name, gradient in wanted.items():
        assert torch.allclose(ours[name], gradient, atol=1e-5, rtol=1e-4), name


def test_scores_are_those_of_the_model_that_trl_trains(both):
    model, theirs, *_ = both
    model.eval()
    tokens, lengths = model.backbone.batch(model.backbone.encode(PROMPTS, CHOSEN).rows)
    mask = (torch.arange(tokens.shape[1]) < lengths[:, None]).long()
    with torch.no_grad():
        expected = copy.deepcopy(theirs).eval()(tokens, attention_mask=mask).logits[:, 0]
    assert torch.allclose(model.score(PROMPTS, CHOSEN), expected, atol=1e-5)
