"""The doctor: a healthy model passes, and each illness is found by its own check."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from typer.testing import CliRunner

from bench import doctor
from bench.cli import app
from bench.config.run import PPOConfig, RunConfig, SFTConfig
from bench.doctor import machine, subject
from bench.doctor.findings import Finding
from bench.models import rollout
from bench.models.backbone import Backbone
from bench.models.heads import RewardModel
from bench.models.layout import Padded
from bench.models.names import POLICY
from bench.models.sequences import Sequences
from bench.models.tokens import Tokens
from bench.suites.testbed.suite import Testbed
from bench.training.ppo import PPO
from tests.tiny import LORA, stir, tiny_backbone

SMALL = RunConfig(lora=LORA, ppo=PPOConfig(max_new_tokens=8, lr=1e-2))
Patch = pytest.MonkeyPatch


def examine(
    tmp_path: Path, backbone: Backbone | None = None, config: RunConfig = SMALL
) -> dict[str, Finding]:
    whom = subject.Subject(config, backbone or tiny_backbone(), Testbed())
    return {finding.name: finding for finding in doctor.examine(whom, tmp_path, lambda _: None)}


def test_the_first_ratio_is_1_to_the_bit_at_equal_shape_only(tmp_path: Path) -> None:
    """What the finding says: one batch twice is the same; its rows in other batches are near."""
    whom = subject.Subject(SMALL, tiny_backbone(), Testbed())
    batch, near = whom.level, []
    assert torch.equal(*(whom.backbone.logprobs(batch, subject.PROBE) for _ in range(2)))
    whole = whom.backbone.logprobs(batch, subject.PROBE).detach()
    for i in range(len(batch)):
        alone = whom.backbone.logprobs(batch.rows([i]), subject.PROBE)[0].detach()
        near.append(float((alone - whole[i, : len(alone)]).abs().max()))
    assert 0 < max(near) < 1e-4
    assert "0 in batches of equal shape only" in doctor.first_step.ratio(whom).measured


def failed(findings: dict[str, Finding]) -> set[str]:
    return {name for name, finding in findings.items() if finding.status == "FAIL"}


def test_a_healthy_model_passes(tmp_path: Path) -> None:
    findings = examine(tmp_path)
    unwell = {name: f.measured for name, f in findings.items() if f.status != "pass"}
    assert set(unwell) == {"ending"}, unwell  # random weights hardly ever draw EOS
    assert "0 of 8" in unwell["ending"]


def test_the_disk_must_hold_the_checkpoints_of_full_sft(tmp_path: Path) -> None:
    """The base in float32 and six numbers a weight; without full SFT only PPO's adapters."""
    backbone = tiny_backbone()
    weights = sum(p.numel() for p in backbone.model.parameters())
    needed = {}
    for full in (True, False):
        config = SMALL.model_copy(update={"sft": SFTConfig(full=full)})
        whom = subject.Subject(config, backbone, Testbed())
        needed[full] = whom, machine.disk(whom, tmp_path).measured.split(" GiB")[0]
    assert needed[True][1] == f"a run stores about {28 * weights / 2**30:.2g}"
    adapter = sum(p.nbytes for p in needed[False][0].backbone.parameters(subject.PROBE))
    assert needed[False][1] == f"a run stores about {(4 * weights + 19 * adapter) / 2**30:.2g}"
    assert needed[True][1] != needed[False][1]


class RewardsOfTheBatch(RewardModel):
    def token_scores(self, batch: Sequences) -> Tensor:
        scores = super().token_scores(batch)
        return scores - scores.mean()


class RewardsOfTheColumn(RewardModel):
    def outputs(self, batch: Sequences, read: Tensor | None = None) -> Tensor:
        return super().outputs(batch, read) * (1 + 0.1 * batch.prompt_width)


class Swallows(PPO):
    """Keeps the last micro-batch of a minibatch only."""

    def update(self, experience: Any, *, policy: bool) -> dict[str, float]:
        if self.config.microbatch_size is not None:
            experience = experience.rows(torch.arange(-self.config.microbatch_size, 0))
        return super().update(experience, policy=policy)


class OtherTemperature(PPO):
    def experience(self, *args: Any) -> tuple[Any, dict[str, float]]:
        experience, row = super().experience(*args)
        return replace(experience, logprobs=1.01 * experience.logprobs), row


class NotTheReference(PPO):
    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        stir(self.backbone, POLICY)


class TrainsTheReference(PPO):
    """Moves a weight of the base at every update; the next trainer finds it as it was."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.weight = next(p for n, p in self.backbone.model.named_parameters() if "norm" in n)
        self.weight.fill_(1.0)

    @torch.no_grad()
    def _move(self) -> None:
        self.weight.mul_(1.5)

    def update(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        row = super().update(*args, **kwargs)
        self._move()
        return row


class LearnsNothing(PPO):
    def update(self, experience: Any, *, policy: bool) -> dict[str, float]:
        before = [p.detach().clone() for p in self.backbone.parameters(POLICY)]
        row = super().update(experience, policy=policy)
        with torch.no_grad():
            for parameter, value in zip(self.backbone.parameters(POLICY), before, strict=True):
                parameter.copy_(value)
        return row


class AllFinished(PPO):
    def rollout(self) -> Any:
        drawn = super().rollout()
        return replace(drawn, finished=torch.ones_like(drawn.finished))


def masks_by_id(tokens: Tokens, *rows: list[list[int]]) -> Sequences:
    batch = JOIN(tokens, *rows)
    return replace(batch, mask=batch.mask & (batch.responses != tokens.pad_id))


def skips_eos(backbone: Backbone, batch: Sequences, *args: Any) -> Tensor:
    return LOGPROBS(backbone, batch, *args) * (batch.responses != backbone.tokens.eos_id)


def own_random_numbers(logits: Tensor, temperature: float, numbers: Tensor) -> Any:
    own = torch.Generator().manual_seed(torch.seed())
    return DRAW(logits, temperature, torch.rand(len(numbers), generator=own, dtype=torch.float64))


JOIN, LOGPROBS, DRAW = Tokens.join, Backbone.logprobs, rollout.draw
ILLNESSES: list[tuple[str, object, str, object]] = [
    ("batch size", subject, "RewardModel", RewardsOfTheBatch),
    ("padding", subject, "RewardModel", RewardsOfTheColumn),
    ("accumulation", subject, "PPO", Swallows),
    ("ratio", subject, "PPO", OtherTemperature),
    ("KL", subject, "PPO", NotTheReference),
    ("reference", subject, "PPO", TrainsTheReference),
    ("reference", subject, "PPO", LearnsNothing),
    ("determinism", rollout, "draw", own_random_numbers),
    ("EOS", subject, "PPO", AllFinished),
    ("EOS", Tokens, "join", masks_by_id),
    ("EOS", Backbone, "logprobs", skips_eos),
    ("memory", machine, "memory_there", lambda subject: 1000),
    ("disk", machine.shutil, "disk_usage", lambda place: SimpleNamespace(free=1000)),
]


@pytest.mark.parametrize(
    ("check", "owner", "name", "illness"),
    ILLNESSES,
    ids=[f"{check}-{getattr(illness, '__name__', name)}" for check, _, name, illness in ILLNESSES],
)
def test_an_illness_is_found_by_its_check_alone(
    tmp_path: Path, monkeypatch: Patch, check: str, owner: object, name: str, illness: object
) -> None:
    monkeypatch.setattr(owner, name, illness)
    findings = examine(tmp_path)
    assert failed(findings) == {check}, [f.line(12) for f in findings.values()]
    assert findings[check].remedy


def test_an_attention_that_ignores_the_mask_is_found(tmp_path: Path) -> None:
    """Left padding leaks into everything that is computed in padded batches of other widths."""
    backbone = tiny_backbone()
    backbone.lay_out = Padded  # a packed batch has no padding that could leak
    decoder = backbone.model.model
    forward = decoder.forward

    def all_ones(attention_mask: Tensor, **kwargs: Any) -> Any:
        return forward(attention_mask=torch.ones_like(attention_mask), **kwargs)

    decoder.forward = all_ones
    findings = examine(tmp_path, backbone)
    assert "padding" in failed(findings)
    assert not failed(findings) & {"repetition", "batch size", "reference", "determinism"}


def test_dropout_is_found(tmp_path: Path) -> None:
    backbone = tiny_backbone()
    backbone.model.model.norm.register_forward_hook(
        lambda module, args, output: torch.nn.functional.dropout(output, 0.1, training=True)
    )
    findings = examine(tmp_path, backbone)
    assert {"repetition", "batch size", "ratio", "KL"} <= failed(findings)
    assert "dropout" in findings["repetition"].remedy
    assert findings["determinism"].status == "pass"  # PyTorch's generator is seeded


def test_a_template_without_the_prompt_is_found(tmp_path: Path) -> None:
    backbone = tiny_backbone()
    backbone.tokens.template = "<|user|>Go.<|assistant|>"
    findings = examine(tmp_path, backbone)
    assert failed(findings) == {"template"}
    assert "lacks {prompt}" in findings["template"].remedy


def cut_joins(backbone: Backbone) -> None:
    backbone.tokens.template = "{prompt} "  # the space belongs to the response's first token


def lost_text(backbone: Backbone) -> None:
    backbone.tokens.text = lambda ids: "something else"  # type: ignore[method-assign]


def other_chat(backbone: Backbone) -> None:
    backbone.tokens.tokenizer.chat_template = "{{ 'User: ' + messages[0]['content'] }}"


def two_bos(backbone: Backbone) -> None:
    tokenizer = backbone.tokens.tokenizer
    tokenizer.bos_token = "<|user|>"
    backbone.tokens.template = "<|user|><|user|>{prompt}<|assistant|>"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (cut_joins, "inside a token"),
        (lost_text, "do not survive"),
        (other_chat, "has a chat template"),
        (two_bos, "BOS twice"),
    ],
)
def test_a_doubtful_template_is_a_warning(change: Callable[[Backbone], None], said: str) -> None:
    backbone = tiny_backbone()
    change(backbone)
    finding = doctor.text.template(subject.Subject(SMALL, backbone, Testbed()))
    assert finding.status == "warn"
    assert said in finding.remedy


def test_bfloat16_passes_within_its_own_tolerance_and_is_slow_on_a_cpu(tmp_path: Path) -> None:
    backbone = tiny_backbone()
    backbone.model.to(torch.bfloat16)
    findings = examine(tmp_path, backbone)
    assert failed(findings) == set(), [f.line(12) for f in findings.values()]
    assert findings["speed"].status == "warn"
    assert "(0.25)" in findings["batch size"].measured


@pytest.mark.parametrize(
    ("new", "rope", "status", "said"),
    [
        (80, None, "pass", "128 there"),
        (120, None, "FAIL", "ppo.max_new_tokens=120 it does not fit the model's 128 positions"),
        (80, "dynamic", "pass", "dynamic rope: behind them a row depends on the others"),
        (120, "dynamic", "FAIL", "its dynamic rope changes a row beside a longer one"),
    ],
)
def test_what_does_not_fit_the_context_is_found(
    new: int, rope: str | None, status: str, said: str
) -> None:
    backbone = tiny_backbone()
    if rope:
        backbone.model.config.rope_parameters["rope_type"] = rope
    config = SMALL.model_copy(update={"ppo": PPOConfig(max_new_tokens=new)})
    finding = doctor.text.context(subject.Subject(config, backbone, Testbed()))
    assert finding.status == status
    assert said in finding.measured + finding.remedy


def test_memory_is_said_by_stage_and_part() -> None:
    whom = subject.Subject(SMALL, tiny_backbone(), Testbed())
    finding = machine.memory(whom)
    assert finding.status == "pass"
    assert [part.split()[0] for part in finding.measured.split("in GiB, ")[1].split("; ")] == [
        "sft", "samples", "reward_model", "rm_evaluation", "ppo", "outputs", "judgement",
    ]  # fmt: skip
    assert "optimiser" in finding.measured


@pytest.mark.parametrize("stage", ["sft", "reward_model"])
def test_a_batch_of_4096_fails_with_the_setting_that_helps(monkeypatch: Patch, stage: str) -> None:
    config = SMALL.model_copy(
        update={stage: getattr(SMALL, stage).model_copy(update={"batch_size": 4096})}
    )
    monkeypatch.setattr(machine, "memory_there", lambda subject: 2**28)
    finding = machine.memory(subject.Subject(config, tiny_backbone(), Testbed()))
    assert finding.status == "FAIL"
    assert f"{stage} is too large: set {stage}.microbatch_size=" in finding.remedy


@pytest.mark.parametrize(("there", "status"), [(0.9, "FAIL"), (1.1, "warn"), (1.3, "pass")])
def test_memory_that_is_nearly_full_is_a_warning(
    monkeypatch: Patch, there: float, status: str
) -> None:
    whom = subject.Subject(SMALL, tiny_backbone(), Testbed())
    counter = machine.memory_counter(whom)
    needed = max(counter.stage(name).total for name in machine.PPO_RUN)
    monkeypatch.setattr(machine, "memory_there", lambda subject: there * needed)
    assert machine.memory(whom).status == status


def test_a_crash_is_a_failure_and_the_others_run(tmp_path: Path, monkeypatch: Patch) -> None:
    def crash(subject: object) -> None:
        raise RuntimeError("no\nsuch kernel")

    monkeypatch.setattr(doctor.invariance, "padding", crash)
    findings = examine(tmp_path)
    assert failed(findings) == {"padding"}
    assert findings["padding"].measured == "crashed: RuntimeError: no such kernel"
    assert len(findings) == 15


def bench(tmp_path: Path, *arguments: str) -> Any:
    return CliRunner().invoke(app, ["doctor", "--store", str(tmp_path / "store"), *arguments])


def test_the_testbeds_own_base_passes(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    result = bench(tmp_path, "--json", str(report))
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert [line.split()[0] for line in lines if not line.startswith(" ")].count("pass") >= 13
    told = [line for line in result.stderr.splitlines() if line.startswith("doctor: ")]
    assert told[:2] == ["doctor: loading the model", "doctor: repetition (1 of 15)"]
    assert told[-1] == "doctor: speed (15 of 15)"
    document = json.loads(report.read_text())
    assert document["ok"]
    assert [one["name"] for one in document["checks"]][:3] == [
        "repetition",
        "batch size",
        "padding",
    ]
    assert document["config"]["ppo"]["max_new_tokens"] == 80
    assert not (tmp_path / "store").exists()


def test_a_failed_check_ends_with_1(tmp_path: Path, monkeypatch: Patch) -> None:
    monkeypatch.setattr(machine, "memory_there", lambda subject: 1000)
    report = tmp_path / "report.json"
    result = bench(tmp_path, "--set", "ppo.max_new_tokens=4", "--json", str(report))
    assert result.exit_code == 1
    assert "doctor: 1 of 15 checks failed: memory" in result.stderr
    assert "FAIL  memory" in result.stdout
    assert not json.loads(report.read_text())["ok"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--suite", "testbet"], "unknown suite 'testbet'; did you mean"),
        (["--set", "ppo.lrr=1"], "did you mean ppo.lr?"),
        (["--set", "model.path=/no/such/model"], "cannot load the model /no/such/model"),
        (["--json", "/dev/null/report.json"], "cannot write --json /dev/null/report.json"),
    ],
)
def test_a_mistake_ends_with_2(tmp_path: Path, arguments: list[str], said: str) -> None:
    result = bench(tmp_path, *arguments)
    assert result.exit_code == 2, result.output
    assert said in result.stderr
    assert result.stdout == ""
