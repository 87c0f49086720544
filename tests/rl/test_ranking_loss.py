"""The K-wise ranking loss."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from bench.rl.preference_losses import bradley_terry_loss, ranking_loss

from . import reference
from .strategies import Batch, batches, random_batch

quick = settings(max_examples=30, deadline=None)
smoothings = st.sampled_from([0.0, 0.1, 0.49])


def test_ranking_golden() -> None:
    """Scores (2, 1, 0) throughout; softplus(-1) = 0.313262, softplus(-2) = 0.126928.

    Ranks (0, 1, 2): pairs with margins 1, 2, 1: (0.313262 + 0.126928 + 0.313262) / 3 = 0.251151.
    Ranks (0, 1, 1): margins 1, 2: (0.313262 + 0.126928) / 2 = 0.220095.
    Ranks (1, 1, 1): no pair, left out. Mean of the first two: 0.235623.
    """
    scores = torch.tensor([[2.0, 1.0, 0.0]]).expand(3, 3)
    ranks = torch.tensor([[0, 1, 2], [0, 1, 1], [1, 1, 1]])
    assert ranking_loss(scores[:1], ranks[:1]).item() == pytest.approx(0.251151, abs=1e-6)
    assert ranking_loss(scores[1:2], ranks[1:2]).item() == pytest.approx(0.220095, abs=1e-6)
    assert ranking_loss(scores, ranks).item() == pytest.approx(0.235623, abs=1e-6)


def test_ranking_smoothing_golden() -> None:
    """Scores (2, 1, 0), ranks (0, 1, 2), e = 0.1: margins 1, 2, 1.

    0.9 * 0.313262 + 0.1 * 1.313262 = 0.413262; 0.9 * 0.126928 + 0.1 * 2.126928 = 0.326928;
    (0.413262 + 0.326928 + 0.413262) / 3 = 0.384484.
    """
    loss = ranking_loss(
        torch.tensor([[2.0, 1.0, 0.0]]), torch.tensor([[0, 1, 2]]), label_smoothing=0.1
    )
    assert loss.item() == pytest.approx(0.384484, abs=1e-6)


@st.composite
def rankings(draw: st.DrawFn) -> tuple[Tensor, Tensor]:
    """Scores and ranks, with ties, at least one pair among them."""
    rows, k = draw(st.integers(1, 4)), draw(st.integers(2, 5))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    ranks = torch.randint(3, (rows, k), generator=generator)
    ranks[0, :2] = torch.tensor([1, 0])
    return torch.randn(rows, k, generator=generator, dtype=torch.float64), ranks


@quick
@given(rankings(), smoothings)
def test_ranking_reference(ranking: tuple[Tensor, Tensor], label_smoothing: float) -> None:
    scores, ranks = ranking
    slow = reference.ranking_loss(scores.tolist(), ranks.tolist(), label_smoothing)
    loss = ranking_loss(scores, ranks, label_smoothing=label_smoothing)
    assert loss.item() == pytest.approx(slow, abs=1e-12)


@quick
@given(rankings(), st.data())
def test_ranking_properties(ranking: tuple[Tensor, Tensor], data: st.DataObject) -> None:
    """Blind to the order of responses, to an offset of scores, and to the spacing of ranks."""
    scores, ranks = ranking
    order = data.draw(st.permutations(range(scores.shape[1])))
    loss = ranking_loss(scores, ranks)
    torch.testing.assert_close(ranking_loss(scores[:, order], ranks[:, order]), loss)
    torch.testing.assert_close(ranking_loss(scores + 3.0, 7 * ranks), loss)


@quick
@given(batches)
def test_ranking_of_two_is_bradley_terry(batch: Batch) -> None:
    chosen, rejected = batch.x[0][:, 0], batch.x[1][:, 0]
    ranks = torch.tensor([[0, 1]]).expand(len(chosen), 2)
    torch.testing.assert_close(
        ranking_loss(torch.stack([chosen, rejected], 1), ranks),
        bradley_terry_loss(chosen, rejected),
    )


def test_gradcheck() -> None:
    scores = random_batch(seed=2, rows=3, length=4).x[0].requires_grad_()
    ranks = torch.tensor([[0, 1, 2, 2], [3, 1, 0, 2], [1, 1, 1, 1]])
    assert torch.autograd.gradcheck(lambda x: ranking_loss(x, ranks), (scores,))
    assert torch.autograd.gradcheck(
        lambda x: ranking_loss(x, ranks, label_smoothing=0.1), (scores,)
    )


@pytest.mark.usefixtures("no_hook")
def test_errors() -> None:
    with pytest.raises(ValueError, match="no ranking of 2 has a pair"):
        ranking_loss(torch.zeros(2, 3), torch.ones(2, 3, dtype=torch.long))
    with pytest.raises(ValueError, match=r"label_smoothing .* is 0\.5"):
        ranking_loss(torch.zeros(1, 2), torch.tensor([[0, 1]]), label_smoothing=0.5)
    with pytest.raises(ValueError, match=r"ranks has shape \(1, 3\).*\(2, 3\)"):
        ranking_loss(torch.zeros(2, 3), torch.zeros(1, 3, dtype=torch.long))
    with pytest.raises(ValueError, match=r"2 dimensions.*\(3,\)"):
        ranking_loss(torch.zeros(3), torch.arange(3))
    with pytest.raises(TypeError, match="float16"):
        ranking_loss(torch.zeros(1, 2).half(), torch.tensor([[0, 1]]))
