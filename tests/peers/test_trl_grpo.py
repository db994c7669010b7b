"""Our GRPO and its corrections say what TRL's say: loss and gradient of the same batch."""

from __future__ import annotations

import copy

import pytest

torch = pytest.importorskip("torch")
trl = pytest.importorskip("trl")

from datasets import Dataset  # noqa: E402 - it comes with trl
from transformers import LlamaConfig, LlamaForCausalLM  # noqa: E402

from agents.batch import Rollout  # noqa: E402
from agents.grpo import GRPOConfig, GRPOTrainer, Minibatch  # noqa: E402
from agents.losses import token_weights  # noqa: E402
from agents.models import Policy  # noqa: E402
from textgym import CharTokenizer  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")

BUDGET = 9
PROMPTS, RESPONSES = [3, 3, 5, 5], [9, 4, 7, 1]  # lengths: groups of two, one prompt each

# Name -> (ours, TRL's). TRL's cispo says 1 + epsilon where we say epsilon.
KINDS = {
    "grpo": ({"normalization": "sequence"}, {"loss_type": "grpo"}),
    "bnpo": ({"normalization": "token"}, {"loss_type": "bnpo"}),
    "dapo": (
        {"normalization": "token", "clip_param_high": 0.28},
        {"loss_type": "dapo", "epsilon_high": 0.28},
    ),
    "dr_grpo": ({"normalization": "constant"}, {"loss_type": "dr_grpo"}),
    "gspo": (
        {"normalization": "sequence", "ratio": "sequence", "clip_param": 0.05},
        {"loss_type": "grpo", "importance_sampling_level": "sequence", "epsilon": 0.05},
    ),
    "cispo": (
        {"normalization": "token", "loss": "cispo", "clip_param_high": 0.1},
        {"loss_type": "cispo", "epsilon_high": 1.1},
    ),
}


def make_model() -> LlamaForCausalLM:
    config = LlamaConfig(
        vocab_size=100,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        # Five times as large as usual, so that the distributions are far from uniform.
        model = LlamaForCausalLM(config)
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.data.mul_(5.0)
    return model


def make_policy(model: LlamaForCausalLM) -> Policy:
    policy = Policy(copy.deepcopy(model), CharTokenizer())
    policy.illegal.fill_(False)  # TRL's policies may say pad, bos and unk
    return policy


def make_batch(policy: Policy) -> Minibatch:
    """Prompts of two lengths; ratios up to e^0.9 off, so that both ends clip."""
    generator = torch.Generator().manual_seed(0)
    rows, columns = len(PROMPTS), max(p + r for p, r in zip(PROMPTS, RESPONSES, strict=True))
    starts = torch.tensor(PROMPTS)
    lengths = starts + torch.tensor(RESPONSES)
    places = torch.arange(columns)
    mask = (places >= starts[:, None]) & (places < lengths[:, None])
    tokens = torch.randint(4, 100, (rows, columns), generator=generator)
    tokens[1, :3], tokens[3, :5] = tokens[0, :3], tokens[2, :5]
    tokens[places >= lengths[:, None]] = 0
    with torch.no_grad():
        now = policy(tokens, mask).log_probs
    old, reference = (
        (now + scale * torch.randn(now.shape, generator=generator)) * mask for scale in (0.3, 0.5)
    )
    rollout = Rollout(
        tokens=tokens,
        mask=mask,
        log_probs=old,
        values=torch.zeros(mask.shape),
        rewards=torch.zeros(mask.shape),
        terminated=torch.ones(rows, dtype=torch.bool),
        problem=torch.tensor([0, 0, 1, 1]),
        lengths=lengths,
    )
    advantages = torch.tensor([[0.7], [-0.7], [1.1], [-1.1]])
    return Minibatch(rollout, advantages, reference, torch.ones_like(advantages))


def trl_inputs(batch: Minibatch) -> dict[str, torch.Tensor]:
    """The batch as TRL has it: prompts padded on the left, responses on the right."""
    rollout, width = batch.rollout, max(PROMPTS)
    prompts = torch.zeros(len(PROMPTS), width, dtype=torch.int64)
    prompt_mask = torch.zeros_like(prompts)
    for row, length in enumerate(PROMPTS):
        prompts[row, width - length :] = rollout.tokens[row, :length]
        prompt_mask[row, width - length :] = 1

    def responses(x: torch.Tensor) -> torch.Tensor:
        parts = [x[row, p : p + BUDGET] for row, p in enumerate(PROMPTS)]
        return torch.nn.utils.rnn.pad_sequence(parts, batch_first=True)[:, : max(RESPONSES)]

    mask = responses(rollout.mask).long()
    return {
        "prompt_ids": prompts,
        "prompt_mask": prompt_mask,
        "completion_ids": responses(rollout.tokens),
        "completion_mask": mask,
        "advantages": batch.advantages[:, 0],
        "old_per_token_logps": responses(rollout.log_probs),
        "ref_per_token_logps": responses(batch.reference),
        "num_items_in_batch": mask.sum(),
    }


def make_trl(model: LlamaForCausalLM, folder: str, **kwargs) -> trl.GRPOTrainer:
    config = trl.GRPOConfig(
        output_dir=folder,
        per_device_train_batch_size=4,
        num_generations=2,
        max_completion_length=BUDGET,
        report_to=[],
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        use_bias_correction_kl=False,  # its own: the KL term times the ratio
        **kwargs,
    )
    trainer = trl.GRPOTrainer(
        copy.deepcopy(model),
        reward_funcs=lambda completions, **_: [0.0] * len(completions),
        args=config,
        train_dataset=Dataset.from_dict({"prompt": ["2+3="] * 4}),
        processing_class=CharTokenizer().to_hugging_face(),
    )
    trainer.current_gradient_accumulation_steps = 1  # as in the training loop
    trainer.model.train()
    return trainer


@pytest.mark.parametrize("beta", [0.0, 0.04])
@pytest.mark.parametrize("kind", KINDS)
def test_loss_and_gradient_are_those_of_trl(kind, beta, tmp_path):
    ours, theirs = KINDS[kind]
    model = make_model()
    policy = make_policy(model)
    batch = make_batch(policy)
    peer = make_trl(model, str(tmp_path), **theirs)
    peer.beta = beta  # afterwards: it would load a reference model, and the batch has its words
    expected = peer._compute_loss(peer.model, trl_inputs(batch))
    expected.backward()

    config = GRPOConfig(batch_size=4, group_size=2, num_minibatches=1, kl_coef=beta, **ours)
    mask = batch.rollout.mask
    weights = token_weights(mask, config.normalization, budget=BUDGET)
    trainer = GRPOTrainer(config, policy, show=False)
    loss, metrics = trainer.loss(batch._replace(weights=weights), count=int(mask.sum()))
    loss.backward()

    assert metrics["clip_fraction"] > 0.05  # else clipping is not compared
    assert loss.item() == pytest.approx(expected.item(), abs=1e-5)
    grads = dict(policy.model.named_parameters())
    largest = max(p.grad.abs().max() for p in peer.model.parameters())
    assert largest > 0.05
    for name, parameter in peer.model.named_parameters():
        torch.testing.assert_close(
            grads[name].grad, parameter.grad, rtol=1e-5, atol=1e-5 * largest.item(), msg=name
        )
