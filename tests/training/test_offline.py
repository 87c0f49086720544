"""A policy from given responses: each loss learns a planted preference, whatever the batch."""

from __future__ import annotations

import math
from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor

from bench.config.run import OfflineConfig
from bench.data import Demonstration, Preference, Ranking
from bench.errors import Diverged, UserError
from bench.models.backbone import Backbone
from bench.models.names import POLICY
from bench.models.sequences import microbatches
from bench.plugins.protocols import OfflineLoss, TrainingInputs
from bench.rl import masked_sum
from bench.training.comparisons import Group, joined, tokenise
from bench.training.offline import Offline, make_offline
from bench.training.offline_losses import DPO, FIGA, RRHF, TDPO, Imitation
from tests.tiny import LORA, stir, tiny_backbone
from tests.training.test_reward_model import planted_pairs, ranked

LOSSES: dict[str, OfflineLoss] = {
    "dpo": DPO(0.1),
    "dpo smoothed": DPO(0.5, 0.1),
    "tdpo 1": TDPO(0.1, 0.5, 1),
    "tdpo 2": TDPO(0.1, 0.5),
    "rrhf": RRHF(1.0, "mean"),
    "rrhf sum": RRHF(2.0, "sum"),
    "figa": FIGA(1.0, 0.5, 0.6),
    "imitation": Imitation(),
}
CONFIG = OfflineConfig(batch_size=8, lr=5e-3, eval_every=3)


def groups_of(backbone: Backbone, rows: Any) -> list[Group]:
    return tokenise(backbone.tokens, rows, 128)[0]


def trainer(loss: OfflineLoss, rows: Any, config: OfflineConfig = CONFIG) -> Offline:
    backbone = tiny_backbone()
    return Offline(backbone, groups_of(backbone, rows), loss, config, LORA, seed=0)


def likelihoods(backbone: Backbone, groups: list[Group]) -> Tensor:
    """(B, K) log-ratios of the policy to the reference."""
    with torch.no_grad():
        batch = joined(backbone.tokens, groups)
        ratio = backbone.logprobs(batch, POLICY) - backbone.logprobs(batch, None)
        return masked_sum(ratio, batch.mask, dim=1).view(-1, len(groups)).T


@pytest.mark.parametrize("name", LOSSES)
def test_a_planted_preference_is_learned(name: str) -> None:
    """On other pairs the policy raises what was preferred above what was not, nine times in ten."""
    config = CONFIG.model_copy(update={"epochs": 2, "batch_size": 16})
    made = trainer(LOSSES[name], planted_pairs(240, 0), config)
    rows: list[dict[str, float]] = []
    made.run(dict, rows.append)
    chosen, rejected = likelihoods(made.backbone, groups_of(made.backbone, planted_pairs(100, 1))).T
    assert (chosen > rejected).float().mean() > 0.9
    assert [row["step"] for row in rows] == list(range(31))
    assert rows[-1]["loss"] < rows[1]["loss"]
    assert rows[-1]["tokens"] == made.tokens > 0


def test_the_policy_begins_as_the_reference() -> None:
    """To the bit, in the same batch: DPO's first loss is log 2, no pair is in order."""
    row = trainer(DPO(0.1), planted_pairs(8, 0)).step(trainer(DPO(0.1), planted_pairs(8, 0)).groups)
    assert row["loss"] == pytest.approx(math.log(2), abs=1e-7)
    assert row["accuracy"] == 0.0


def test_tdpo_without_alpha_trains_as_dpo() -> None:
    weights = []
    for loss in (DPO(0.1), TDPO(0.1, 0.0)):
        made = trainer(loss, planted_pairs(24, 0))
        made.run(dict, lambda row: None)
        weights.append(torch.cat([p.detach().flatten() for p in made.parameters]))
    torch.testing.assert_close(*weights, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("rows", [planted_pairs(7, 3), ranked(7)], ids=["pairs", "rankings"])
@pytest.mark.parametrize("name", LOSSES)
def test_micro_batches_gradients_and_numbers_are_the_whole_batch_s(name: str, rows: Any) -> None:
    """Seven groups of unlike lengths, as 7 and as 3 + 3 + 1; rankings with ties and without."""
    loss = LOSSES[name]
    if isinstance(rows[0], Ranking) and not loss.ranks:
        return
    made = trainer(loss, rows)
    stir(made.backbone, POLICY)
    found = []
    for size in (None, 3):
        measure = made._measure(made.groups)
        parts = microbatches([group.length for group in made.groups], size)
        measured = [measure(part) for part in parts]
        total = torch.stack([part for part, _ in measured]).sum()
        gradient = torch.cat([g.flatten() for g in torch.autograd.grad(total, made.parameters)])
        sums = {key: sum(float(part[key]) for _, part in measured) for key in measured[0][1]}
        found.append((gradient, sums))
    (whole, numbers), (parts_, others) = found
    assert whole.norm() > 0
    assert (parts_ - whole).norm() <= 1e-4 * whole.norm()
    assert others == pytest.approx(numbers, rel=1e-4)


def test_single_responses_are_imitated_token_by_token() -> None:
    """The mean over the tokens of all responses, and so not over responses; nothing is in order."""
    pairs = planted_pairs(8, 0)
    rows = [Demonstration(prompt=pair.prompt, response=pair.chosen) for pair in pairs]
    made = trainer(Imitation(), rows)
    groups = made.groups
    assert [len(group.responses) for group in groups] == [1] * 8
    with torch.no_grad():
        compared = made.compare(groups)
    sums = [float(compared.logprobs[i].sum()) for i in range(8)]
    row = made.step(groups)
    assert row["loss"] == pytest.approx(-sum(sums) / int(compared.mask.sum()), rel=1e-5)
    assert {"accuracy", "worst_logprob"}.isdisjoint(row)
    assert made.step(groups)["loss"] < row["loss"]
    pair = trainer(Imitation(), pairs)  # of a pair the better one counts, and no other
    assert pair.step(pair.groups)["loss"] == pytest.approx(row["loss"], rel=1e-5)


def test_the_divergence_is_that_of_the_whole_distributions() -> None:
    backbone = tiny_backbone()
    backbone.add_adapter(POLICY, LORA)
    stir(backbone, POLICY)
    batch = joined(backbone.tokens, groups_of(backbone, planted_pairs(5, 0)))
    own, reference, kl = backbone.logprobs_and_kl(batch, POLICY)
    torch.testing.assert_close(own, backbone.logprobs(batch, POLICY), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(reference, backbone.logprobs(batch, None), rtol=1e-4, atol=1e-5)
    p, q = (backbone.logits(batch, name).double().log_softmax(-1) for name in (None, POLICY))
    slow = (p.exp() * (p - q)).sum(-1).masked_fill(~batch.mask, 0.0)
    torch.testing.assert_close(kl.double(), slow, rtol=1e-3, atol=1e-5)
    assert (slow[batch.mask] > 1e-3).any()
    assert not reference.requires_grad
    assert own.requires_grad
    assert kl.requires_grad


def test_it_changes_with_the_logits_at_once_by_rounding_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The head at one token at a time, computed again in the backward: the same gradient."""
    found = []
    for at_once in (2**25, 1):
        monkeypatch.setattr("bench.models.fast.logits.LOGITS_AT_ONCE", at_once)
        made = trainer(TDPO(0.1, 0.5), planted_pairs(4, 0))
        stir(made.backbone, POLICY)
        loss = made.loss.loss(made.compare(made.groups))
        found.append(torch.cat([g.flatten() for g in torch.autograd.grad(loss, made.parameters)]))
    assert (found[0] - found[1]).norm() <= 1e-4 * found[0].norm()


def test_the_best_checkpoint_is_kept_and_without_a_score_the_last() -> None:
    made = trainer(DPO(0.1), planted_pairs(80, 0))  # ten steps; looked at after 0, 3, 6, 9 and 10
    scores = iter([0.0, 1.0, 5.0, 2.0, 3.0])
    kept: list[Tensor] = []

    def validate() -> dict[str, float]:
        kept.append(made.parameters[0].detach().clone())
        return {"score": next(scores), "length": 7.0}

    rows: list[dict[str, float]] = []
    best = made.run(validate, rows.append)
    assert (best.step, best.score) == (6, 5.0)
    assert torch.equal(made.parameters[0], kept[2])
    assert [row["step"] for row in rows if "validation_score" in row] == [0, 3, 6, 9, 10]
    assert rows[6]["validation_length"] == 7.0

    last = trainer(DPO(0.1), planted_pairs(80, 0))
    assert last.run(dict, lambda row: None).step == 10


@pytest.mark.parametrize("name", ["dpo", "tdpo 2", "figa"])
@pytest.mark.parametrize("at", [1, 3])
def test_it_goes_on_from_a_checkpoint_to_the_bit(name: str, at: int) -> None:
    """Two passes of three batches; from within the first pass, and from its end."""
    config = CONFIG.model_copy(update={"epochs": 2, "eval_every": at})
    states: list[dict[str, Any]] = []
    rows: list[dict[str, float]] = []
    whole = trainer(LOSSES[name], planted_pairs(24, 0), config)
    whole.run(dict, rows.append, lambda state: states.append(deepcopy(state)))

    again = trainer(LOSSES[name], planted_pairs(24, 0), config)
    again.restore(states[0])
    later: list[dict[str, float]] = []
    again.run(dict, later.append)
    assert later == rows[at + 1 :]
    assert again.tokens == whole.tokens
    assert all(map(torch.equal, whole.parameters, again.parameters))


def test_the_reference_is_left_alone() -> None:
    backbone = tiny_backbone()
    groups = groups_of(backbone, planted_pairs(16, 0))
    before = backbone.logprobs(joined(backbone.tokens, groups), None)
    Offline(backbone, groups, FIGA(1.0, 0.5, 0.6), CONFIG, LORA, 0).run(dict, lambda row: None)
    assert torch.equal(backbone.logprobs(joined(backbone.tokens, groups), None), before)


def test_rankings_are_brought_into_order() -> None:
    config = CONFIG.model_copy(update={"epochs": 6})
    made = trainer(RRHF(1.0, "mean"), ranked(24), config)
    rows: list[dict[str, float]] = []
    made.run(dict, rows.append)
    assert sum(row["accuracy"] for row in rows[-3:]) / 3 > 0.8
    assert sum(row["accuracy"] for row in rows[1:4]) / 3 < 0.7


def test_what_cannot_be_learned_from_is_one_line() -> None:
    with pytest.raises(UserError, match=r"DPO compares pairs: set preferences\.responses=2"):
        trainer(DPO(0.1), ranked(4))
    same = [Preference(prompt="Go.", chosen="red", rejected="red")]
    with pytest.raises(UserError, match="nothing to train the policy with FIGA on"):
        trainer(LOSSES["figa"], same)
    backbone = tiny_backbone()
    with pytest.raises(ValueError, match="planned with a loss"):
        make_offline(TrainingInputs(backbone, CONFIG, LORA, 0))


def test_a_loss_that_is_not_finite_ends_the_run() -> None:
    made = trainer(DPO(0.1), planted_pairs(8, 0))
    with torch.no_grad():
        made.parameters[0].fill_(math.nan)
    with pytest.raises(Diverged, match="the policy's loss is nan"):
        made.run(dict, lambda row: None)
