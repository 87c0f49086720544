from bench.records.files import Code, DataSplit, EditorRecord, JudgeRecord, StageRecord, read_record
from leaderboard.analysis.runs import load
from leaderboard.site.provenance import facts, run_page, run_sheet, shared


def records_of(results):
    groups = next(iter(load(results, "testbed")[0].values()))
    return [(group.label, run) for group in groups for run in group.runs]


def cells(sheet, header):
    place = [c.header for c in sheet.columns].index(header)
    return [row[place] for row in sheet.rows]


def sheet_of(labelled):
    pages = {str(run.folder): f"runs/{i}.html" for i, (_, run) in enumerate(labelled)}
    return run_sheet(labelled, pages, {label: f"id-{label}" for label, _ in labelled})


def test_every_run_is_listed_with_where_it_comes_from(results):
    sheet = sheet_of(records_of(results))
    assert len(sheet.rows) == 10
    assert sheet.rows[0][0].href == "runs/0.html"
    assert [row[0].id for row in sheet.rows if row[0].id] == [
        "id-bad", "id-ppo_rlhf", "id-sft", "id-token_ppo loss=eq4"
    ]  # fmt: skip
    assert cells(sheet, "Status")[0].text == "diverged"
    assert cells(sheet, "Status")[0].note == "KL is NaN at step 12"
    assert cells(sheet, "Config")[0].text == "c0ffeec0ff"
    assert [field.key for field in cells(sheet, "Seed")[1:4]] == [0.0, 1.0, 2.0]


def test_what_differs_has_a_column_and_the_rest_is_said_once(make_run, tmp_path):
    make_run("a", 0, packages={"torch": "1", "numpy": "2"})
    make_run("a", 1, packages={"torch": "1", "numpy": "3"}, code=Code(commit="c" * 40, dirty=True))
    labelled = records_of(tmp_path / "results")
    same, differing = shared([run.record for _, run in labelled])
    assert same["torch"] == "1"
    assert same["cpu"] == "a CPU"
    assert differing == ["commit", "numpy"]
    sheet = sheet_of(labelled)
    assert [field.text for field in cells(sheet, "numpy")] == ["2", "3"]
    commits = [(field.text, field.note) for field in cells(sheet, "Commit")]
    assert commits == [("unknown", ""), ("cccccccccc", "changed")]


def test_a_page_says_all_of_its_record(make_run):
    folder = make_run(
        "a",
        data={"test": DataSplit(n=60, sha="5a5a")},
        code=Code(commit="abc", dirty=True, diff_sha="d1ff"),
        judge=JudgeRecord(
            name="claude", model="m", template_sha="7e7e", counts={"refusal": 2}, cost_usd=1.5,
            details={"agreement": {"kappa": 0.6}},
        ),
        editor=EditorRecord(name="claude", source="some-model"),
        stages=[StageRecord(name="edits", key="k", seconds=1, cached=True, counts={"pairs": 7})],
    )  # fmt: skip
    record = read_record(folder)
    page = run_page(record)
    found = {fact.name: fact for block in (*page.blocks, *page.config) for fact in block.facts}
    expected = {
        "judged refusal": "2", "judge USD": "1.50", "edits: pairs": "7", "lr": "0.0001",
        "agreement.kappa": "0.6", "steps to 90 %": "40", "seed": "0",
    }  # fmt: skip
    assert expected == {name: found[name].value for name in expected}
    assert found["lr"].meaning.startswith("ppo.lr: ")
    assert "a number" in found["lr"].meaning
    assert {
        "commit": "abc, changed (d1ff)", "data: test": "60 rows [5a5a]", "judge prompt": "7e7e",
        "judge": "claude (m)", "editor": "claude (some-model)",
        "reference": "gold-reference [abcdef012345]",
    }.items() <= facts(record).items()  # fmt: skip
    assert page.blocks[0].title == "This run"
    metrics, stages = page.sheets
    names = {row[0].text: row[0].meaning for row in metrics.rows}
    assert names["Accuracy on edits"].startswith("rm_accuracy.edited: How often the reward model")
    assert [(row[0].text, bool(row[0].meaning)) for row in stages.rows] == [("edits", True)]


def test_a_field_that_the_harness_no_longer_has_is_shown_without_a_meaning(make_run):
    record = read_record(make_run("a", config={"gone": {"knob": None}}))
    (block,) = run_page(record).config
    assert [(fact.name, fact.value, fact.meaning) for fact in block.facts] == [
        ("knob", "null", "gone.knob")
    ]
