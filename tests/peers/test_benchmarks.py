"""The benchmarks' own parts, without a peer: the work, the gate, the counts, the tables."""

from __future__ import annotations

import io
import json
from copy import deepcopy
from dataclasses import asdict
from typing import Any

import pytest
import torch

from bench.errors import UserError
from benchmarks.peers import contest, install
from benchmarks.peers.contest import CASES, Case
from benchmarks.peers.memory import WeightCount
from benchmarks.peers.table import as_markdown
from benchmarks.peers.worker import serve, work_of
from benchmarks.report import origin
from benchmarks.scaling import Axis, exponent, measure
from benchmarks.work import TEMPERATURE, Work, causal_model, pairs, prompts, word_tokenizer

TINY = Work(
    hidden=16, layers=1, heads=2, ffn=32, vocabulary=64, prompts=4, minibatch=2, response_tokens=3,
    pairs=4, pair_batch=2,
)  # fmt: skip


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("ppo_separate", {"tokens": 12}),
        ("ppo_shared", {"tokens": 12}),
        ("reward_model", {"pairs": 4}),
    ],
)
def test_our_workers_answer_every_command(name: str, counts: dict[str, int]) -> None:
    answers = io.StringIO()
    serve(name, TINY, io.StringIO("step\nmeasure\nstep\nstop\nstep\n"), answers)
    first, memory, second = (json.loads(line) for line in answers.getvalue().splitlines())
    assert counts.items() <= first["counts"].items()
    assert counts.items() <= second["counts"].items()
    assert sum(second["phases"].values()) <= second["seconds"]
    assert set(second["phases"]) == (
        {"generation", "scoring", "update"} if name.startswith("ppo") else set()
    )
    assert memory["copies"] >= 1
    assert memory["copies_forward"] >= 1


def test_work_survives_the_command_line() -> None:
    assert work_of(json.dumps(asdict(TINY))) == TINY


@pytest.mark.parametrize("rate", [0.0, 0.04])
def test_eos_is_as_likely_as_the_work_says_and_pad_is_not_drawn(rate: float) -> None:
    work = Work(eos_rate=rate)
    model, tokenizer = causal_model(work), word_tokenizer(work)
    texts = [text.split() for text in prompts(work)]
    ids = torch.tensor([tokenizer.encode(" ".join(words[:20])) for words in texts])
    with torch.no_grad():
        chances = (model(ids).logits / TEMPERATURE).softmax(-1)
    assert chances[..., tokenizer.eos_token_id].mean().item() == pytest.approx(
        rate, rel=0.1, abs=1e-9
    )
    assert chances[..., tokenizer.pad_token_id].max() < 1e-9
    assert chances[..., :-2].max() < 2 / work.vocabulary


def test_lengths_are_those_of_the_work() -> None:
    work = Work()
    tokenizer = word_tokenizer(work)
    lengths = [len(tokenizer.encode(text)) for text in prompts(work)]
    assert (len(lengths), min(lengths), max(lengths)) == (64, 20, 28)
    rows = pairs(work)
    whole = [len(tokenizer.encode(f"{r.prompt} {r.chosen}")) + 1 for r in rows]
    assert len(rows) == 512
    assert sum(whole) / len(whole) == pytest.approx(64, abs=2)


def test_a_copy_of_the_base_counts_once_and_its_shared_weights_do_not() -> None:
    model = causal_model(TINY)
    count = WeightCount(model)
    before = count.now()
    copy = deepcopy(model)
    assert count.now() - before == pytest.approx(1)
    copy.model = model.model
    head = model.lm_head.weight.nbytes / count.base_bytes
    assert count.now() - before == pytest.approx(head)


def test_a_weight_put_aside_counts_as_one() -> None:
    model = causal_model(TINY)
    count = WeightCount(model)
    before = count.now()
    aside = model.lm_head.weight.data.clone()
    assert count.now() - before == pytest.approx(aside.nbytes / count.base_bytes)


SECONDS = {
    "ppo_separate": [9, 9, 2, 1, 2],
    "ppo_shared": [9, 9, 1, 1, 1],
    "trl_ppo": [9, 9, 4, 4, 5],
}


class FakeWorker:
    """Answers with canned seconds."""

    asked: list[str]

    def __init__(self, name: str, work: Work, path: str | None) -> None:
        self.name, self.seconds = name, iter(SECONDS[name])
        assert path == ("here" if name == "trl_ppo" else None)

    def __enter__(self) -> FakeWorker:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def ask(self, command: str) -> dict[str, Any]:
        self.asked.append(f"{command} {self.name}")
        if command == "measure":
            copies = 1.2 if self.name == "ppo_shared" else 1.0
            return {"copies": 1.0, "copies_forward": copies, "mib_peak": 10.0}
        seconds = next(self.seconds)
        return {"seconds": seconds, "phases": {"update": seconds / 2}, "counts": {"tokens": 6}}


@pytest.fixture
def outcome(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    FakeWorker.asked = []
    monkeypatch.setattr(contest, "Worker", FakeWorker)
    monkeypatch.setattr(contest, "import_path", lambda package: "here")
    return contest.contest(CASES["ppo"], rounds=3, work=TINY)


def test_contenders_take_turns_after_the_warm_up(outcome: dict[str, Any]) -> None:
    names = list(SECONDS)
    assert FakeWorker.asked[6:-3] == [f"step {name}" for name in names] * 3


def test_ratios_are_of_medians_and_ranges_of_rounds(outcome: dict[str, Any]) -> None:
    """Separate: 2, 1, 2 s beside 4, 4, 5 s: medians 2 and 4; rounds 2, 4, 2.5."""
    ratio = outcome["ratios"]["ppo_separate"]
    assert (ratio["of_medians"], ratio["lowest"], ratio["highest"]) == (2, 2, 4)
    assert ratio["met"]
    assert ratio["copies_met"]
    assert not outcome["ratios"]["ppo_shared"]["copies_met"]


def test_throughput_in_tokens_counts_what_the_step_drew() -> None:
    steps = [{"seconds": s, "phases": {}, "counts": {"tokens": 6}} for s in (2.0, 1.0)]
    summary = contest.summary(steps, "tokens")
    assert (summary["rates"], summary["median_rate"]) == ([3, 6], 4.5)


def test_the_table_says_what_was_reached(outcome: dict[str, Any]) -> None:
    result = origin("test") | {"rounds": 3, "quick": False, "cases": {"ppo": outcome}}
    text = as_markdown(json.loads(json.dumps(result)))
    row = next(line for line in text.splitlines() if "separate" in line and "≥" in line)
    assert "| 2.00 | 2.00 to 4.00 | ≥ 2.0: met | 1.00 | 1.00 | ≤ 1.1: met | 10 |" in row
    assert "≤ 1.1: not met" in text


def test_a_missing_peer_says_how_to_install_it(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(install, "FOLDER", tmp_path)
    with pytest.raises(UserError, match="--install"):
        contest.contest(Case("", "steps", "trl_ppo", install.PPO, {}), 1, TINY)


def test_exponent_is_the_power_of_the_growth() -> None:
    assert exponent((1, 2, 4), [3.0, 12.0, 48.0]) == pytest.approx(2)


def test_an_axis_that_grows_faster_than_its_goal_misses_it(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr("benchmarks.scaling.time.perf_counter", lambda: clock[0])

    def build(size: int) -> Any:
        def run() -> None:
            clock[0] += size**2

        return run

    row = measure(Axis("PPO", "prompts", (1, 2, 4), 1, build), rounds=2)
    assert row["seconds"] == [1, 4, 16]
    assert row["exponent"] == pytest.approx(2)
    assert not row["met"]


def test_the_judge_is_measured_against_the_ideal(tmp_path) -> None:
    from benchmarks.judging import measure as measure_judge
    from benchmarks.judging import rows as judge_rows

    found = measure_judge(pairs=8, stored=50, items=(20, 40))
    assert (found["calls"], found["rerun_calls"]) == (16, 0)
    assert found["ideal_s"] == pytest.approx(16 * 0.2 / 32)
    assert found["judge_s"] > 0.2
    assert all(len(row) == 3 for row in judge_rows(found))
