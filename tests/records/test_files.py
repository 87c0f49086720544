import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from bench.errors import UserError
from bench.records.files import (
    Damage,
    Item,
    JudgeRecord,
    Metric,
    Record,
    RecordError,
    Reference,
    contradictions,
    edits,
    find_runs,
    read_curves,
    read_items,
    read_record,
    read_records,
    read_samples,
    write_record,
)
from bench.stats import accuracy_interval, win_rate

RESULTS = Path(__file__).parents[2] / "results" / "testbed"


def make(**fields) -> Record:
    defaults = {
        "run_id": "r1",
        "suite": "testbed",
        "method": "sft",
        "label": "sft",
        "preset": "testbed",
        "seed": 0,
        "status": "ok",
        "config": {"b": {"c": 1}, "a": [1, "é"]},
        "config_sha": "00",
        "reference": Reference(name="gold", sha="ab"),
        "judge": JudgeRecord(name="gold"),
        "metrics": {"win_rate": Metric(mean=0.5, ci95=(0.4, 0.6), n=10)},
        "started_at": "2026-01-01T00:00:00Z",
        "finished_at": "2026-01-01T00:01:00Z",
    }
    return Record(**{**defaults, **fields})


def edit(path: Path, *keys: str, value: object) -> None:
    body = json.loads(path.read_text())
    inner = body
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = value
    path.write_text(json.dumps(body))


def test_a_record_comes_back_equal_and_is_written_in_one_form(tmp_path):
    path = write_record(make(), tmp_path / "run")
    assert read_record(path) == make()
    assert read_record(tmp_path / "run") == make()
    text = path.read_text(encoding="utf-8")
    assert text.endswith("}\n")
    assert list(json.loads(text)) == sorted(json.loads(text))
    assert "é" in text
    assert [p.name for p in (tmp_path / "run").iterdir()] == ["record.json"]
    write_record(make(), tmp_path / "run")
    assert path.read_text(encoding="utf-8") == text


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_mean_that_is_not_finite_is_refused(tmp_path, value):
    with pytest.raises(ValidationError, match="finite"):
        Metric(mean=value)
    path = write_record(make(), tmp_path)
    edit(path, "metrics", "win_rate", "mean", value=value)
    with pytest.raises(RecordError, match=r"record\.json: metrics\.win_rate\.mean: .*finite"):
        read_record(path)


@pytest.mark.parametrize(
    ("keys", "value", "message"),
    [
        (("status",), "fine", "status"),
        (("sed",), 1, "sed: Extra inputs"),
        (("schema_version",), "2", "schema_version: expected a whole number"),
        (("schema_version",), 6, "newer than 5, .*: update GrainBench"),
        (("metrics", "win_rate", "ci95"), [0.7, 0.1], "begins at 0.7"),
        (("metrics", "win_rate", "wins"), "many", "metrics.win_rate.wins"),
        (("reference",), None, "reference"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, keys, value, message):
    path = write_record(make(), tmp_path)
    edit(path, *keys, value=value)
    with pytest.raises(RecordError, match=message) as caught:
        read_record(path)
    assert str(path) in str(caught.value)
    assert isinstance(caught.value, UserError)
    assert caught.value.exit_code == 2


def rewritten(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    body = json.loads(path.read_text())
    change(body)
    path.write_text(json.dumps(body))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda body: body["metrics"]["win_rate"].update(mean=0.51), "metrics"),
        (lambda body: body["metrics"].clear(), "metrics"),
        (lambda body: body.update(seed=1, label="x"), "label, seed"),
        (lambda body: body.pop("paper"), "paper"),
        (lambda body: body["digest"].pop("seed"), "seed"),
        (
            lambda body: body["digest"].clear(),
            r"brought, code, config, config_sha and \d+ more",
        ),
        (lambda body: body.pop("digest"), "digest"),
        (lambda body: body.update(schema_version=1), "schema_version"),
    ],
)
def test_what_was_edited_is_named(tmp_path, change, named):
    path = write_record(make(), tmp_path)
    rewritten(path, change)
    with pytest.raises(RecordError, match=rf"record\.json: {named}: edited or removed after"):
        read_record(path)
    assert read_record(path, verify=False).run_id == "r1"
    assert edits(path)
    assert find_runs(tmp_path)[0] == []


def test_another_layout_is_no_edit(tmp_path):
    path = write_record(make(), tmp_path)
    rewritten(path, lambda body: None)
    assert len(path.read_text().splitlines()) == 1
    assert read_record(path) == make()
    assert edits(path) == []


@pytest.mark.parametrize("name", ["items.jsonl", "metrics.jsonl", "samples.jsonl"])
def test_a_lost_file_is_named(tmp_path, name):
    (tmp_path / name).write_text("")
    write_record(make(), tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(RecordError, match=rf"record\.json: {name}: edited or removed after"):
        read_record(tmp_path)


def test_the_files_beside_the_record_are_watched(tmp_path):
    items = tmp_path / "items.jsonl"
    items.write_bytes(b'{"index": 0, "prompt_sha": "a", "win_rate": 0.5}\n')
    write_record(make(), tmp_path)
    items.write_bytes(items.read_bytes().replace(b"\n", b"\r\n"))  # as git may check it out
    (tmp_path / "metrics.jsonl").write_text("")  # not there when the record was written
    assert read_record(tmp_path) == make()
    items.write_bytes(items.read_bytes().replace(b"0.5", b"0.9"))
    with pytest.raises(RecordError, match=r"record\.json: items\.jsonl: edited"):
        read_record(tmp_path)


def test_a_record_of_schema_1_has_no_digest_and_is_migrated(tmp_path):
    path = write_record(make(), tmp_path)
    rewritten(path, lambda body: (body.pop("digest"), body.update(schema_version=1)))
    record = read_record(path)
    assert record.schema_version == 5
    assert record.config["ppo"]["kl_penalty"] == "reward"
    rewritten(path, lambda body: body.pop("schema_version"))
    assert read_record(path) == record


def test_the_committed_records_are_read_and_agree_with_their_items():
    runs, problems = find_runs(RESULTS)
    assert problems == []
    assert len(runs) > 30
    for run in runs[::6]:
        assert contradictions(run.record, read_items(run.folder)) == {}


def test_a_mean_that_is_not_that_of_the_items_is_named():
    items = [
        Item(index=0, prompt_sha="a", win_rate=1.0, kl=3.0),
        Item(index=1, prompt_sha="b", win_rate=None, kl=4.0),
        Item(index=2, prompt_sha="c", win_rate=0.0, kl=None),
    ]
    metrics = {name: Metric(mean=mean) for name, mean in [("win_rate", 0.5), ("kl", 3.4), ("x", 1)]}
    assert contradictions(make(metrics=metrics), items) == {"kl": (3.4, 3.5)}


def test_half_a_file_is_named_with_its_line(tmp_path):
    path = write_record(make(), tmp_path)
    path.write_text(path.read_text()[:40])
    with pytest.raises(RecordError, match=r"record\.json, line \d: not JSON"):
        read_record(path)
    path.write_text("[]")
    with pytest.raises(RecordError, match=r"record\.json: expected an object, found list"):
        read_record(path)
    with pytest.raises(RecordError, match="cannot be read"):
        read_record(tmp_path / "nowhere")


def test_writing_fails_in_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RecordError, match="cannot be written"):
        write_record(make(), tmp_path / "file" / "run")
    for fields, named in (
        ({"config": {"lr": math.nan}}, "config: Out of range float"),
        ({"config": {"lr": object()}}, "config: Unable to serialize"),
        ({"judge": JudgeRecord(name="gold", details={"kappa": math.nan})}, "judge: Out of range"),
        ({"error": "half a pair: \ud83d"}, "error: .*surrogates not allowed"),
    ):
        with pytest.raises(RecordError, match=rf"record\.json: {named}"):
            write_record(make(**fields), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_bad_record_does_not_hide_the_good_ones(tmp_path):
    write_record(make(run_id="good"), tmp_path / "testbed" / "good")
    bad = write_record(make(run_id="bad"), tmp_path / "testbed" / "bad")
    edit(bad, "seed", value="x")
    records, problems = read_records(tmp_path)
    assert [record.run_id for record in records] == ["good"]
    assert len(problems) == 1
    assert "seed" in problems[0]
    assert isinstance(problems[0], Damage)
    assert find_runs(tmp_path)[0][0].folder == tmp_path / "testbed" / "good"
    assert read_records(tmp_path / "empty") == ([], [])


def test_metric_of_an_estimate():
    metric = Metric.of(win_rate([2, 1, 1.5, None]))
    assert (metric.mean, metric.wins, metric.losses, metric.ties) == (0.5, 1, 1, 1)
    assert (metric.n, metric.missing) == (3, 1)
    assert Metric.of(accuracy_interval([1, 0])).n == 2


def test_items(tmp_path):
    rows = [
        {"index": 0, "prompt_sha": "a", "win_rate": 0.75, "gold_score": None},
        {"index": 1, "prompt_sha": "b", "win_rate": None},
    ]
    path = tmp_path / "items.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    items = read_items(tmp_path)
    assert items[0].values == {"win_rate": 0.75, "gold_score": None}
    assert items[1].index == 1
    path.write_text(json.dumps(rows[0]) + '\n{"index": 1, "prompt_sha": "b", "x": NaN}\n')
    with pytest.raises(RecordError, match=r"items\.jsonl, line 2: x: .*finite"):
        read_items(tmp_path)
    path.write_text(json.dumps(rows[0]) + "\n" + json.dumps(rows[0]) + "\n")
    with pytest.raises(RecordError, match="index 0 comes twice"):
        read_items(tmp_path)


def test_curves(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 0, "kl": 0.1}\n{"step": 1, "kl": NaN, "validation_gold": null}\n')
    first, second = read_curves(tmp_path)
    assert first.values == {"kl": 0.1}
    assert math.isnan(second.values["kl"])
    path.write_text('{"step": 0}\n{"step": 1, "k')
    with pytest.raises(RecordError, match=r"metrics\.jsonl, line 2: not JSON"):
        read_curves(tmp_path)


def test_samples(tmp_path):
    row = {"prompt": "p", "output": "o", "reference": "r", "preference": 1.5}
    path = tmp_path / "samples.jsonl"
    path.write_text(json.dumps(row) + "\n")
    assert read_samples(tmp_path)[0].preference == 1.5
    path.write_text(json.dumps(row | {"tokens": ["a", "b"], "token_rewards": [1.0]}) + "\n")
    with pytest.raises(RecordError, match=r"line 1: .*2 tokens, but 1 token_rewards"):
        read_samples(tmp_path)
