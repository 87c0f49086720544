from bench.records.files import Code, JudgeRecord, read_record
from leaderboard.regression.environment import Change, changes, configuration, environment, measured


def test_what_differs_is_named_with_both_values(make_run):
    code = Code(commit="c0ffee", dirty=True, diff_sha="ab")
    old = environment(read_record(make_run("sft", 0, packages={"torch": "1", "numpy": "2"})))
    new = environment(
        read_record(make_run("sft", 1, 0.9, packages={"torch": "2", "scipy": "1"}, code=code))
    )
    assert changes(old, old) == []
    found = changes(old, new)
    assert [change.name for change in found] == [
        "code.commit", "code.diff_sha", "code.dirty",
        "packages.numpy", "packages.scipy", "packages.torch",
    ]  # fmt: skip
    assert found[3] == Change("packages.numpy", "2", None)
    assert str(found[5]) == "packages.torch: 1 -> 2"


def test_what_a_judge_did_is_no_environment(make_run):
    judges = JudgeRecord(name="gold"), JudgeRecord(name="gold", counts={"ok": 1}, cost_usd=2.0)
    old, new = (environment(read_record(make_run("sft", i, judge=j))) for i, j in enumerate(judges))
    assert changes(old, new) == []
    assert old["judge.name"] == "gold"


def test_the_configuration_is_flat_and_has_no_seed(make_run):
    assert configuration(read_record(make_run("sft", 3))) == {"ppo.lr": 1e-4}


def test_what_was_measured_is_reference_judge_and_data(make_run):
    facts = measured(environment(read_record(make_run("sft", 0))))
    assert {name.split(".")[0] for name in facts} == {"reference", "judge"}
