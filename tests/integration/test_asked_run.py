"""A run whose edits and verdicts are a language model's: real stages, real SDK, a local server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench.data import Edit, read_rows
from bench.errors import UserError
from bench.pipeline.progress import Progress
from bench.pipeline.store import Store
from bench.records.files import Record, read_record
from bench.running import runner
from leaderboard.analysis.aggregate import tables
from tests.integration.test_run import config
from tests.judges.asked import prefers, said
from tests.llm.faults import Fault, Kind
from tests.llm.server import Server

ASKED = ("evaluation.judge=claude", "judge.canaries=0", "judge.max_retries=0")
MINE = """Which is better for {instruction}? A: {output_1} B: {output_2} ({nonce})"""
EDITED = ("edits.source=claude", "editor.max_retries=0", "method=fine_grained_ppo")


def answer(body: dict[str, Any]) -> dict[str, Any]:
    """The longer output wins; an edit says something about its end."""
    if "edited" in body["output_config"]["format"]["schema"]["properties"]:
        prompt = body["messages"][0]["content"]
        original = prompt.split("<response-")[1].split(">\n", 1)[1].split("\n</response-")[0]
        return {"fault": "It ends too early.", "edited": original + " Indeed."}
    return prefers(lambda a, b: len(a) > len(b))(body)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("store"))


def run(store: Store, results: Path, *overrides: str) -> Record:
    settings = config(*overrides)
    return runner.run(settings, store=store, results=results, progress=Progress())


def test_a_model_judges_and_the_record_says_so(
    server: Server, store: Store, tmp_path: Path
) -> None:
    server.answer = answer
    record = run(store, tmp_path, "method=sft", *ASKED)
    assert (record.status, record.judge.name) == ("ok", "claude")
    assert record.judge.model == "claude-sonnet-5-5"
    assert record.judge.template_sha
    assert record.judge.cost_usd > 0
    assert record.judge.details["diagnostics"]["flip_rate"]["mean"] == 0
    assert record.judge.details["possibly_billed_usd"] == 0
    assert record.judge.marks == []
    assert set(record.judge.counts) <= {"ok", "tie", "identical"}
    assert "gold_score" not in record.metrics
    assert read_record(tmp_path / "testbed" / record.run_id) == record
    calls = server.calls
    run(store, tmp_path, "method=sft", *ASKED, "judge.concurrency=2")  # how, not what, is asked
    assert server.calls == calls > 0


def test_a_judge_that_goes_by_the_position_marks_the_record_and_loses_nothing(
    server: Server, store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.answer = lambda body: said("A")
    record = run(store, tmp_path, "method=sft", *ASKED, "judge.max_tokens=2048")
    assert record.status == "ok"
    mark = record.judge.marks[0]
    assert (mark.what, mark.level) == ("flip_rate", "invalid")
    assert f"the judge claude: {mark}" in "".join(capsys.readouterr())
    assert read_record(tmp_path / "testbed" / record.run_id).judge.marks == record.judge.marks
    assert str(mark) in tables(tmp_path)[0][0].warnings[0]


def test_too_many_missing_verdicts_stop_the_run_and_nothing_is_asked_twice(
    server: Server, store: Store, tmp_path: Path
) -> None:
    server.answer = answer
    asked = (*ASKED, "judge.template=mt_bench", "method=sft")
    server.faults = lambda body, _: Fault(Kind.INVALID_REQUEST) if odd_one(body) else None
    with pytest.raises(UserError, match=r"no verdict on \d+ of \d+ .*max_missing=0.02") as caught:
        run(store, tmp_path, *asked)
    assert caught.value.exit_code == 3
    assert read_record(next(tmp_path.glob("testbed/*"))).status == "failed"
    paid = sum(map(len, server.paid.values()))
    server.faults = lambda body, attempt: None
    assert run(store, tmp_path, *asked).status == "ok"
    assert max(map(len, server.paid.values())) == 1
    assert sum(map(len, server.paid.values())) > paid


def test_a_refusal_is_asked_again_where_the_option_says_so(
    server: Server, store: Store, tmp_path: Path
) -> None:
    """How often is asked is in no stage's key: what was refused left no artifact."""
    server.answer = answer
    asked = (*ASKED, "judge.max_tokens=1024", "method=sft")
    server.faults = lambda body, _: Kind.REFUSAL if odd_one(body) else None
    with pytest.raises(
        UserError, match=r"add --set judge\.retry=refusal to ask, and pay, once more"
    ):
        run(store, tmp_path, *asked)
    server.faults, calls = None, server.calls
    with pytest.raises(UserError, match=r"more than evaluation\.max_missing"):
        run(store, tmp_path, *asked)
    assert server.calls == calls
    record = run(store, tmp_path, *asked, "judge.retry=refusal")
    assert record.status == "ok"
    assert server.calls > calls
    calls = server.calls
    assert run(store, tmp_path, *asked).judge.counts == record.judge.counts
    assert server.calls == calls


def test_a_model_edits_and_the_record_says_so(server: Server, store: Store, tmp_path: Path) -> None:
    server.answer = answer
    record = run(store, tmp_path, *EDITED)
    assert record.status == "ok"
    assert record.editor.name == "claude"
    assert record.editor.source.startswith("claude:claude-sonnet-5-5:")
    assert record.editor.details["outcomes"]["ok"] == 32
    stage = next(stage for stage in record.stages if stage.name == "edits")
    rows = read_rows(store.root / "edits" / stage.key / "edits.jsonl", Edit)
    # What surrounds a response stays where it was: a space at its end stays at its end.
    assert [row.edited.split() for row in rows] == [
        [*row.original.split(), "Indeed."] for row in rows
    ]
    assert {row.source for row in rows} == {record.editor.source}


def test_edits_without_an_answer_are_asked_for_again(
    server: Server, store: Store, tmp_path: Path
) -> None:
    server.answer = answer
    asked = (*EDITED, "editor.max_changed=0.9")
    with pytest.raises(UserError, match=r"32 skipped_budget.*edits.max_missing") as caught:
        run(store, tmp_path, *asked, "editor.max_usd=0", "editor.max_tokens=2048")
    assert caught.value.exit_code == 3
    record = run(store, tmp_path, *asked, "editor.max_tokens=2048")
    assert record.editor.details["outcomes"]["ok"] == 32


def test_what_decides_a_verdict_is_in_the_stages_keys(
    server: Server, store: Store, tmp_path: Path
) -> None:
    (tmp_path / "mine.md").write_text(MINE)
    asked = (*ASKED, f"judge.template={tmp_path / 'mine.md'}", "method=sft")
    server.answer = lambda body: {"rationale": "They are alike.", "verdict": "tie"}
    first = run(store, tmp_path, *asked)
    (tmp_path / "mine.md").write_text(MINE.replace("better", "worse"))
    second = run(store, tmp_path, *asked)
    keys = [record.stages[-1].key for record in (first, second)]
    assert keys[0] != keys[1]
    assert first.judge.template_sha != second.judge.template_sha


def test_a_missing_key_is_told_before_any_training(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    empty = Store(tmp_path / "empty")
    validated = ("method=token_ppo", "evaluation.validation_judge=claude")
    for asked in (("method=sft", *ASKED), EDITED, validated):
        with pytest.raises(UserError, match="ANTHROPIC_API_KEY"):
            run(empty, tmp_path, *asked)
    assert not list((tmp_path / "empty").glob("sft/*"))


def odd_one(body: dict[str, Any]) -> bool:
    return sum(json.dumps(body, sort_keys=True).encode()) % 4 == 0
