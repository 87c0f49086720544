"""`judge`, `agree` and `edit` as users call them, against a server that speaks the API."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from bench.cli import app
from tests.judges.asked import prefers
from tests.llm.faults import Fault, Kind
from tests.llm.server import Server

SHARED = Path(__file__).parents[2].parent / "shared" / "data" / "alpaca_eval"
REFERENCE = [
    {"instruction": f"Question {i}?", "output": f"Reference {i}.", "generator": "davinci"}
    for i in range(6)
]
OUTPUTS = [
    {**row, "output": f"A much longer answer to question {i}.", "generator": "ours"}
    for i, row in enumerate(REFERENCE)
]


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BENCH_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("COLUMNS", "200")
    for name, rows in (("out", OUTPUTS), ("ref", REFERENCE)):
        (tmp_path / f"{name}.json").write_text(json.dumps(rows))
    return tmp_path


def bench(line: str) -> Result:
    return CliRunner().invoke(app, line.split())


JUDGE = "judge out.json --reference ref.json --set judge.canaries=0 --set judge.max_retries=0"


def test_estimate_canary_judge_agree(server: Server, files: Path) -> None:
    """The four commands of the README, in their order."""
    server.answer = prefers(lambda a, b: "much longer" in a and "much longer" not in b)
    line = "judge out.json --reference ref.json"
    estimated = bench(f"{line} --dry-run")
    assert estimated.exit_code == 0, estimated.output
    assert server.calls == 0  # counting tokens is none
    canary = bench(f"{line} --canary")
    assert canary.exit_code == 0, canary.output
    assert "no canary won" in canary.stdout
    calls = server.calls
    judged = bench(f"{line} --out judged --max-usd 5")
    assert judged.exit_code == 0, judged.output
    assert "100.0%" in judged.stdout
    assert server.calls == calls + 12
    assert json.loads((files / "judged" / "report.json").read_text())["scored"] == 6
    agreed = bench("agree judged/annotations.json judged/annotations.json --json agreed.json")
    assert agreed.exit_code == 0, agreed.output
    assert json.loads((files / "agreed.json").read_text())["agreement"]["mean"] == 1
    assert bench(f"{line} --out again").exit_code == 0
    assert server.calls == calls + 12
    for path in files.rglob("*"):
        assert not path.is_file() or server.key not in path.read_text()


def test_missing_verdicts_make_it_invalid_unless_they_are_allowed(
    server: Server, files: Path
) -> None:
    server.answer = prefers(lambda a, b: "much longer" in a and "much longer" not in b)
    server.faults = lambda body, _: (
        Fault(Kind.REFUSAL, category="bio")
        if "Question 3?" in body["messages"][0]["content"]
        else None
    )
    result = bench(JUDGE)
    assert result.exit_code == 3
    assert (
        "1 of 6 instructions have no verdict, more than 2%; add --retry refusal to ask, and pay, "
        "once more for 1 refusal, or give --allow-missing"
    ) in result.stderr
    assert "bio" in result.stdout
    allowed = bench(f"{JUDGE} --allow-missing")
    assert allowed.exit_code == 0
    assert "add --retry refusal" in allowed.stderr


def test_what_the_message_says_is_what_helps(server: Server, files: Path) -> None:
    """The same command for what got no answer, --retry for what is paid."""
    kinds = {"Question 1?": Kind.BAD_JSON, "Question 2?": Kind.TRUNCATED, "Question 3?": None}
    kinds |= {"Question 4?": Kind.REFUSAL, "Question 5?": Kind.INVALID_REQUEST}
    server.answer = prefers(lambda a, b: "much longer" in a and "much longer" not in b)
    server.faults = lambda body, _: next(
        (kind for text, kind in kinds.items() if text in body["messages"][0]["content"]), None
    )
    first = bench(JUDGE)
    assert first.exit_code == 3
    assert "run the same command again to ask for 1 api_error; add" in first.stderr
    assert "add --retry parse_error,refusal,truncated to ask, and pay, once more" in first.stderr
    assert "run again" not in first.stdout
    server.faults, calls = None, server.calls
    again = bench(JUDGE)
    assert "3 of 6 instructions have no verdict, more than 2%; add --retry" in again.stderr
    assert server.calls == calls + 2
    some = bench(f"{JUDGE} --retry parse_error,refusal")
    assert "1 of 6 instructions have no verdict, more than 2%; add --retry truncated" in some.stderr
    assert server.calls == calls + 2 + 4
    assert bench(f"{JUDGE} --set judge.retry=truncated").exit_code == 0
    assert server.calls == calls + 2 + 4 + 2
    assert bench(JUDGE).exit_code == 0
    assert server.calls == calls + 2 + 4 + 2


def test_who_asks_nobody_promises_nothing(server: Server, files: Path) -> None:
    server.faults = lambda body, _: Kind.REFUSAL
    assert bench(f"{JUDGE} --out judged").exit_code == 3
    result = bench("judge judged/annotations.json --judge replay")
    assert result.exit_code == 3
    assert result.stderr == (
        "not valid: 6 of 6 instructions have no verdict, more than 2%; give --allow-missing\n"
    )


def test_edits_that_ended_so_are_asked_again(server: Server, files: Path) -> None:
    pair = {"prompt": "Who?", "chosen": "She did.", "rejected": "It was he who did that, I think."}
    (files / "pairs.jsonl").write_text(json.dumps(pair) + "\n")
    server.answer = lambda body: {"fault": "Wrong.", "edited": "It was she who did that, I think."}
    server.faults = lambda body, _: Kind.REFUSAL
    line = "edit pairs.jsonl --out edits.jsonl"
    result = bench(line)
    assert result.exit_code == 0, result.output
    assert "add --retry refusal to ask, and pay, once more for 1 refusal" in result.stderr
    server.faults = None
    assert bench(line).exit_code == 0
    assert server.calls == 1
    assert bench(f"{line} --retry refusal").exit_code == 0
    assert server.calls == 2
    assert len((files / "edits.jsonl").read_text().splitlines()) == 1


def test_a_dry_run_says_that_it_does_not_count_what_is_asked_again(
    server: Server, files: Path
) -> None:
    result = bench(f"{JUDGE} --retry refusal --dry-run")
    assert "what retry=refusal asks again is not counted" in result.stdout


def test_a_judge_that_goes_by_the_position_is_not_valid(server: Server, files: Path) -> None:
    """Always A: 50.0 ± 0.0, which nobody should quote."""
    result = bench(f"{JUDGE} --out judged")
    assert result.exit_code == 3
    assert "50.0%" in result.stdout
    assert "\nWarning: NOT VALID: the two orders contradict each other in 6 of 6" in result.stdout
    assert "not valid: the two orders contradict each other in 6 of 6" in result.stderr
    assert "--allow-invalid" in result.stderr
    assert "--allow-missing" not in result.stderr
    report = json.loads((files / "judged" / "report.json").read_text())
    assert report["invalid"] is True
    (mark,) = report["marks"]
    assert (mark["what"], mark["level"]) == ("flip_rate", "invalid")
    assert mark["text"] in " ".join(result.stdout.split())
    assert bench(f"{JUDGE} --allow-missing").exit_code == 3
    assert bench(f"{JUDGE} --allow-invalid").exit_code == 0


def test_every_reason_is_named_and_allowed_on_its_own(server: Server, files: Path) -> None:
    server.faults = lambda body, _: (
        Kind.REFUSAL if "Question 3?" in body["messages"][0]["content"] else None
    )
    both = bench(JUDGE)
    assert both.exit_code == 3
    assert "not valid: 1 of 6 instructions have no verdict" in both.stderr
    assert "contradict each other in 5 of 5 comparisons" in both.stderr
    one = bench(f"{JUDGE} --allow-missing")
    assert one.exit_code == 3
    assert "no verdict" not in one.stderr
    assert bench(f"{JUDGE} --allow-invalid").exit_code == 0


def test_several_models_and_their_page(server: Server, files: Path) -> None:
    server.answer = prefers(lambda a, b: "much longer" in a and "much longer" not in b)
    worse = [{**row, "output": "No.", "generator": "worse"} for row in OUTPUTS]
    (files / "worse.json").write_text(json.dumps(worse))
    line = JUDGE.replace("out.json", "out.json worse.json")
    estimated = bench(f"{line} --dry-run")
    assert "24" in estimated.stdout, estimated.output
    judged = bench(f"{line} --out judged --allow-invalid")
    assert judged.exit_code == 0, judged.output
    assert "2 models against davinci" in judged.stdout
    assert "ours - worse" in judged.stdout
    assert server.calls == 24
    server.faults = lambda body, _: (
        Kind.REFUSAL if "\nNo.\n" in body["messages"][0]["content"] else None
    )
    refused = bench(f"{line} --store other".replace(" --set judge.max_retries=0", ""))
    assert refused.exit_code == 3
    assert "not valid: worse: 6 of 6 instructions have no verdict" in refused.output
    (files / "none").mkdir()
    built = bench("site --results none --judged judged --out site")
    assert built.exit_code == 0, built.output
    page = (files / "site" / "index.html").read_text()
    assert "Judged outputs" in page
    assert "2 models against davinci" in page
    wrong = bench("site --results none --judged none --out site2")
    assert wrong.exit_code == 2
    assert "writes it" in wrong.output


def test_a_judge_that_ties_everything_is_marked(server: Server, files: Path) -> None:
    server.answer = prefers(lambda a, b: False)
    result = bench(JUDGE)
    assert result.exit_code == 0
    assert "\nWarning: MARKED: 6 of 6 verdicts are ties, more than 50%" in result.stdout


def test_a_budget_leaves_out_what_would_exceed_it(server: Server, files: Path) -> None:
    result = bench(f"{JUDGE} --max-usd 0.01")  # less than one call can cost at most
    assert result.exit_code == 3
    assert "6 skipped_budget" in result.stdout
    assert server.calls == 0


def test_an_edit_is_written_with_its_source(server: Server, files: Path) -> None:
    pair = {"prompt": "Who?", "chosen": "She did.", "rejected": "It was he who did that, I think."}
    (files / "pairs.jsonl").write_text(json.dumps(pair) + "\n")
    server.answer = lambda body: {"fault": "Wrong.", "edited": "It was she who did that, I think."}
    assert bench("edit pairs.jsonl --out edits.jsonl --dry-run").exit_code == 0
    assert not (files / "edits.jsonl").exists()
    result = bench("edit pairs.jsonl --out edits.jsonl")
    assert result.exit_code == 0, result.output
    [row] = [json.loads(line) for line in (files / "edits.jsonl").read_text().splitlines()]
    assert row["edited"] == "It was she who did that, I think."
    assert "SAME FAMILY" in bench(f"{JUDGE} --edits edits.jsonl").stdout


def test_edits_without_an_answer_overwrite_nothing_unless_it_is_allowed(
    server: Server, files: Path
) -> None:
    pair = {"prompt": "Who?", "chosen": "She did.", "rejected": "It was he who did that, I think."}
    (files / "pairs.jsonl").write_text(json.dumps(pair) + "\n")
    (files / "edits.jsonl").write_text("good\n")
    line = "edit pairs.jsonl --out edits.jsonl --max-usd 0"
    result = bench(line)
    assert result.exit_code == 3
    assert "1 of 1 responses have no answer" in result.stderr
    assert "--allow-missing" in result.stderr
    assert (files / "edits.jsonl").read_text() == "good\n"
    assert bench(f"{line} --allow-missing").exit_code == 0
    assert (files / "edits.jsonl").read_text() == ""


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ("judge out.json --reference ref.json --out out.json/x", 2, "cannot write out.json/x"),
        ("judge out.json", 2, "give what to compare with as --reference"),
        ("judge nothing.json --reference ref.json", 2, "cannot read nothing.json"),
        ("judge out.json --reference ref.json --judge gtp", 2, "unknown judge 'gtp'"),
        ("judge out.json --reference ref.json --set judge.modle=x", 2, "did you mean judge.model"),
        (
            "judge out.json --reference ref.json --retry parse_eror",
            2,
            "must be a list of one of parse_error, refusal, truncated, given: 'parse_eror'",
        ),
        ("edit ref.json --out e.jsonl --retry ok", 2, "editor.retry must be a list of one of"),
        ("judge out.json --reference ref.json --judge replay --retry refusal", 2, "'retry'"),
        ("judge out.json --reference ref.json --set ppo.lr=1", 2, "only judge.NAME=VALUE"),
        ("judge out.json --reference ref.json --judge openai", 2, "judge.model has to be given"),
        (
            "judge out.json --reference ref.json --max-usd 1 --set judge.model=claude-9",
            2,
            "the price of claude-9 is not known",
        ),
        (
            "judge out.json --reference ref.json --judge gold",
            2,
            "which files alone do not have",
        ),
        ("agree out.json ref.json", 2, "output_1"),
        ("edit out.json --out edits.jsonl", 2, "output_1"),
        ("edit ref.json --out ref.json", 2, "ref.json"),
    ],
)
def test_a_mistake_is_one_line(files: Path, line: str, code: int, said: str) -> None:
    result = bench(line)
    assert result.exit_code == code, result.output
    assert said in result.stderr
    assert "Traceback" not in result.output


def test_a_missing_key_is_one_line_that_names_the_variable(
    files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(files))
    result = bench(JUDGE)
    assert result.exit_code == 2
    assert "ANTHROPIC_API_KEY" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "rate", "error", "outcomes", "missing"),
    [
        ("alpaca-7b", 26.459627, 1.535711, (205, 584, 16), 0),
        ("text_davinci_001", 15.174129, 1.235108, (112, 672, 20), 1),
    ],
)
def test_published_annotations_give_the_published_numbers(
    files: Path, name: str, rate: float, error: float, outcomes: tuple[int, ...], missing: int
) -> None:
    path = SHARED / f"{name}__alpaca_eval_gpt4.json.gz"
    if not path.exists():
        pytest.skip(f"{path.name} is not beside this checkout (../shared/data)")
    result = bench(f"judge {path} --judge replay --out judged")
    assert result.exit_code == 0, result.output
    report = json.loads((files / "judged" / "report.json").read_text())
    found = report["win_rate"]
    assert 100 * found["mean"] == pytest.approx(rate, abs=1e-6)
    assert 100 * found["standard_error"] == pytest.approx(error, abs=1e-6)
    assert (found["wins"], found["losses"], found["ties"]) == outcomes
    assert (report["n"], report["missing"]) == (805, missing)


def test_the_two_sets_of_davinci003_are_not_mixed(files: Path) -> None:
    path = SHARED / "alpaca-7b__alpaca_eval_gpt4.json.gz"
    other = SHARED / "text_davinci_003_model_outputs_308char.json.gz"
    if not path.exists():
        pytest.skip(f"{path.name} is not beside this checkout (../shared/data)")
    result = bench(f"judge {path} --reference {other} --judge replay")
    assert result.exit_code == 2
    for named in ("785 of 805", "482 characters", "308 characters"):
        assert named in result.stderr
    with gzip.open(other) as file:
        assert len(json.load(file)) == 805
