"""Files in, report and annotations out: what `python -m bench judge` calls."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from bench.errors import UserError
from bench.grid import to_rich
from bench.judging import files as judging
from bench.judging.agreement import agree
from bench.judging.alpaca_eval import Annotation, read
from bench.judging.files import judge_file, read_comparisons, try_canaries
from bench.judging.report import Report
from bench.judging.show import canary_table
from judges.claude import Claude
from judges.replay import Replay, ReplayOptions
from tests.judges.asked import prefers
from tests.judges.data import ANNOTATIONS, LONG_REFERENCE, SHORT_REFERENCE, needs_shared
from tests.judges.test_alpaca_eval import write
from tests.llm.faults import Kind, random_faults
from tests.llm.server import Server


def replay(annotations: Path | None = None) -> Replay:
    return Replay(None, ReplayOptions(annotations=annotations and str(annotations)))


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """Outputs of "ours" and the reference's, in another order; "good" beats "bad"."""
    outputs = [
        {"instruction": f"q {i}", "output": "good" if i % 2 else "bad", "generator": "ours"}
        for i in range(6)
    ]
    references = [
        {"instruction": f"q {i}", "output": "bad" if i else "good", "dataset": "d"}
        for i in reversed(range(6))
    ]
    return write(tmp_path / "o.json", outputs), write(tmp_path / "ref.jsonl.gz", references)


def test_from_files_to_files(
    server: Server, claude: Callable[..., Claude], files: tuple[Path, Path], tmp_path: Path
) -> None:
    server.answer = prefers(lambda text, other: text == "good" and other != "good")
    report = judge_file(*files, claude(), out=tmp_path / "out", editor="claude")
    rate = report.win_rate
    assert (rate.wins, rate.losses, rate.ties) == (3, 1, 2)
    assert report.counts == {"identical": 2, "ok": 4}
    assert (report.generator, report.reference.name) == ("ours", "ref")
    assert report.shared_family == "claude"
    rows = read(tmp_path / "out" / "annotations.json", Annotation)
    assert [row.instruction for row in rows] == [f"q {i}" for i in range(6)]
    assert [row.preference for row in rows] == [1.0, 2.0, 1.5, 2.0, 1.5, 2.0]
    assert (rows[0].generator_1, rows[0].generator_2, rows[0].dataset) == ("ref", "ours", "d")
    assert {row.annotator for row in rows} == {"claude-sonnet-5-5"}
    written = json.loads((tmp_path / "out" / "report.json").read_text())
    assert written["win_rate"]["mean"] == pytest.approx(4 / 6)
    assert written["template_sha"] == claude().template_sha
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "annotations.json",
        "report.json",
    ]
    again = judge_file(tmp_path / "out" / "annotations.json", None, replay())
    assert (again.win_rate, again.counts) == (report.win_rate, report.counts)
    agreed = agree(*[tmp_path / "out" / "annotations.json"] * 2)
    assert (agreed.agreement.mean, agreed.both) == (1.0, 6)


def test_a_second_run_asks_and_checks_nothing(
    server: Server,
    claude: Callable[..., Claude],
    files: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    checked: list[float] = []
    monkeypatch.setattr(judging, "cross_check", lambda rows, rate: checked.append(rate.mean))
    judge_file(*files, claude(), out=tmp_path / "out")
    calls = server.calls
    report = judge_file(*files, claude(), out=tmp_path / "out")
    assert server.calls == calls == 8
    assert report.details["stored"] == 8
    assert len(checked) == 1
    path = tmp_path / "out" / "report.json"
    path.write_text(path.read_text().replace('"wins"', '"won"'))
    judge_file(*files, claude(), out=tmp_path / "out")
    assert len(checked) == 2


def test_faults_leave_one_status_each(
    server: Server, claude: Callable[..., Claude], files: tuple[Path, Path]
) -> None:
    kinds = (Kind.REFUSAL, Kind.TRUNCATED, Kind.BAD_JSON, Kind.INVALID_REQUEST, Kind.OVERLOADED)
    server.faults = random_faults(0.5, kinds, seed=1)
    report = judge_file(*files, claude())
    assert sum(report.counts.values()) == report.n == 6
    assert report.missing == sum(
        n for status, n in report.counts.items() if status not in ("ok", "tie", "identical")
    )
    assert report.missing > 0
    assert report.invalid


def test_canaries_alone(
    server: Server, claude: Callable[..., Claude], files: tuple[Path, Path]
) -> None:
    server.answer = prefers(lambda text, other: text in ("bad", "good") and other != text)
    tried = try_canaries(*files, claude(canaries=2))
    console = Console(width=120)
    with console.capture() as capture:
        console.print(to_rich(canary_table(tried, "claude-sonnet-5-5")))
    assert "claude-sonnet-5-5: no canary won" in capture.get()
    assert (capture.get().count("1.50"), capture.get().count("1.00")) == (1, 3)
    assert server.calls == 14
    judge_file(*files, claude(canaries=2))
    assert server.calls == 14 + 8
    server.answer = prefers(lambda text, other: text == "")
    with pytest.raises(UserError, match="preferred the canary 'empty'"):
        try_canaries(*files, claude(canaries=2, template="mt_bench"))


def test_no_canaries(claude: Callable[..., Claude], files: tuple[Path, Path]) -> None:
    for judge in (replay(), claude(canaries=0)):
        with pytest.raises(UserError, match=f"no canaries for the judge {judge.name}"):
            try_canaries(*files, judge)


def test_outputs_alone_need_a_reference(files: tuple[Path, Path]) -> None:
    with pytest.raises(UserError, match="give what to compare with as --reference"):
        read_comparisons(files[0])


def test_other_instructions_are_refused(files: tuple[Path, Path], tmp_path: Path) -> None:
    fewer = write(tmp_path / "fewer.json", [{"instruction": "q 0", "output": "x"}])
    with pytest.raises(UserError, match=r"5 instructions of .*o\.json are not in .*fewer\.json"):
        read_comparisons(files[0], fewer)
    with pytest.raises(UserError, match=r"5 instructions of .*o\.json are not in .*fewer\.json"):
        read_comparisons(fewer, files[0])


def test_a_folder_that_cannot_be_written(files: tuple[Path, Path], tmp_path: Path) -> None:
    row = {"instruction": "q", "output_1": "a", "output_2": "b", "preference": 1}
    path = write(tmp_path / "pairs.json", [row])
    with pytest.raises(UserError, match="cannot write") as caught:
        judge_file(path, None, replay(), out=path / "out")
    assert caught.value.exit_code == 2


def test_a_folder_is_tried_before_anything_is_paid(
    server: Server, claude: Callable[..., Claude], files: tuple[Path, Path]
) -> None:
    with pytest.raises(UserError, match="cannot write"):
        judge_file(*files, claude(), out=files[0] / "out")
    assert server.calls == 0


PUBLISHED = {
    "alpaca-7b": (26.459627, 1.535711, 205, 584, 16, 805, 0),
    "text_davinci_001": (15.174129, 1.235108, 112, 672, 20, 804, 1),
}


@needs_shared
@pytest.mark.parametrize("name", PUBLISHED)
def test_published_win_rates(name: str, tmp_path: Path) -> None:
    """Of annotations that AlpacaEval published, beside the reference they were made with."""
    report = judge_file(ANNOTATIONS[name], LONG_REFERENCE, replay(), out=tmp_path)
    mean, error, *counts = PUBLISHED[name]
    rate = report.win_rate
    assert 100 * rate.mean == pytest.approx(mean, abs=1e-6)
    assert 100 * rate.standard_error == pytest.approx(error, abs=1e-6)
    assert [rate.wins, rate.losses, rate.ties, report.scored, report.missing] == counts
    assert report.counts.get("parse_error", 0) == report.missing
    assert "482 characters" in report.reference.name
    assert (report.generator, report.model) == (name, "alpaca_eval_gpt4")
    assert same_numbers(judge_file(tmp_path / "annotations.json", None, replay()), report)


def same_numbers(a: Report, b: Report) -> bool:
    return (a.win_rate, a.counts, a.reference) == (b.win_rate, b.counts, b.reference)


@needs_shared
def test_the_two_davinci003_sets_are_not_mixed() -> None:
    with pytest.raises(UserError) as caught:
        judge_file(ANNOTATIONS["alpaca-7b"], SHORT_REFERENCE, replay())
    message = str(caught.value)
    assert "two sets of references are mixed: 785 of 805 instructions" in message
    assert "mean 482 characters" in message
    assert "mean 308 characters" in message


@needs_shared
def test_annotations_against_the_other_set_are_not_replayed() -> None:
    """The outputs are the same, but the verdicts were about the other Davinci003."""
    with pytest.raises(UserError, match="785 of 805 instructions have another reference output"):
        judge_file(SHORT_REFERENCE, SHORT_REFERENCE, replay(ANNOTATIONS["alpaca-7b"]))


@pytest.mark.parametrize("problem", [RuntimeError("n_wins is 3 by us"), ImportError("no pandas")])
def test_what_is_paid_is_reported_though_alpaca_eval_does_not_confirm_it(
    server: Server,
    claude: Callable[..., Claude],
    files: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    problem: Exception,
) -> None:
    """It says so, and is checked again by the next run."""

    def fails(rows: object, rate: object) -> None:
        raise problem

    with monkeypatch.context() as patched:
        patched.setattr(judging, "cross_check", fails)
        for _ in range(2):
            made = judge_file(*files, claude(), out=tmp_path / "out")
            assert str(problem) in made.details["cross_check"]
    written = json.loads((tmp_path / "out" / "report.json").read_text())
    assert written["details"]["cross_check"].startswith("not confirmed by alpaca_eval: ")
    again = judge_file(*files, claude(), out=tmp_path / "out")
    assert "cross_check" not in again.details
    assert (
        "cross_check" not in json.loads((tmp_path / "out" / "report.json").read_text())["details"]
    )
