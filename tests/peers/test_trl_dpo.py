"""DPO's numbers are TRL's: loss, gradient, implicit rewards and margins on the same batch."""

from __future__ import annotations

import copy
import json

import pytest

torch = pytest.importorskip("torch")
trl = pytest.importorskip("trl")

from datasets import Dataset  # noqa: E402 - comes with trl
from transformers import LlamaForCausalLM  # noqa: E402

from agents.dpo import DPOConfig, DPOTrainer  # noqa: E402
from agents.models import Policy, new_tiny_model  # noqa: E402
from tests.agents.chat import chat_model, chat_tokenizer  # noqa: E402
from textgym import CharTokenizer  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")

PROMPTS = ["12+34=", "What is it? ", "a:", "12+34="]
CHOSEN = ["46", "a long answer", "b", "46."]
REJECTED = ["47", "no", "some words", "4"]
BETA = 0.3
LOSSES = {  # ours -> TRL's
    "sigmoid": "sigmoid",
    "robust": "robust",
    "ipo": "ipo",
    "hinge": "hinge",
    "sigmoid_norm": "sigmoid_norm",
}


def theirs(model: LlamaForCausalLM, reference: LlamaForCausalLM, loss: str, folder) -> tuple:
    """TRL's loss on the four pairs, its metrics, and the gradients that it leaves."""
    tokenizer = CharTokenizer().to_hugging_face()
    columns = {"prompt": PROMPTS, "chosen": CHOSEN, "rejected": REJECTED}
    smoothing = {"label_smoothing": 0.1} if loss == "robust" else {}
    args = trl.DPOConfig(
        output_dir=str(folder),
        per_device_train_batch_size=len(PROMPTS),
        gradient_checkpointing=False,
        bf16=False,
        report_to=[],
        use_cpu=True,
        beta=BETA,
        loss_type=[loss],
        **smoothing,
    )
    trainer = trl.DPOTrainer(
        model=model,
        ref_model=reference,
        args=args,
        processing_class=tokenizer,
        train_dataset=Dataset.from_dict(columns),
    )
    batch = next(iter(trainer.get_train_dataloader()))
    value = trainer.compute_loss(trainer.model, batch)
    value.backward()
    found = {name: values[-1] for name, values in trainer._metrics["train"].items()}
    grads = {name: p.grad for name, p in trainer.model.named_parameters() if p.grad is not None}
    return value.item(), found, grads


@pytest.mark.parametrize("loss", LOSSES)
def test_loss_gradient_rewards_and_margins_are_trls(loss: str, tmp_path) -> None:
    reference = new_tiny_model(0, hidden_size=32, num_layers=2)
    with torch.random.fork_rng(devices=[]):
        # Masking tokens that are never legal is ours alone: without a chance, they change nothing.
        torch.manual_seed(1)
        for parameter in reference.parameters():
            parameter.data += 0.05 * torch.randn_like(parameter)
        model = copy.deepcopy(reference)
        for parameter in model.parameters():
            parameter.data += 0.02 * torch.randn_like(parameter)
    config = DPOConfig(
        beta=BETA, loss=loss, batch_size=4, label_smoothing=0.1 if loss == "robust" else 0.0
    )
    policy = Policy(copy.deepcopy(model), CharTokenizer())
    policy.illegal.zero_()
    trainer = DPOTrainer(config, Policy(copy.deepcopy(reference), CharTokenizer()))
    trainer.policy.illegal.zero_()
    trainer.train_on_preferences(PROMPTS, CHOSEN, REJECTED)  # makes the reference's numbers
    trainer.policy = policy
    value, metrics = trainer.loss(trainer._pair_logps([0, 1, 2, 3]))
    value.backward()
    expected, found, grads = theirs(model, reference, LOSSES[loss], tmp_path)

    assert value.item() == pytest.approx(expected, abs=1e-5)
    for ours, name in (
        ("chosen_reward", "rewards/chosen"),
        ("rejected_reward", "rewards/rejected"),
        ("reward_margin", "rewards/margins"),
        ("preference_accuracy", "rewards/accuracies"),  # but for ties, which TRL counts as wrong
    ):
        if loss != "sigmoid_norm":  # TRL logs the sums there too, not what the loss compares
            assert metrics[ours].item() == pytest.approx(found[name], abs=1e-5), ours
    assert metrics["chosen_logp"].item() == pytest.approx(found["logps/chosen"], abs=1e-4)
    for name, parameter in policy.model.named_parameters():
        assert torch.allclose(parameter.grad, grads[name], atol=1e-5), name


def test_a_dialogue_of_messages_has_trls_tokens(tmp_path) -> None:
    """But for the newline that the template puts behind the end of a turn."""
    tokenizer, model = chat_tokenizer(), chat_model()
    prompt = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "Moo?"}]
    chosen, rejected = ([{"role": "assistant", "content": text}] for text in ("Moo!", "No."))
    row = {"prompt": prompt, "chosen": chosen, "rejected": rejected}
    args = trl.DPOConfig(
        output_dir=str(tmp_path),
        gradient_checkpointing=False,
        bf16=False,
        report_to=[],
        use_cpu=True,
    )
    theirs = trl.DPOTrainer(
        model=model,
        ref_model=chat_model(),
        args=args,
        processing_class=tokenizer,
        train_dataset=Dataset.from_list([row]),
    ).train_dataset[0]
    (tmp_path / "pairs.jsonl").write_text(json.dumps(row))
    trainer = DPOTrainer(DPOConfig(), Policy(chat_model(), tokenizer), show=False)
    trainer.train(tmp_path / "pairs.jsonl")
    newline = tokenizer.encode("\n")
    assert trainer.data.prompts == [theirs["prompt_ids"]]
    (responses,) = trainer.data.responses
    assert [response + newline for response in responses] == [
        theirs["chosen_ids"],
        theirs["rejected_ids"],
    ]
