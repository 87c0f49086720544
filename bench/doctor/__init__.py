"""`python -m bench doctor`: does what the numbers rest on hold, on this model and this machine?

Every check goes through the code that a run goes through (`Backbone`, `RewardModel`, `PPO`), with
the run's own model, precision, adapters and PPO settings, on eight of the suite's prompts. A check
that crashes has failed; the others still run.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path

from bench.config.loading import load_suite
from bench.config.run import RunConfig
from bench.doctor import engine, first_step, invariance, machine, text
from bench.doctor.findings import Finding
from bench.doctor.subject import Subject
from bench.models.backbone import Backbone
from bench.pipeline.store import Store
from bench.stages.base import with_base
from bench.stages.planning import Stages
from bench.stages.sft import MODEL

Check = Callable[[Subject], Finding]


def checks(store: Path) -> dict[str, Check]:
    """The checks by name, in the order in which one explains the next.

    Args:
        store: where the run would put its stages.
    """
    return {
        "repetition": invariance.repetition,
        "batch size": invariance.batch_size,
        "padding": invariance.padding,
        "accumulation": invariance.accumulation,
        "ratio": first_step.ratio,
        "KL": first_step.kl,
        "reference": first_step.reference,
        "determinism": first_step.determinism,
        "engine": engine.engine,
        "EOS": text.eos,
        "ending": text.ending,
        "template": text.template,
        "context": text.context,
        "memory": machine.memory,
        "disk": partial(machine.disk, store=store),
        "speed": machine.speed,
    }


def load_subject(config: RunConfig, store: Store | None = None) -> Subject:
    """The base that `config` names, ready to be looked at.

    With another engine it is the run's SFT model where the store has it, since that is what the
    server has to have.

    Args:
        config: of the run.
        store: where a base that is a GGUF file is converted to; None: the default.

    Raises:
        UserError: the suite is unknown, or the model cannot be loaded.
    """
    suite = load_suite(config)
    store = store or Store()
    config = with_base(config, suite, store)
    path = config.model.path or suite.model_path
    if config.ppo.engine != "ours":
        stage = Stages(config, suite).sft()
        if (made := store.find(stage.name, stage.key)) is not None:
            path = str(made.path / MODEL)
    return Subject(config, Backbone.load(path, config.model, suite.prompt_template), suite)


def examine(
    subject: Subject,
    store: Path,
    say: Callable[[Finding], None],
    without: Collection[str] = (),
    doing: Callable[[str], AbstractContextManager[None]] = lambda what: nullcontext(),
) -> list[Finding]:
    """Run every check.

    Args:
        subject: whom.
        store: where the run would put its stages.
        say: called with each finding as it is there.
        without: names of checks that are not run.
        doing: told what is worked at, for as long as it is.
    """
    findings = []
    # Our own decode loop is held against its log-probabilities by "ratio".
    without = {*without, *(("engine",) if subject.config.ppo.engine == "ours" else ())}
    asked = {name: check for name, check in checks(store).items() if name not in without}
    for number, (name, check) in enumerate(asked.items(), 1):
        with doing(f"doctor: {name} ({number} of {len(asked)})"):
            findings.append(replace(_ask(check, subject), name=name))
        say(findings[-1])
    return findings


def _ask(check: Check, subject: Subject) -> Finding:
    try:
        return check(subject)
    except Exception as error:  # noqa: BLE001 - a check that crashes has failed, the next one runs
        what = " ".join(f"{type(error).__name__}: {error}".split())
        return Finding(
            "FAIL",
            f"crashed: {what[:300]}",
            "mend what the message names: a run takes the same path",
        )
