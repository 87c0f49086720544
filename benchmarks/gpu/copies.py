"""The peers' arrangement, a base each for policy, reference, reward and value, beside ours."""

from __future__ import annotations

from collections.abc import Iterator

from bench.doctor import budget
from bench.doctor.machine import of_base
from benchmarks.gpu.machine import GIB, watch
from benchmarks.gpu.memory import NO_PEAK, counted, warm
from benchmarks.gpu.sections import Row
from benchmarks.gpu.setting import Setting

MODELS = 4
ROOM = 0.95  # of the memory that is there: what is nearly full is not tried


def copies(setting: Setting) -> Iterator[Row]:
    """By count, and by measurement where it fits."""
    base, shared = setting.weights.base_bytes, counted(setting).total
    more = (MODELS - 1) * base
    numbers = {"shared": shared, "separate": shared + more}
    yield Row("one shared base, by count", f"{shared / GIB:.3g} GiB", numbers=numbers)
    yield Row(f"{MODELS} bases, by count", f"{(shared + more) / GIB:.3g} GiB", numbers=numbers)
    why = NO_PEAK
    if setting.device.type == "cuda":
        there = budget.memory_there(setting.device)
        why = f"{(shared + more) / GIB:.3g} GiB do not fit {there / GIB:.3g} GiB"
        if shared + more <= ROOM * there:
            yield _measured(setting)
            return
    yield Row(f"{MODELS} bases, by measurement", status="not measured", why=why)


def _measured(setting: Setting) -> Row:
    """Peak of the rollout with three more bases in memory, beside the same with one."""
    ppo = setting.ppo()
    warm(ppo)
    _, alone = watch(setting.device, ppo.rollout)
    named = list(setting.backbone.model.named_parameters())
    others = [[w.clone() for name, w in named if of_base(name)] for _ in range(MODELS - 1)]
    _, together = watch(setting.device, ppo.rollout)
    del others
    assert alone.peak is not None
    assert together.peak is not None
    return Row(
        f"{MODELS} bases, by measurement, in the rollout",
        f"{together.peak / GIB:.3g} GiB, {alone.peak / GIB:.3g} GiB with one",
        numbers={"separate": together.peak, "shared": alone.peak},
    )
