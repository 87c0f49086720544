"""What every stage that trains the policy has: checkpoints, validations, the curve, the adapter."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.models.heads import RewardModel
from bench.models.names import HELDOUT, POLICY, VALUE
from bench.stages.matched import MatchedCheckpoint
from bench.stages.sft import load_sft
from bench.stages.validating import NOT_CHOSEN, validator
from bench.training.checkpoints import Checkpoints

if TYPE_CHECKING:
    from bench.models.backbone import Backbone
    from bench.pipeline.stage import Context
    from bench.plugins.protocols import Algorithm
    from bench.stages.chosen import ChosenValidation

_SCORE = "validation_score"  # what chose the checkpoint, in a row of the curve


class PolicyTraining:
    """The SFT model of a stage that trains adapter "policy" on it.

    Args:
        context: of the stage.
        inputs: its inputs' folders, SFT first.
        validation: who chooses the checkpoint.

    Attributes:
        backbone: the SFT model.
        inputs: the folders that are the algorithm's own: neither SFT nor the held-out model.
    """

    def __init__(self, context: Context, inputs: list[Path], validation: ChosenValidation) -> None:
        self.context, self.validation = context, validation
        self.backbone: Backbone = load_sft(context, inputs[0])
        self._there = self.backbone.adapters
        self._heldout: RewardModel | None = None
        self.inputs = inputs[1:]
        if validation.held_out:  # before the trainer makes its own adapters
            *self.inputs, folder = self.inputs
            self._heldout = RewardModel.load(self.backbone, HELDOUT, folder)

    def run(
        self, trainer: Algorithm, out: Path, *, name: str, steps: int, kl: bool = False
    ) -> dict[str, Any]:
        """Train to the end, from a checkpoint if there is one; write the adapter and its curve.

        Beside the adapter stands the value function, if the trainer has one to save, and the
        checkpoint at `evaluation.matched_kl`, if one is asked for.

        Args:
            trainer: of the policy.
            out: the stage's folder.
            name: of the algorithm, for the progress.
            steps: how many the trainer takes.
            kl: whether a validation measures the distance from the SFT model.

        Returns:
            Statistics: "tokens", "steps", "best_step", perhaps "matched_step".
        """
        checkpoints, curve = Checkpoints(out, self.context.progress.say), self.context.curve()
        state = checkpoints.read()
        if state:
            trainer.restore(state)
            for row in state["rows"]:
                curve.add(row)
        rows, matched = curve.rows, self._matched(steps, state)
        # The seconds of an interrupted run go on where its last row stood.
        began = time.perf_counter() - (rows[-1]["seconds"] if rows else 0.0)
        with self.context.progress.task(name.upper(), total=steps) as task:
            task.advance(max(0, len(rows) - 1))

            def on_row(row: dict[str, float]) -> None:
                row = {k: x for k, x in row.items() if not (k == _SCORE and x == NOT_CHOSEN)}
                curve.add(row | {"seconds": round(time.perf_counter() - began, 2)})
                if matched is not None:
                    matched.look(row)
                task.advance(int(row["step"] > 0), note=_note(row))

            def on_checkpoint(state: dict[str, Any]) -> None:
                kept = None if matched is None else matched.state()
                checkpoints.write(state | {"rows": rows, "matched": kept})

            best = trainer.run(self._validator(kl=kl), on_row, on_checkpoint)
        self.backbone.save_adapter(POLICY, out / "policy")
        if (save_value := getattr(trainer, "save_value", None)) is not None:
            save_value(out / VALUE)
        if matched is not None:  # last: the policy has its weights from here on
            matched.save(out)
        curve.write(out)
        for adapter in self.backbone.adapters - self._there:
            self.backbone.drop_adapter(adapter)
        stats = {"tokens": trainer.tokens, "steps": steps, "best_step": best.step}
        return stats if matched is None else stats | {"matched_step": matched.step}

    def _matched(self, steps: int, state: dict[str, Any] | None) -> MatchedCheckpoint | None:
        kl = self.context.config.evaluation.matched_kl
        if kl is None:
            return None
        return MatchedCheckpoint(self.backbone, kl, steps, (state or {}).get("matched"))

    def _validator(self, *, kl: bool) -> Callable[[], dict[str, float]]:
        make = self.validation.make_judge
        judge = None if make is None else make(self.context)
        return validator(self.context, self.backbone, judge, self._heldout, kl=kl)


def _note(row: dict[str, float]) -> str:
    """What of a row the progress shows, of what the algorithm measures."""
    shown = (
        ("kl", "kl", 1),
        ("reward", "reward", 2),
        ("loss", "loss", 3),
        ("accuracy", "accuracy", 2),
        ("validation_gold", "gold", 2),
    )
    return " ".join(f"{word} {row[key]:.{n}f}" for key, word, n in shown if key in row)
