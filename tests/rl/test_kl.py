"""KL estimates and the controllers of the KL coefficient."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.rl import AdaptiveKLController, FixedKLController, KLKind, kl_estimate

from . import reference

KINDS: tuple[KLKind, ...] = ("k1", "k2", "k3")


def test_golden() -> None:
    """d = -1 - (-1.5) = 0.5 and d = -1.5 - (-1) = -0.5.

    k1: 0.5, -0.5. k2: 0.25/2 = 0.125 both.
    k3: e^-0.5 - 1 + 0.5 = 0.606531 - 0.5 = 0.106531; e^0.5 - 1 - 0.5 = 1.648721 - 1.5 = 0.148721.
    """
    logprobs, ref_logprobs = torch.tensor([[-1.0, -1.5]]), torch.tensor([[-1.5, -1.0]])
    golden: dict[KLKind, list[float]] = {
        "k1": [0.5, -0.5],
        "k2": [0.125, 0.125],
        "k3": [0.106531, 0.148721],
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


@pytest.mark.parametrize("kind", KINDS)
def test_gradcheck(kind: KLKind) -> None:
    x = torch.randn(2, 2, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: kl_estimate(x[0], x[1], kind), (x,))


@pytest.mark.usefixtures("no_hook")
def test_errors() -> None:
    x = torch.zeros(2, 3)
    with pytest.raises(ValueError, match=r"\(2, 1\).*\(2, 3\)"):
        kl_estimate(x, x[:, :1])
    with pytest.raises(ValueError, match="'k4'"):
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


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(-1e6, 1e6), max_size=50), st.floats(0.01, 0.9))
def test_adaptive_controller_stays_positive_and_within_its_rate(
    kls: list[float], rate: float
) -> None:
    controller = AdaptiveKLController(coef=0.2, target=6.0, rate=rate)
    for kl in kls:
        before = controller.coef
        after = controller.update(kl)
        assert after > 0
        assert abs(after / before - 1) <= rate * (1 + 1e-9)
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
    ("coef", "target", "rate"),
    [(0.0, 6.0, 0.1), (0.1, 0.0, 0.1), (0.1, 6.0, 1.0), (0.1, 6.0, 0.0), (math.nan, 6.0, 0.1)],
)
def test_controller_errors(coef: float, target: float, rate: float) -> None:
    with pytest.raises(ValueError, match=r"must"):
        AdaptiveKLController(coef=coef, target=target, rate=rate)


def test_controllers_refuse_nonsense() -> None:
    with pytest.raises(ValueError, match="negative"):
        FixedKLController(coef=-0.1)
    with pytest.raises(ValueError, match="NaN"):
        AdaptiveKLController(coef=0.1, target=6.0, rate=0.1).update(math.nan)
