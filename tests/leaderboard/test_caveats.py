import pytest

from bench.records.files import Code, EditorRecord, Hardware, JudgeRecord, RanOn, StageRecord
from leaderboard.analysis.aggregate import tables
from leaderboard.views.render import leaderboard


def warnings(results) -> tuple[str, ...]:
    return tables(results)[0][0].warnings


def test_equal_seeds_need_no_warning(results):
    assert warnings(results) == ()


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (
            {"code": Code(commit="b" * 40)},
            "seeds of different code: commit aaaaaaaa (seed 0, 1); commit bbbbbbbb (seed 2).",
        ),
        (
            {"code": Code(commit="a" * 40, dirty=True, diff_sha="dd")},
            "seeds of different code: local changes none (seed 0, 1); local changes dd (seed 2).",
        ),
        (
            {"packages": {"torch": "2", "numpy": "1"}},
            "seeds with different packages: torch 1 (seed 0, 1); torch 2 (seed 2).",
        ),
        (
            {"hardware": Hardware(gpu="a GPU", memory_gib=8)},
            "seeds on different machines: gpu none (seed 0, 1); gpu a GPU (seed 2).",
        ),
    ],
)
def test_seeds_that_ran_otherwise_are_named(make_run, tmp_path, fields, said):
    same = {
        "code": Code(commit="a" * 40),
        "packages": {"torch": "1", "numpy": "1"},
        "hardware": Hardware(memory_gib=4),
    }
    for label in ("sft", "ppo_rlhf"):
        for seed in range(3):
            make_run(label, seed, **(same | (fields if seed == 2 else {})))
    results = tmp_path / "results"
    assert warnings(results) == (f"ppo_rlhf, sft: {said}",)
    assert f"**Warning:** ppo_rlhf, sft: {said}" in leaderboard(results, fmt="md")[0]


OWN = {"device": "a CPU", "threads": 1, "packed": True}


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"packed": False}, "batches packed (seed 0, 1); batches packed + padded (seed 2)."),
        (
            {"device": "b CPU", "threads": 2},
            "device the run's own, threads the run's own (seed 0, 1); device b CPU, threads 2 (",
        ),
        ({"device": "b CPU", "packed": None}, "device the run's own (seed 0, 1); device b CPU"),
        ({"packed": None}, None),  # a stage without a model says nothing of packing
    ],
)
def test_stages_that_were_computed_otherwise_are_named(make_run, tmp_path, other, said):
    """Seed 2 found one of its stages in the store, where another machine had put it."""
    for seed in range(3):
        places = OWN, OWN | (other if seed == 2 else {})
        stages = [
            StageRecord(name=str(i), key="k", seconds=1, cached=False, ran_on=RanOn(**place))
            for i, place in enumerate(places)
        ]
        make_run("sft", seed, stages=stages)
    found = warnings(tmp_path / "results")
    if said is None:
        assert found == ()
        return
    (line,) = found
    assert line.startswith(f"sft: seeds whose stages were computed otherwise: {said}")


def test_a_machine_of_its_own_for_each_seed_is_said_once(make_run, tmp_path):
    """And a record that is too old to say what its stages ran on is not held against the others."""
    for seed, name in enumerate(("a CPU", "b CPU", "b CPU")):
        place = RanOn(device=name, threads=1)
        stage = StageRecord(name="sft", key="k", seconds=1, cached=False, ran_on=place)
        if seed == 2:
            stage = stage.model_copy(update={"ran_on": None})
        make_run("sft", seed, hardware=Hardware(cpu=name, threads=1), stages=[stage])
    (line,) = warnings(tmp_path / "results")
    assert line.startswith("sft: seeds on different machines: cpu a CPU (seed 0); cpu b CPU")


def test_a_run_that_is_not_in_the_numbers_does_not_warn(make_run, tmp_path):
    make_run("sft", 0)
    make_run("sft", 1, status="failed", code=Code(commit="b" * 40))
    assert warnings(tmp_path / "results") == ()


def test_many_packages_are_counted(make_run, tmp_path):
    for seed in range(2):
        make_run("sft", seed, packages={name: str(seed) for name in "abcdef"})
    assert warnings(tmp_path / "results")[0].endswith("d 1 (seed 1) and 2 more.")


def test_a_judge_of_the_editors_family_is_named(make_run, tmp_path):
    judge = JudgeRecord(name="claude", model="claude-sonnet-5-5")
    make_run("sft", 0, judge=judge)
    for label, source in (("a", "claude:claude-haiku-5-5:ab12"), ("b", "openai_chat:qwen3:ab12")):
        make_run(label, 0, judge=judge, editor=EditorRecord(name="x", source=source))
    (said,) = warnings(tmp_path / "results")
    assert said.startswith(
        "a: the judge (claude-sonnet-5-5) and the editor of the data (claude:claude-haiku-5-5:ab12)"
        " are both of the claude family"
    )


def test_what_a_judge_says_against_its_verdicts_is_named(make_run, tmp_path):
    texts = {0: "one", 1: "two", 2: "one"}
    for seed, text in texts.items():
        marks = [{"what": "flip_rate", "level": "invalid", "text": text}]
        make_run("sft", seed, judge=JudgeRecord(name="claude", details={"marks": marks}))
    assert warnings(tmp_path / "results") == (
        "sft: the judge (claude), NOT VALID: one (seed 0, 2).",
        "sft: the judge (claude), NOT VALID: two (seed 1).",
    )


@pytest.mark.parametrize("marks", ["a judge's own word", [{"text": "x"}], 3])
def test_a_judge_may_mean_something_else_by_marks(make_run, tmp_path, marks):
    make_run("sft", 0, judge=JudgeRecord(name="mine", details={"marks": marks}))
    assert warnings(tmp_path / "results") == ()


def learned(pairs: int) -> list[StageRecord]:
    counts = {"pairs": pairs, "identical": 3000 - pairs}
    return [StageRecord(name="reward_model", key="k", seconds=1, cached=False, counts=counts)]


def test_unequal_numbers_of_training_pairs_are_named(make_run, tmp_path):
    for seed in range(2):
        make_run("sft", seed)
        make_run("ppo_rlhf", seed, stages=learned(2998 + seed))
        for label in ("fine_grained_ppo", "token_ppo"):
            make_run(label, seed, stages=learned(2974))
    results = tmp_path / "results"
    (line,) = warnings(results)
    assert line.startswith(
        "Reward models learned from unequal numbers of pairs (fine_grained_ppo, token_ppo: 2,974; "
        "ppo_rlhf: 2,998 to 2,999 by seed). "
    )
    assert line in leaderboard(results, fmt="csv")[0]
    shown = leaderboard(results, fmt="md")[0]
    assert f"**Warning:** {line}" in shown
    assert "training pairs" in shown
    assert "2,998 to 2,999" in shown.split("training pairs")[1]


def test_equal_numbers_of_pairs_need_no_warning(make_run, tmp_path):
    """Numbers may differ from seed to seed; a seed that one row lacks compares nothing."""
    make_run("ppo_rlhf", 0, stages=learned(2998))
    make_run("ppo_rlhf", 1, stages=learned(2990))
    make_run("token_ppo", 0, stages=learned(2998))
    make_run("sft", 0)
    assert not [line for line in warnings(tmp_path / "results") if "pairs" in line]
