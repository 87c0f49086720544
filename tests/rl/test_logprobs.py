"""Token log-probabilities and entropy."""

import math

import pytest
import torch

from bench.rl.logprobs import entropy, token_logprobs

from . import reference


def test_token_logprobs_golden() -> None:
    """Logits (0, ln 3) have the probabilities 1/(1+3) = 1/4 and 3/4.

    Token 0: ln 1/4 = -1.386294; token 1: ln 3/4 = -0.287682.
    """
    logits = torch.tensor([[[0.0, math.log(3)], [0.0, math.log(3)]]])
    out = token_logprobs(logits, torch.tensor([[0, 1]]))
    torch.testing.assert_close(out, torch.tensor([[-1.386294, -0.287682]]), rtol=0, atol=1e-6)


def test_entropy_golden() -> None:
    """Two distributions over 4 tokens.

    Uniform: ln 4 = 1.386294. (1/4, 3/4, 0, 0), the last two with logit -inf:
    1/4 * 1.386294 + 3/4 * 0.287682 = 0.346574 + 0.215762 = 0.562335.
    """
    two = [0.0, math.log(3), -math.inf, -math.inf]
    out = entropy(torch.tensor([[[5.0] * 4, two]]))
    torch.testing.assert_close(out, torch.tensor([[1.386294, 0.562335]]), rtol=0, atol=1e-6)


def test_reference() -> None:
    torch.manual_seed(0)
    logits = torch.randn(3, 4, 7, dtype=torch.float64) * 5
    tokens = torch.randint(7, (3, 4))
    logprobs, entropies = token_logprobs(logits, tokens), entropy(logits)
    for b in range(3):
        for t in range(4):
            expected = reference.log_softmax(logits[b, t].tolist())
            assert logprobs[b, t].item() == pytest.approx(expected[int(tokens[b, t])], abs=1e-12)
            slow = -math.fsum(math.exp(x) * x for x in expected)
            assert entropies[b, t].item() == pytest.approx(slow, abs=1e-12)


def test_half_precision_logits_are_worked_in_float32() -> None:
    """The loss of bfloat16 is in the logits only: as if they had been float32 from the start."""
    logits = torch.randn(2, 3, 50).bfloat16()
    tokens = torch.randint(50, (2, 3))
    assert token_logprobs(logits, tokens).dtype == entropy(logits).dtype == torch.float32
    torch.testing.assert_close(
        token_logprobs(logits, tokens), token_logprobs(logits.float(), tokens), rtol=0, atol=0
    )


def test_shifted_logits_change_nothing_and_large_ones_do_not_overflow() -> None:
    logits, tokens = torch.randn(2, 3, 5, dtype=torch.float64), torch.randint(5, (2, 3))
    far = token_logprobs(logits + 1e4, tokens)
    torch.testing.assert_close(far, token_logprobs(logits, tokens), rtol=0, atol=1e-9)
    assert torch.isfinite(
        token_logprobs(torch.tensor([[[1e30, -1e30]]]), torch.tensor([[0]]))
    ).all()


def test_gradients() -> None:
    """By finite differences; and a token that cannot be drawn gets gradient 0, not NaN."""
    logits = torch.randn(2, 2, 4, dtype=torch.float64, requires_grad=True)
    tokens = torch.tensor([[0, 1], [2, 3]])
    assert torch.autograd.gradcheck(lambda x: token_logprobs(x, tokens), (logits,))
    assert torch.autograd.gradcheck(entropy, (logits,))
    barred = torch.tensor([[[0.0, 1.0, -math.inf]]], requires_grad=True)
    torch.autograd.backward(entropy(barred).sum())
    assert barred.grad is not None
    assert torch.isfinite(barred.grad).all()


@pytest.mark.usefixtures("no_hook")
def test_errors() -> None:
    logits = torch.zeros(2, 3, 5)
    with pytest.raises(ValueError, match=r"tokens has shape \(2, 4\).*\(2, 3, 5\)"):
        token_logprobs(logits, torch.zeros(2, 4, dtype=torch.long))
    with pytest.raises(ValueError, match=r"logits must have 3 dimensions, has shape \(2, 3\)"):
        token_logprobs(logits[..., 0], torch.zeros(2, 3, dtype=torch.long))
    with pytest.raises(ValueError, match="3 dimensions"):
        entropy(logits[0])
