"""The PPO stage: from a reward to the adapter "policy"."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.errors import UserError
from bench.models.heads import RewardModel
from bench.models.names import POLICY, REWARD, VALUE
from bench.models.rollout import Sampling, sample
from bench.stages.sft import demonstrations, load_sft
from bench.stages.token_sources import GoldSource, RewardModelSource, pay_by
from bench.training.checkpoints import Checkpoints
from bench.training.optimisation import generator
from bench.training.ppo import PPO, new_value
from bench.training.sft import fitting

if TYPE_CHECKING:
    from bench.models.backbone import Backbone
    from bench.pipeline.stage import Context
    from bench.plugins.protocols import Judge, Method, TokenSource
    from bench.training.updates import Demonstrations


def build_ppo(
    context: Context,
    out: Path,
    inputs: list[Path],
    method: Method,
    make_judge: Callable[[Context], Judge],
) -> dict[str, Any]:
    """Train the policy; inputs: SFT and, unless the suite's gold score is the reward, its model."""
    config = context.config
    backbone = load_sft(context, inputs[0])
    source, reward_model = _token_source(context, backbone, inputs)
    prompts = context.suite.prompts("ppo", config.ppo.prompts, config.seed)
    trainer = PPO(
        backbone,
        prompts,
        pay_by(source, method),
        new_value(backbone, config.lora, reward_model, config.seed, config.ppo),
        config.ppo,
        config.lora,
        config.seed,
        _demonstrations(context, backbone),
    )
    checkpoints, rows = Checkpoints(out, context.progress.say), []
    if state := checkpoints.read():
        trainer.restore(state)
        rows = state["rows"]
    began = time.perf_counter() - (rows[-1]["seconds"] if rows else 0.0)
    with context.progress.task("PPO", total=config.ppo.steps) as task:
        task.advance(max(0, len(rows) - 1))

        def on_row(row: dict[str, float]) -> None:
            rows.append(row | {"seconds": round(time.perf_counter() - began, 2)})
            task.advance(int(row["step"] > 0), note=_note(row))

        def on_checkpoint(state: dict[str, Any]) -> None:
            checkpoints.write(state | {"rows": rows})

        best = trainer.run(
            _validator(context, backbone, make_judge(context)), on_row, on_checkpoint
        )
    backbone.save_adapter(POLICY, out / "policy")
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (out / "metrics.jsonl").write_text(text)
    for name in (POLICY, VALUE, REWARD):
        backbone.drop_adapter(name)
    stats = {"tokens": trainer.tokens, "steps": config.ppo.steps, "best_step": best.step}
    return stats | backbone.tokens.cut_prompts(prompts)


def _demonstrations(context: Context, backbone: Backbone) -> Demonstrations:
    """What PPO-ptx mixes in: the demonstrations of SFT."""
    if context.config.ppo.ptx_coef == 0:
        return ()
    return fitting(backbone, demonstrations(context), context.config.sft)


def _token_source(
    context: Context, backbone: Backbone, inputs: list[Path]
) -> tuple[TokenSource, RewardModel | None]:
    """What pays the rollouts, and the reward model that the value may start from."""
    if len(inputs) > 1:
        model = RewardModel.load(backbone, REWARD, inputs[1])
        return RewardModelSource(model), model
    return GoldSource(context.suite), None


def _validator(
    context: Context, backbone: Backbone, judge: Judge
) -> Callable[[], dict[str, float]]:
    """Judges the policy on the validation prompts, always with the same random numbers."""
    config = context.config.evaluation
    suite = context.suite
    prompts = suite.prompts("validation", config.validation_prompts, context.config.seed)
    references = suite.references(prompts)
    ids = [backbone.tokens.prompt(text) for text in prompts]
    sampling = Sampling(config.max_new_tokens, config.temperature)

    def validate() -> dict[str, float]:
        rng = generator("validation", config.seed)
        responses = sample(backbone, POLICY, ids, sampling, rng)
        outputs = [backbone.tokens.text(response) for response in responses]
        verdicts = judge.compare(prompts, outputs, references)
        wins = [(v.preference - 1.0) for v in verdicts if v.preference is not None]
        scores = [v.score for v in verdicts if v.score is not None]
        if not wins:
            statuses = ", ".join(sorted({v.status for v in verdicts}))
            raise UserError(f"the judge {judge.name} gave no verdict in validation: {statuses}")
        row = {"win_rate": sum(wins) / len(wins), "length": sum(map(len, responses)) / len(ids)}
        if scores:
            row["gold"] = sum(scores) / len(scores)
        return {"score": row.get("gold", row["win_rate"]), **row}

    return validate


def _note(row: dict[str, float]) -> str:
    gold = f" gold {row['validation_gold']:.2f}" if "validation_gold" in row else ""
    return f"kl {row['kl']:.1f} reward {row['reward']:.2f}{gold}" if "kl" in row else gold.strip()
