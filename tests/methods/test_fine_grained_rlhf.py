"""Several reward models of one run: what each learns, and which is the run's own."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from bench.config.loading import load_config
from bench.errors import UserError
from bench.running.plan import make_plan
from bench.stages.checks import check_plugins
from methods.fine_grained_rlhf import FineGrainedRLHF


def planned(*overrides: str, until: str | None = None) -> Any:
    config = load_config("testbed", ["method=fine_grained_rlhf", *overrides])
    return make_plan(config, until=until)[0]


def test_a_model_for_each_group_of_the_suite_and_one_of_the_whole_response() -> None:
    plan = planned()
    stages = {stage.name: stage for stage in plan.stages}
    learned = {name: stage.config.get("objective") for name, stage in stages.items()}
    relevance = ["duplicate", "rude", "hype", "unparsed"]
    labels = "segment_labels"
    assert learned["reward_model"] == {"name": "comparison", "options": {}}
    assert learned["relevance_model"] == {
        "name": labels, "options": {"kinds": relevance, "hidden_by": []}
    }  # fmt: skip
    assert learned["factuality_model"] == {
        "name": labels, "options": {"kinds": ["wrong_value"], "hidden_by": relevance}
    }  # fmt: skip
    assert stages["relevance_model"].config["segmenter"]["name"] == "subsentences"
    assert stages["factuality_model"].config["segmenter"]["name"] == "sentences"
    keys = {stages[f"{name}_model"].key for name in ("reward", "relevance", "factuality")}
    assert len(keys) == 3
    source = plan.policy.config["source"]
    assert source["options"] == {"weights": [0.3, 1.0, 1.0]}
    assert [part["options"] for part in source["parts"]] == [{}, {"value": 0.3}, {"value": 0.5}]
    (judged,) = [s for s in plan.judgement.inputs if "granularity" in s.config]
    assert judged is not None
    assert judged.name == "reward_model"


def test_each_model_is_measured_and_the_run_may_end_there() -> None:
    names = ["rm_evaluation", "relevance_evaluation", "factuality_evaluation"]
    assert [stage.name for stage in planned(until="reward_model").targets] == names
    assert [stage.name for stage in planned(until="policy").targets] == [*names, "ppo"]


def test_options_of_one_category_leave_the_others_as_they_are() -> None:
    before, plan = planned(), planned("reward.values.relevance=0.1", "reward.completeness=0")
    weights = [part["options"] for part in plan.policy.config["source"]["parts"]]
    assert weights == [{}, {"value": 0.1}, {"value": 0.5}]
    keys, others = ({s.name: s.key for s in one.stages} for one in (before, plan))
    assert {name for name in keys if keys[name] != others[name]} == {"ppo", "outputs", "judgement"}
    other = planned("reward.kinds={manners: [rude]}").policy.config["source"]
    assert [part["options"] for part in other["parts"]] == [{}, {"value": 0.5}]
    cut = planned("reward.segmenters.relevance=ngrams", "reward.segmenter_options.relevance.n=4")
    segmenters = {s.name: s.config.get("segmenter") for s in cut.stages}
    assert segmenters["relevance_model"] == {"name": "ngrams", "options": {"n": 4}}
    assert segmenters["factuality_model"] == {"name": "sentences", "options": {}}
    others = "reward.segmenters.errors=ngrams", "reward.segmenter_options.errors.n=4"
    (own,) = [s for s in planned("reward.kinds={a: [rude]}", *others).stages if s.name == "a_model"]
    assert own.config["segmenter"] == {"name": "ngrams", "options": {"n": 4}}


def test_options_that_a_segmenter_does_not_take_are_found_before_anything_runs() -> None:
    plan = planned(
        "reward.segmenter_options.relevance={cutof: 1}", "reward.segmenters.relevance=entropy"
    )
    with pytest.raises(
        UserError, match=r"relevance_model: the segmenter entropy cannot be made .*cutof"
    ):
        check_plugins(plan.stages)
    check_plugins(planned().stages)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("reward.values.relevence=0.1", "reward.values: .*did you mean 'relevance'"),
        ("reward.hidden_by.manners=[relevance]", "reward.hidden_by: .*'manners'"),
        ("reward.kinds={manners: [rud]}", "reward.kinds.manners: .*did you mean 'rude'"),
        ("reward.segmenters.relevance=sentence", "did you mean 'sentences'"),
        ("reward.kinds={Manners: [rude]}", "lower-case letters, digits and _"),
        ("reward.kinds={reward: [rude]}", "named 'reward': .*; choose another"),
        ("reward.kinds={a: [rude], b: [rude]}", "'rude' is in a and in b"),
        ("reward.hidden_by.factuality=[relevnce]", "did you mean 'relevance'"),
        ("reward.values.errors=2.0", "reward.values: unknown category 'errors'"),
        ("reward.values.relevance=-1", r"reward.values.relevance: .*greater than .* 0 .*-1"),
        ("reward.kinds={manners: []}", "manners has no kinds of errors"),
        ("reward.values=1", "reward.values"),
    ],
)
def test_what_a_user_can_get_wrong_is_one_line(override: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        planned(override)
    assert "\n" not in str(error.value)


def test_values_are_those_of_the_released_code() -> None:
    options = FineGrainedRLHF.Options()
    assert (options.values["relevance"], options.values["factuality"]) == (0.3, 0.5)
    assert options.completeness == 0.3
    with pytest.raises(ValidationError):
        FineGrainedRLHF.Options(completeness=-1.0)
