"""Each method's chain of stages, as it asks for them."""

from __future__ import annotations

from typing import Any

import pytest

from methods.best_of_n import BestOfN
from methods.dpo import DPO
from methods.expert_iteration import ExpertIteration
from methods.figa import FIGA
from methods.fine_grained_ppo import FineGrainedPPO
from methods.gold_ppo import GoldPPO
from methods.ppo_rlhf import PPORLHF
from methods.rrhf import RRHF
from methods.rto import RTO
from methods.segment_ppo import SegmentPPO
from methods.sft import SFT
from methods.tdpo import TDPO
from methods.token_ppo import TokenPPO


class Recorder:
    """Stages that answer a call with the call itself."""

    def __getattr__(self, stage: str) -> Any:
        return lambda *args, **kwargs: (stage, *args, kwargs)


def plan(method: Any) -> Any:
    return method.plan(Recorder())


def test_sft_is_the_sft_stage_alone() -> None:
    options = SFT.Options()
    method = SFT(options)
    assert method.options is options
    assert plan(method) == ("sft", {})


def test_gold_ppo_has_no_reward_model() -> None:
    method = GoldPPO(GoldPPO.Options())
    assert plan(method) == ("ppo", method, None, {})


@pytest.mark.parametrize(
    ("method", "data"),
    [
        (PPORLHF(PPORLHF.Options()), "preferences"),
        (FineGrainedPPO(FineGrainedPPO.Options()), "edits"),
    ],
)
def test_sequence_methods_differ_in_their_data_alone(method: Any, data: str) -> None:
    reward_model = ("reward_model", (data, {}), {"granularity": "sequence"})
    assert plan(method) == ("ppo", method, reward_model, {})


def test_segment_ppo_learns_sentence_scores_from_edits() -> None:
    method = SegmentPPO(SegmentPPO.Options())
    reward_model = ("reward_model", ("edits", {}), {"granularity": "segment"})
    assert plan(method) == ("ppo", method, reward_model, {})


@pytest.mark.parametrize(
    ("loss", "objective"),
    [("eq3", "comparison"), ("eq4", "eq4"), ("divergence", "divergence")],
)
def test_token_ppo_learns_token_scores_from_edits(loss: Any, objective: str) -> None:
    method = TokenPPO(TokenPPO.Options(loss=loss))
    learns = {"granularity": "token", "objective": objective}
    reward_model = ("reward_model", ("edits", {}), learns)
    assert plan(method) == ("ppo", method, reward_model, {})


@pytest.mark.parametrize(
    ("kind", "loss", "learned"),
    [
        (DPO, "dpo", {"beta": 0.1, "label_smoothing": 0.0}),
        (TDPO, "tdpo", {"beta": 0.1, "alpha": 0.5, "variant": 2}),
        (RRHF, "rrhf", {"rank_weight": 1.0, "imitation": "mean"}),
    ],
)
@pytest.mark.parametrize(("data", "stage"), [("pairs", "preferences"), ("edits", "edits")])
def test_a_policy_without_a_rollout_learns_from_pairs_or_edits(
    kind: Any, loss: str, learned: dict[str, Any], data: str, stage: str
) -> None:
    method = kind(kind.Options(data=data))
    assert plan(method) == ("offline", (stage, {}), {"loss": loss, "options": learned})
    assert not hasattr(method, "rewards")


@pytest.mark.parametrize(
    ("by", "data", "granularity"),
    [
        ("pairs", "preferences", "sequence"),
        ("edits", "edits", "sequence"),
        ("token", "edits", "token"),
    ],
)
def test_the_best_of_n_is_chosen_by_another_method_s_reward_model(
    by: Any, data: str, granularity: str
) -> None:
    reward_model = ("reward_model", (data, {}), {"granularity": granularity})
    best = ("best_of", 5, reward_model, {})
    assert plan(BestOfN(BestOfN.Options(by=by, n=5))) == best
    iterated = plan(ExpertIteration(ExpertIteration.Options(by=by, n=5)))
    assert iterated == ("imitation", ("best_responses", best, {}), {})


def test_figa_learns_from_edits_alone() -> None:
    method = FIGA(FIGA.Options(unlearn=0.2))
    learned = {"learn": 1.0, "unlearn": 0.2, "threshold": 0.6}
    assert plan(method) == ("offline", ("edits", {}), {"loss": "figa", "options": learned})


def test_rto_is_paid_by_dpos_policy_and_by_the_reward_model_of_the_same_pairs() -> None:
    method = RTO(RTO.Options())
    pairs = ("preferences", {})
    learned = {"beta": 0.1, "label_smoothing": 0.0}
    teacher = ("offline", pairs, {"loss": "dpo", "options": learned})
    ratio = ("source", "log_ratio", teacher, {"beta": 0.05, "clip": 0.05})
    reward_model = ("reward_model", pairs, {"granularity": "sequence"})
    score = ("source", "reward_model", reward_model, {})
    assert plan(method) == ("ppo", method, ("source", "sum", ratio, score, {}), {})


@pytest.mark.parametrize("kind", [SFT, GoldPPO, PPORLHF, FineGrainedPPO, SegmentPPO, TokenPPO])
def test_methods_keep_their_options(kind: Any) -> None:
    options = kind.Options()
    assert kind(options).options is options
