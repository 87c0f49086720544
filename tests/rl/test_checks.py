"""What every public function says to arguments of a wrong dtype or shape, without the hook.

One valid call of each function stands in `CALLS`; the tests spoil one argument at a time.
"""

import inspect
from typing import Any

import pytest
import torch
from torch import Tensor

from bench import rl

from .strategies import ALL, Outputs, random_batch

X, Y, Z = random_batch(seed=6, rows=2, length=3).x
MASK, LOGITS = torch.ones(2, 3, dtype=torch.bool), torch.zeros(2, 3, 5)
ROW, ROW_MASK = X[:, 0], MASK[:, 0]
SIDES = {"chosen_scores": X, "chosen_mask": MASK, "rejected_scores": Y, "rejected_mask": MASK}
SEGMENTS = {"logits": X, "wrong": MASK, "hidden": MASK, "ends": MASK, "mask": MASK}
CALLS: dict[str, dict[str, Any]] = {
    "place_final_score": {"scores": X, "mask": MASK, "finished": ROW_MASK, "position": "last"},
    "attention_shares": {"attention": X.abs(), "mask": MASK},
    "best_of_n_kl_bound": {"n": 4},
    "bradley_terry_loss": {"chosen_scores": ROW, "rejected_scores": ROW, "margins": ROW},
    "divergence_preference_loss": {
        **SIDES,
        "first_divergence": torch.tensor([0, 1]),
        "margins": ROW,
    },
    "dpo_loss": {"chosen_log_ratios": ROW, "rejected_log_ratios": ROW, "beta": 0.1},
    "entropy": {"logits": LOGITS},
    "explained_variance": {"values": X, "returns": Y, "mask": MASK},
    "figa_loss": {
        "chosen_logprobs": X,
        "chosen_mask": MASK,
        "rejected_logprobs": Y,
        "rejected_mask": MASK,
        "chosen_changed": MASK,
        "rejected_changed": MASK,
        "learn": 1.0,
        "unlearn": 0.5,
        "threshold": 0.6,
    },
    "forward_kl": {"logits": LOGITS, "ref_logits": LOGITS},
    "gae": {"rewards": X, "values": Y, "mask": MASK, "gamma": 1.0, "gae_lambda": 1.0},
    "group_standardised": {"scores": ROW, "samples": 2},
    "growth_of_mean": {"rewards": X, "mask": MASK},
    "kl_estimate": {"logprobs": X, "ref_logprobs": Y},
    "kl_penalised": {"rewards": X, "kl": Y, "mask": MASK, "kl_coef": 0.1},
    "leave_one_out": {"scores": ROW, "samples": 2},
    "macro_gae": {
        "rewards": X,
        "values": Y,
        "ends": MASK,
        "mask": MASK,
        "gamma": 1.0,
        "gae_lambda": 1.0,
    },
    "masked_mean": {"x": X, "mask": MASK},
    "masked_sum": {"x": X, "mask": MASK},
    "missing_eos_penalty": {
        "scores": X,
        "mask": MASK,
        "finished": ROW_MASK,
        "penalty": 1.0,
        "mode": "subtract",
    },
    "payments": {"paid": X, "mask": MASK},
    "ppo_policy_loss": {
        "logprobs": X,
        "old_logprobs": Y,
        "advantages": Z,
        "mask": MASK,
        "clip_range": 0.2,
    },
    "ppo_value_loss": {
        "values": X,
        "old_values": Y,
        "returns": Z,
        "mask": MASK,
        "clip_range": 0.2,
    },
    "ranking_loss": {"scores": X, "ranks": torch.tensor([[0, 1, 2], [2, 1, 0]])},
    "ratio_statistics": {"logprobs": X, "old_logprobs": Y, "mask": MASK, "clip_range": 0.2},
    "rrhf_loss": {
        "scores": X,
        "ranks": torch.tensor([[0, 1, 2], [2, 1, 0]]),
        "best_logprobs": ROW,
    },
    "segment_label_accuracy": SEGMENTS,
    "segment_label_loss": SEGMENTS,
    "segment_label_rewards": {"logits": X, "ends": MASK, "mask": MASK, "value": 0.3},
    "segment_places": {"ends": MASK, "mask": MASK},
    "segment_rewards": {"scores": X, "ends": MASK, "mask": MASK},
    "segment_score": {"scores": X, "ends": MASK, "mask": MASK},
    "segments_with": {"marked": MASK, "ends": MASK, "mask": MASK},
    "sequence_rewards": {"scores": ROW, "mask": MASK},
    "tdpo_loss": {
        "chosen_log_ratios": ROW,
        "rejected_log_ratios": ROW,
        "chosen_kl": ROW,
        "rejected_kl": ROW,
        "beta": 0.1,
        "alpha": 0.5,
    },
    "token_label_loss": {
        "chosen_logits": X,
        "chosen_mask": MASK,
        "rejected_logits": Y,
        "rejected_mask": MASK,
        "chosen_changed": MASK,
        "rejected_changed": MASK,
    },
    "token_label_rewards": {"logits": X, "mask": MASK},
    "token_logprobs": {"logits": LOGITS, "tokens": torch.zeros(2, 3, dtype=torch.long)},
    "token_preference_loss": {
        **SIDES,
        "chosen_changed": MASK,
        "rejected_changed": MASK,
        "margins": ROW,
    },
    "token_rewards": {"paid": X, "mask": MASK},
    "whiten": {"x": X, "mask": MASK},
}
ARGUMENTS = [
    (name, argument)
    for name, call in CALLS.items()
    for argument, value in call.items()
    if isinstance(value, Tensor)
]
HALF_WELCOME = ("entropy", "forward_kl", "token_logprobs")
ANY_SHAPE = ("masked_mean", "masked_sum")
OF_TENSORS = list(dict.fromkeys(name for name, _ in ARGUMENTS))  # the others take numbers alone


def wrong_dtype(tensor: Tensor) -> Tensor:
    return tensor.half() if tensor.is_floating_point() else tensor.long()


def test_every_public_function_is_here_and_its_call_is_valid() -> None:
    assert set(CALLS) == {n for n in rl.__all__ if inspect.isfunction(getattr(rl, n))}
    for name, call in CALLS.items():
        getattr(rl, name)(**call)


@pytest.mark.usefixtures("no_hook")
@pytest.mark.parametrize(("name", "argument"), ARGUMENTS)
def test_dtypes(name: str, argument: str) -> None:
    """Half precision for a float, int64 (a tokenizer's mask) for a bool; integers are integers."""
    value = CALLS[name][argument]
    if value.dtype == torch.int64 or name in HALF_WELCOME:
        return
    remedy = r"call \.float\(\)" if value.is_floating_point() else r"call \.bool\(\)"
    with pytest.raises(TypeError, match=rf" is torch\.(float16|int64), needs .*: {remedy}"):
        getattr(rl, name)(**CALLS[name] | {argument: wrong_dtype(value)})


@pytest.mark.usefixtures("no_hook")
@pytest.mark.parametrize(("name", "argument"), ARGUMENTS)
def test_shapes(name: str, argument: str) -> None:
    """One dimension or one row too many: nothing broadcasts."""
    if name == "entropy":  # a single argument: any (B, T, V) is right
        return
    value = CALLS[name][argument]
    for wrong in (value.unsqueeze(0), torch.cat([value, value[:1]])):
        with pytest.raises(ValueError, match=r"\([0-9, ]+\)"):
            getattr(rl, name)(**CALLS[name] | {argument: wrong})


@pytest.mark.usefixtures("no_hook")
@pytest.mark.parametrize("name", [name for name in OF_TENSORS if name not in ANY_SHAPE])
def test_ranks(name: str) -> None:
    """One dimension more for all arguments at once: they agree, and are wrong."""
    wrong = {k: v[None] if isinstance(v, Tensor) else v for k, v in CALLS[name].items()}
    with pytest.raises(ValueError, match=r"dimensions, has shape|has shape \(1, 2, 3\), but"):
        getattr(rl, name)(**wrong)


@pytest.mark.usefixtures("no_hook")
@pytest.mark.parametrize("name", ["token_preference_loss", "divergence_preference_loss"])
def test_the_two_sides_are_of_one_batch(name: str) -> None:
    """A whole side of one row more, which agrees in itself."""
    side = {k: torch.cat([v, v[:1]]) for k, v in CALLS[name].items() if k.startswith("rejected_")}
    with pytest.raises(ValueError, match=r"rejected_scores has shape \(3, 3\).*batch sizes"):
        getattr(rl, name)(**CALLS[name] | side)


@pytest.mark.parametrize("name", ALL)
def test_everything_stays_on_the_device_of_the_arguments(name: str) -> None:
    """A default device on which nothing can be computed makes a tensor made there show."""
    batch = random_batch(seed=7, rows=3, length=5)
    expected: Outputs = ALL[name](batch.x, batch.mask)
    with torch.device("meta"):
        outputs = ALL[name](batch.x, batch.mask)
    assert all(torch.equal(a, b) for a, b in zip(outputs, expected, strict=True))
