"""The conformance checks: our own plug-ins keep to their protocols, and what does not is named."""

from __future__ import annotations

import dataclasses
import json
import random
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from bench.data import Edit, Span
from bench.models.heads import RewardModel, ScalarHead
from bench.plugins.protocols import Verdict
from bench.plugins.registry import JUDGES, METHODS
from bench.studio.judge import HumanJudge
from bench.studio.study import Study
from bench.suites.testbed.suite import Testbed
from bench.testing import check_judge, check_method, check_suite, check_ties
from judges.alpaca_eval import AlpacaEval, AlpacaEvalOptions
from judges.claude import Claude
from judges.gold import Gold
from judges.openai import OpenAI
from judges.replay import Replay
from judges.reviseval import RevisEval
from judges.reward_model import RewardModelJudge
from methods.gold_ppo import GoldPPO
from methods.sft import SFT
from tests.judges.asked import prefers
from tests.llm.server import Server
from tests.suites.filed import Filed, FiledOptions, write_files
from tests.tiny import LORA, stir, tiny_backbone

PROMPTS = ["First?", "Second?", "Third?"]
OUTPUTS = ["good one", "bad two", "good three"]
REFERENCES = ["bad one", "good two", "bad three"]
good = prefers(lambda text, other: text.startswith("good") and not other.startswith("good"))


def test_the_testbed_conforms() -> None:
    """The suites of files are checked beside their own tests, which write the files."""
    check_suite(Testbed(Testbed.Options()))


@pytest.mark.parametrize("name", METHODS.names())
def test_every_registered_method_conforms(name: str) -> None:
    method = METHODS.get(name)
    check_method(method(method.Options()))


def test_a_suite_of_files_conforms(tmp_path: Path) -> None:
    write_files(tmp_path / "files")
    check_suite(Filed(FiledOptions(folder=str(tmp_path / "files"))))


def replayed(server: Server, folder: Path) -> Any:
    rows = [
        {"instruction": q, "output_1": r, "output_2": o, "preference": 2 - i % 2, "annotator": "me"}
        for i, (q, o, r) in enumerate(zip(PROMPTS, OUTPUTS, REFERENCES, strict=True))
    ]
    (folder / "rows.json").write_text(json.dumps(rows))
    return Replay(None, Replay.Options(annotations=str(folder / "rows.json")))


def claude(server: Server, folder: Path) -> Any:
    return Claude(None, Claude.Options(canaries=0), answers=folder / "a.jsonl", say=print)


def openai(server: Server, folder: Path) -> Any:
    options = OpenAI.Options(model="gpt-test", base_url=server.openai_url, canaries=0)
    return OpenAI(None, options, answers=folder / "a.jsonl", say=print)


def reviseval(server: Server, folder: Path) -> Any:
    def revised(body: dict[str, Any]) -> dict[str, Any]:
        revises = "<guide-" in body["messages"][0]["content"]
        return {"revised": "as good as it gets"} if revises else good(body)

    server.answer = revised
    return RevisEval(None, RevisEval.Options(canaries=0), answers=folder / "a.jsonl", say=print)


def reward_model(server: Server, folder: Path) -> Any:
    backbone = tiny_backbone()
    backbone.add_adapter("heldout", LORA)
    stir(backbone, "heldout")
    head = ScalarHead(backbone.hidden_size, generator=torch.Generator().manual_seed(0))
    judge = RewardModelJudge()
    judge.use_reward_model(RewardModel(backbone, "heldout", head, "sequence"))
    return judge


def ranked(body: dict[str, Any]) -> str:
    """What the prompt of alpaca_eval_gpt4 asks for: the models' names with their ranks."""
    prompt = body["messages"][-1]["content"]
    first, second = re.findall(r'"answer": """(.*?)"""', prompt, re.DOTALL)
    ranks = (1, 2) if first.startswith("good") or second.startswith("bad") else (2, 1)
    return str([{"model": f"model_{i}", "rank": rank} for i, rank in enumerate(ranks, 1)])


def alpaca_eval(server: Server, folder: Path) -> Any:
    server.answer = ranked
    options = AlpacaEvalOptions(
        annotators_config="alpaca_eval_gpt4", base_url=server.openai_url, canaries=0, orders="both"
    )
    return AlpacaEval(None, options, answers=folder / "a.jsonl", say=print)


def human(server: Server, folder: Path) -> Any:
    """Somebody who is for the first of two in every pair."""
    rows = [
        {"prompt": q, "output_1": r, "output_2": o, "preference": None}
        for q, o, r in zip(PROMPTS, OUTPUTS, REFERENCES, strict=True)
    ]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    study = Study(folder / "study.db", create=True)
    study.add(folder / "pairs.jsonl", "prefer")
    person = study.person()
    assert person is not None
    while given := study.next(person, "prefer"):
        study.save(person, given.item.id, {"kind": "prefer", "choice": "a"}, seconds=1)
    return HumanJudge(None, HumanJudge.Options(db=str(folder / "study.db")))


ASKED: dict[str, Callable[[Server, Path], Any]] = {
    "alpaca_eval": alpaca_eval,
    "claude": claude,
    "human": human,
    "openai": openai,
    "replay": replayed,
    "reviseval": reviseval,
    "reward_model": reward_model,
}


def test_every_registered_judge_is_checked_here() -> None:
    assert {*ASKED, "gold"} == set(JUDGES.names())


@pytest.mark.parametrize("name", ASKED)
def test_every_judge_conforms(name: str, server: Server, tmp_path: Path) -> None:
    server.answer = good
    judge = ASKED[name](server, tmp_path)
    check_judge(judge, PROMPTS, OUTPUTS, REFERENCES)
    if name != "replay":
        check_ties(judge, PROMPTS, OUTPUTS)


def test_the_gold_judge_conforms() -> None:
    suite = Testbed()
    prompts = suite.prompts("test", 6, 0)
    references = suite.references(prompts)
    check_judge(Gold(suite), prompts, ["Blah."] * 6, references)
    check_ties(Gold(suite), prompts, references)


class Leaky(Testbed):
    def prompts(self, split: str, n: int, seed: int) -> list[str]:
        return super().prompts("validation" if split == "test" else split, n, seed)


class Moody(Testbed):
    def prompts(self, split: str, n: int, seed: int) -> list[str]:
        return [f"{text} {random.random()}" for text in super().prompts(split, n, seed)]


class Again(Testbed):
    def prompts(self, split: str, n: int, seed: int) -> list[str]:
        found = super().prompts(split, n, seed)
        return [*found[:-1], found[0]] if split == "ppo" else found


class Seeded(Testbed):
    def prompts(self, split: str, n: int, seed: int) -> list[str]:
        return [f"{text} {seed}" for text in super().prompts(split, n, seed)]


class Counting(Testbed):
    def references(self, prompts: list[str]) -> list[str]:
        return [f"{i} {text}" for i, text in enumerate(prompts)]


class Endless(Testbed):
    def score(self, prompt: str, response: str) -> float:
        return float("nan")


class Outside(Testbed):
    def spans(self, prompt: str, response: str) -> list[Span]:
        return [Span(start=0, end=len(response) + 1, kind="all")]


class Undeclared(Testbed):
    measures = Testbed.measures[1:]


class Bare(Testbed):
    prompt_template = "nothing"


class Short(Testbed):
    def demonstrations(self, n: int, seed: int) -> list[tuple[str, str]]:
        return super().demonstrations(n - 1, seed)


class Unlike(Testbed):
    def prompts(self, split: str, n: int) -> list[str]:  # type: ignore[override]
        return []


@pytest.mark.parametrize(
    ("suite", "said"),
    [
        (Leaky, "splits 'validation' and 'test' share"),
        (Moody, r"prompts\('preference'\) differ between two calls with one seed"),
        (Again, r"prompts\('ppo'\) hold a prompt twice"),
        (Seeded, r"prompts\('validation'\) depend on the seed"),
        (Counting, "a reference depends on more than its prompt"),
        (Endless, "a gold score is not finite"),
        (Outside, "spans overlap, or lie outside"),
        (Undeclared, "measure gives .* declared:"),
        (Bare, "prompt_template lacks {prompt}"),
        (Short, "are not 8 pairs of texts"),
        (Unlike, r"prompts does not take \(split, n, seed\)"),
    ],
)
def test_what_a_suite_breaks_is_named(suite: type[Testbed], said: str) -> None:
    with pytest.raises(AssertionError, match=f"^suite 'testbed': .*{said}"):
        check_suite(suite())


class Astray(Filed):
    def edits(self) -> list[Edit]:
        return [edit.model_copy(update={"original": "?"}) for edit in super().edits()]


class Twice(Filed):
    def pairs(self, split: str, n: int, seed: int) -> list[Any]:
        return super().pairs("preference", n, seed)


@pytest.mark.parametrize(
    ("suite", "said"),
    [
        (Astray, "an edit joins no pair: field original"),
        (Twice, "a prompt is held out and trained on: 'Tell preference 0.'"),
    ],
)
def test_what_a_suite_of_files_breaks_is_named(
    suite: type[Filed], said: str, tmp_path: Path
) -> None:
    write_files(tmp_path / "files")
    with pytest.raises(AssertionError, match=f"^suite 'filed': .*{said}"):
        check_suite(suite(FiledOptions(folder=str(tmp_path / "files"))))


def paying(change: Callable[[Tensor, Tensor], Tensor]) -> GoldPPO:
    class Odd(GoldPPO):
        name = "odd"

        def rewards(self, paid: Tensor, mask: Tensor) -> Tensor:
            return change(paid, mask)

    return Odd(GoldPPO.Options())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda paid, mask: paid + 1, "pays 1 at padding"),
        (lambda paid, mask: paid / 0, "paid NaN or infinity|pays nan at padding"),
        (lambda paid, mask: paid.clamp(-0.5, 0.5), "rewards are not linear"),
        (lambda paid, mask: (paid - paid[mask].mean()) * mask, "depend on other rows"),
        (lambda paid, mask: paid * paid[:1].sum(), "depend on other rows"),
        (lambda paid, mask: paid.mul_(0.5), "changes its arguments in place"),
        (lambda paid, mask: paid.sum(1), "must be floats .* of the mask's shape"),
    ],
)
def test_what_a_method_breaks_is_named(
    change: Callable[[Tensor, Tensor], Tensor], said: str
) -> None:
    with pytest.raises(AssertionError, match=f"^method 'odd': .*({said})"):
        check_method(paying(change))


def test_a_method_may_say_that_it_is_not_linear() -> None:
    check_method(paying(lambda paid, mask: paid.clamp(-0.5, 0.5)), linear=False)


def test_a_method_that_takes_the_kl_itself_is_named() -> None:
    class WithKL(GoldPPO):
        def rewards(self, paid: Tensor, mask: Tensor, kl: Tensor | None = None) -> Tensor:
            return paid

    with pytest.raises(AssertionError, match=r"rewards takes .*'kl'.*, not \(paid, mask\)"):
        check_method(WithKL(GoldPPO.Options()))


def test_a_method_without_ppo_has_no_rewards() -> None:
    class Idle(SFT):
        def rewards(self, paid: Tensor, mask: Tensor) -> Tensor:
            return paid

    with pytest.raises(
        AssertionError, match="method 'sft': rewards is there, and plan pays nothing"
    ):
        check_method(Idle(SFT.Options()))


def judging(change: Callable[[list[Verdict]], list[Verdict]], **about: Any) -> Any:
    class Odd(Gold):
        name = "odd"

        def compare(self, *columns: list[str]) -> list[Verdict]:
            return change(super().compare(*columns))

        def about(self) -> dict[str, Any]:
            return {"cost_usd": 0.0, **about}

    return Odd(Testbed())


def marked(verdict: Verdict, **fields: Any) -> Verdict:
    return dataclasses.replace(verdict, **fields)


@pytest.mark.parametrize(
    ("judge", "said"),
    [
        (judging(lambda found: found[1:]), "5 verdicts of 6 instructions"),
        (judging(lambda found: [marked(v, preference=3) for v in found]), "a preference of 3"),
        (judging(lambda found: [marked(v, preference=None) for v in found]), "with None"),
        (
            judging(lambda found: [marked(found[0], score=0.5), *found[1:]]),
            "depends on the order of the instructions",
        ),
        (
            judging(lambda found: [marked(v, score=random.random()) for v in found]),
            "compare differs between two calls",
        ),
        (judging(lambda found: found, cost_usd=-1.0), "cost_usd is -1.0"),
        (judging(lambda found: found, marks=[{"what": "x"}]), "cannot be recorded"),
        (judging(lambda found: found, date=Path()), "cannot be recorded"),
    ],
)
def test_what_a_judge_breaks_is_named(judge: Any, said: str) -> None:
    suite = Testbed()
    prompts = suite.prompts("test", 6, 0)
    with pytest.raises(AssertionError, match=f"^judge 'odd': .*{said}"):
        check_judge(judge, prompts, ["Blah."] * 6, suite.references(prompts))


def test_a_judge_that_prefers_one_of_two_equal_texts_is_named() -> None:
    suite = Testbed()
    prompts = suite.prompts("test", 2, 0)
    odd = judging(lambda found: [marked(v, preference=2.0, status="ok") for v in found])
    with pytest.raises(AssertionError, match="judge 'odd': output and reference are one text to"):
        check_ties(odd, prompts, suite.references(prompts))


def test_the_checks_need_no_test_framework() -> None:
    import subprocess

    code = (
        "import sys; sys.modules['pytest'] = None; from bench.testing import check_suite;"
        "from bench.suites.testbed.suite import Testbed; check_suite(Testbed())"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
