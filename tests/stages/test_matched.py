"""The checkpoint at matched KL: which step is kept, and that an interruption changes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from bench.models.names import POLICY
from bench.stages.matched import MATCHED, MatchedCheckpoint
from tests.tiny import LORA, stir, tiny_backbone

Rows = list[dict[str, float]]

# The KL is of the policy before the step, which the last row left.
DRAWN: Rows = [{"step": 0}, {"step": 1, "kl": 0.5}, {"step": 2, "kl": 2.1}, {"step": 3, "kl": 1.9}]
# Of an algorithm that draws nothing only validations know the KL, and that of the policy as it is.
OFFLINE: Rows = [
    {"step": 0, "validation_kl": 0.0},
    {"step": 1},
    {"step": 2, "validation_kl": 1.0},
    {"step": 3, "validation_kl": 2.0},
]


def kept(out: Path, rows: Rows, kl: float, step: int | None = None) -> tuple[int | None, bool]:
    """The step that is kept of a policy that moves before every row, and if its weights are.

    Training goes on with the policy's own weights.
    """
    backbone = tiny_backbone()
    backbone.add_adapter(POLICY, LORA)
    keeper = MatchedCheckpoint(backbone, kl, 3, out, step)
    weights = {}
    for row in rows:
        stir(backbone, POLICY, seed=int(row["step"]))
        weights[row["step"]] = [p.detach().clone() for p in backbone.parameters(POLICY)]
        keeper.look(row)
        present = zip(backbone.parameters(POLICY), weights[row["step"]], strict=True)
        assert all(torch.equal(a, b) for a, b in present)
    backbone.drop_adapter(POLICY)
    if not keeper.folder.exists():
        return keeper.step, False
    backbone.add_adapter(POLICY, folder=out / MATCHED)
    read = backbone.parameters(POLICY)
    own = weights[keeper.step if keeper.step in weights else rows[-1]["step"]]
    return keeper.step, all(torch.equal(a, b) for a, b in zip(read, own, strict=True))


@pytest.mark.parametrize(
    ("rows", "kl", "step"), [(DRAWN, 2.0, 1), (DRAWN, 9.0, 3), (OFFLINE, 0.9, 2), (OFFLINE, 2, 3)]
)
def test_the_first_to_reach_it_is_kept_or_else_the_last(
    tmp_path: Path, rows: Rows, kl: float, step: int
) -> None:
    assert kept(tmp_path, rows, kl) == (step, True)


def test_what_was_kept_before_an_interruption_stays(tmp_path: Path) -> None:
    assert kept(tmp_path, DRAWN[2:], 2.0, step=1) == (1, False)


def test_what_an_attempt_kept_that_was_cut_off_is_replaced(tmp_path: Path) -> None:
    kept(tmp_path, DRAWN[:2], 0.4)
    assert kept(tmp_path, DRAWN, 2.0) == (1, True)
