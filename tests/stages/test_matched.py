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


def kept(out: Path, rows: Rows, kl: float, stop: int = 99) -> tuple[int | None, bool]:
    """The step that is kept of a policy that moves before every row, and if its weights are.

    Training goes on with the policy's own weights; behind row `stop` in another process.
    """
    backbone = tiny_backbone()
    backbone.add_adapter(POLICY, LORA)
    keeper = MatchedCheckpoint(backbone, kl, 3)
    weights = {}
    for row in rows:
        stir(backbone, POLICY, seed=int(row["step"]))
        weights[row["step"]] = [p.detach().clone() for p in backbone.parameters(POLICY)]
        keeper.look(row)
        if row["step"] == stop:
            keeper = MatchedCheckpoint(backbone, kl, 3, keeper.state())
        present = zip(backbone.parameters(POLICY), weights[row["step"]], strict=True)
        assert all(torch.equal(a, b) for a, b in present)
    keeper.save(out)
    backbone.drop_adapter(POLICY)
    backbone.add_adapter(POLICY, folder=out / MATCHED)
    assert keeper.step is not None
    read = zip(backbone.parameters(POLICY), weights[keeper.step], strict=True)
    return keeper.step, all(torch.equal(a, b) for a, b in read)


@pytest.mark.parametrize(
    ("rows", "kl", "step"), [(DRAWN, 2.0, 1), (DRAWN, 9.0, 3), (OFFLINE, 0.9, 2), (OFFLINE, 2, 3)]
)
@pytest.mark.parametrize("stop", [0, 1, 2, 3, 99])
def test_the_first_to_reach_it_is_kept_or_else_the_last(
    tmp_path: Path, rows: Rows, kl: float, step: int, stop: int
) -> None:
    assert kept(tmp_path, rows, kl, stop) == (step, True)
