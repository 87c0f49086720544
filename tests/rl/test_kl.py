"""KL estimates and the controllers of the KL coefficient."""

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.rl import (
    AdaptiveKLController,
    FixedKLController,
    KLKind,
    best_of_n_kl_bound,
    kl_estimate,
    masked_mean,
)

from . import reference

KINDS: tuple[KLKind, ...] = ("k1", "k2", "k3", "k1_clamped")


def test_golden() -> None:
    """d = -1 - (-1.5) = 0.5 and d = -1.5 - (-1) = -0.5.

    k1: 0.5, -0.5; clamped: 0.5, 0. k2: 0.25/2 = 0.125 both.
    k3: e^-0.5 - 1 + 0.5 = 0.606531 - 0.5 = 0.106531; e^0.5 - 1 - 0.5 = 1.648721 - 1.5 = 0.148721.
    """
    logprobs, ref_logprobs = torch.tensor([[-1.0, -1.5]]), torch.tensor([[-1.5, -1.0]])
    golden: dict[KLKind, list[float]] = {
        "k1": [0.5, -0.5],
        "k2": [0.125, 0.125],
        "k3": [0.106531, 0.148721],
        "k1_clamped": [0.5, 0.0],
    }
    for kind, expected in golden.items():
        out = kl_estimate(logprobs, ref_logprobs, kind)
        torch.testing.assert_close(out, torch.tensor([expected]), rtol=0, atol=1e-6)
    assert torch.equal(kl_estimate(logprobs, ref_logprobs), torch.tensor([[0.5, -0.5]]))


@pytest.mark.parametrize("kind", KINDS)
def test_reference(kind: KLKind) -> None:
    torch.manual_seed(0)
    logprobs, ref_logprobs = -3 * torch.rand(2, 4, 6, dtype=torch.float64)
    out = kl_estimate(logprobs, ref_logprobs, kind)
    for b in range(4):
        for t in range(6):
            slow = reference.kl_estimate(logprobs[b, t].item(), ref_logprobs[b, t].item(), kind)
            assert out[b, t].item() == pytest.approx(slow, abs=1e-12)


@pytest.mark.parametrize("kind", ["k1", "k3"])
def test_unbiased_kinds_average_to_the_kl(kind: KLKind) -> None:
    """The expectation under pi, summed over the whole vocabulary, is the exact KL."""
    policy = torch.log_softmax(torch.tensor([[0.3, -1.0, 2.0]], dtype=torch.float64), -1)
    ref = torch.log_softmax(torch.tensor([[1.0, 0.0, 0.5]], dtype=torch.float64), -1)
    exact = (policy.exp() * (policy - ref)).sum()
    torch.testing.assert_close((policy.exp() * kl_estimate(policy, ref, kind)).sum(), exact)


def test_k3_keeps_its_digits_near_zero() -> None:
    """d = 1e-4: k3 = d^2/2 = 5e-9, which exp(-d) - 1 + d in float32 would lose altogether."""
    out = kl_estimate(torch.tensor([[-1.0]]), torch.tensor([[-1.0]]), "k3")
    assert out.item() == 0.0
    out = kl_estimate(torch.tensor([[1e-4]]), torch.tensor([[0.0]]), "k3")
    assert out.item() == pytest.approx(5e-9, rel=2e-3)


def test_expected_gradients_as_losses() -> None:
    """Tokens drawn from pi and held: k1 has no gradient on average, k2 KL's, k3 the reverse KL's.

    The expectation runs over the whole vocabulary; the weights pi(a) carry no gradient.
    """
    logits = torch.tensor([[0.3, -1.0, 2.0]], dtype=torch.float64, requires_grad=True)
    ref = torch.log_softmax(torch.tensor([[1.0, 0.0, 0.5]], dtype=torch.float64), -1)
    policy = torch.log_softmax(logits, -1)
    divergences: dict[KLKind, torch.Tensor] = {
        "k1": 0.0 * policy.sum(),
        "k2": (policy.exp() * (policy - ref)).sum(),
        "k3": (ref.exp() * (ref - policy)).sum(),
    }
    for kind, divergence in divergences.items():
        loss = (policy.exp().detach() * kl_estimate(policy, ref, kind)).sum()
        (gradient,) = torch.autograd.grad(loss, logits, retain_graph=True)
        (exact,) = torch.autograd.grad(divergence, logits, retain_graph=True)
        torch.testing.assert_close(gradient, exact, rtol=1e-9, atol=1e-12)


def test_signs_and_order() -> None:
    """k2, k3 and the clamped k1 are never negative; the clamped one is never below k1."""
    torch.manual_seed(1)
    x, y = torch.randn(2, 5, 7, dtype=torch.float64)
    k1 = kl_estimate(x, y, "k1")
    for kind in ("k2", "k3", "k1_clamped"):
        assert (kl_estimate(x, y, kind) >= 0).all()
        assert (kl_estimate(x, x, kind) == 0).all()
    assert torch.equal(kl_estimate(y, x, "k1"), -k1)
    assert torch.equal(kl_estimate(x, y, "k1_clamped") - kl_estimate(y, x, "k1_clamped"), k1)


@pytest.mark.parametrize("kind", KINDS)
def test_gradcheck(kind: KLKind) -> None:
    torch.manual_seed(2)
    x = torch.randn(2, 2, 3, dtype=torch.float64, requires_grad=True)
    mask = torch.tensor([[True, True, False], [True, False, True]])
    assert torch.autograd.gradcheck(lambda x: kl_estimate(x[0], x[1], kind), (x,))
    assert torch.autograd.gradcheck(
        lambda x: masked_mean(kl_estimate(x[0], x[1], kind), mask), (x,)
    )


@pytest.mark.usefixtures("no_hook")
def test_errors() -> None:
    x = torch.zeros(2, 3)
    with pytest.raises(ValueError, match=r"\(2, 1\).*\(2, 3\)"):
        kl_estimate(x, x[:, :1])
    with pytest.raises(ValueError, match="k1, k2, k3 or k1_clamped, is 'k4'"):
        kl_estimate(x, x, "k4")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="float16"):
        kl_estimate(x.half(), x.half())


@pytest.mark.parametrize(
    ("kl", "expected"), [(9.0, 0.105), (6.0, 0.1), (3.0, 0.095), (60.0, 0.11), (-60.0, 0.09)]
)
def test_adaptive_controller_golden(kl: float, expected: float) -> None:
    """Target 6, rate 0.1, coef 0.1.

    kl 9: e = 9/6 - 1 = 0.5, coef 0.1 * 1.05. kl 3: e = -0.5, coef 0.1 * 0.95.
    kl 60 and -60: e clipped to 1 and -1, coef 0.1 * 1.1 and 0.1 * 0.9.
    """
    controller = AdaptiveKLController(coef=0.1, target=6.0, rate=0.1)
    assert controller.update(kl) == pytest.approx(expected)
    assert controller.coef == pytest.approx(expected)


def test_adaptive_controller_falls_at_its_own_rate_golden() -> None:
    """Rate 0.1, fall 0.02: kl 9, e = 0.5: 0.1 * 1.05; kl 3, e = -0.5: 0.105 * (1 - 0.01)."""
    controller = AdaptiveKLController(coef=0.1, target=6.0, rate=0.1, fall=0.02)
    assert controller.update(9.0) == pytest.approx(0.105)
    assert controller.update(3.0) == pytest.approx(0.10395)
    still = AdaptiveKLController(coef=0.1, target=6.0, rate=0.1, fall=0.0)
    assert still.update(3.0) == 0.1


def test_adaptive_controller_of_lm_human_preferences_golden() -> None:
    """Its update is ``value *= 1 + clip(current / target - 1, -.2, .2) * n_steps / horizon``.

    n_steps 64 (the batch), horizon 10000: rate 0.0064. Target 6, value 0.15.
    kl 60: e = 9, clipped to 0.2: 0.15 * (1 + 0.00128) = 0.150192.
    kl 6.6: e = 0.1: 0.150192 * 1.00064 = 0.15028812288.
    kl 0: e = -1, clipped to -0.2: 0.15028812288 * 0.99872 = 0.150095754...
    """
    controller = AdaptiveKLController(coef=0.15, target=6.0, rate=64 / 10000, error_clip=0.2)
    assert controller.update(60.0) == pytest.approx(0.150192, rel=1e-12)
    assert controller.update(6.6) == pytest.approx(0.15028812288, rel=1e-12)
    assert controller.update(0.0) == pytest.approx(0.15028812288 * 0.99872, rel=1e-12)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.floats(-1e6, 1e6), max_size=50),
    st.floats(0.01, 0.9),
    st.sampled_from([0.05, 0.2, 1.0]),
)
def test_adaptive_controller_stays_positive_and_within_its_rate(
    kls: list[float], rate: float, error_clip: float
) -> None:
    controller = AdaptiveKLController(coef=0.2, target=6.0, rate=rate, error_clip=error_clip)
    for kl in kls:
        before = controller.coef
        after = controller.update(kl)
        assert after > 0
        assert abs(after / before - 1) <= rate * error_clip * (1 + 1e-9)
        assert (after > before) == (kl / 6.0 - 1 > 0) or math.isclose(after, before)


def test_adaptive_controller_finds_the_target() -> None:
    """On a toy plant, kl = 3 / coef, the coefficient settles where kl is 6: at 0.5."""
    controller = AdaptiveKLController(coef=0.01, target=6.0, rate=0.2)
    for _ in range(200):
        controller.update(3.0 / controller.coef)
    assert controller.coef == pytest.approx(0.5, rel=1e-6)


def test_fixed_controller() -> None:
    """Golden: 0.05 stays 0.05 at any KL."""
    controller = FixedKLController(coef=0.05)
    assert controller.update(100.0) == controller.update(-1.0) == controller.coef == 0.05


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("coef", 0.0),
        ("coef", math.nan),
        ("target", 0.0),
        ("rate", 0.0),
        ("rate", 1.0),
        ("fall", -0.1),
        ("fall", 1.0),
        ("error_clip", 0.0),
        ("error_clip", 1.1),
        ("error_clip", math.nan),
    ],
)
def test_controller_errors(field: str, value: float) -> None:
    """The message begins with the field and ends with what it was given."""
    valid = {"coef": 0.1, "target": 0.5, "rate": 0.1}
    AdaptiveKLController(**valid)
    with pytest.raises(ValueError, match=rf"^{field} must .*, is {value}$"):
        AdaptiveKLController(**valid | {field: value})


def test_controllers_refuse_nonsense() -> None:
    with pytest.raises(ValueError, match="negative"):
        FixedKLController(coef=-0.1)
    with pytest.raises(ValueError, match=r"^kl_per_sequence is NaN: the policy has diverged$"):
        AdaptiveKLController(coef=0.1, target=6.0, rate=0.1).update(math.nan)


def test_the_bound_of_the_best_of_n_golden() -> None:
    """n = 1: 0. n = 2: .693147 - 1/2. n = 16: 2.772589 - 15/16."""
    assert best_of_n_kl_bound(1) == 0.0
    assert best_of_n_kl_bound(2) == pytest.approx(0.193147, abs=1e-6)
    assert best_of_n_kl_bound(16) == pytest.approx(1.835089, abs=1e-6)
    with pytest.raises(ValueError, match="n must be 1 at least, is 0"):
        best_of_n_kl_bound(0)


@settings(max_examples=50, deadline=None)
@given(
    weights=st.lists(st.floats(0.01, 1.0), min_size=2, max_size=6),
    n=st.integers(1, 8),
)
def test_no_best_of_n_is_farther_than_its_bound(weights: list[float], n: int) -> None:
    """Responses in the order of their scores: the best of n is at most k with F(k)^n."""
    p = [weight / sum(weights) for weight in weights]
    below = [sum(p[:k]) for k in range(len(p) + 1)]
    best = [high**n - low**n for low, high in pairwise(below)]
    kl = sum(q * math.log(q / own) for q, own in zip(best, p, strict=True) if q > 0)
    assert kl <= best_of_n_kl_bound(n) + 1e-9


def test_among_many_responses_the_bound_is_the_kl() -> None:
    n, many = 4, 100_000
    best = [(k / many) ** n - ((k - 1) / many) ** n for k in range(1, many + 1)]
    kl = sum(q * math.log(q * many) for q in best)
    assert kl == pytest.approx(best_of_n_kl_bound(n), abs=1e-3)
