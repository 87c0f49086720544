"""Training the policy on given responses by a named loss: nothing is drawn, nothing is paid."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from bench.models.backbone import Backbone
from bench.models.names import POLICY
from bench.models.sequences import microbatches
from bench.plugins.targets import import_target
from bench.training.best import Best
from bench.training.comparisons import Group, check_sizes, joined, share_in_order
from bench.training.offline_losses import Compared
from bench.training.optimisation import Descent, Measured, finite, generator, set_values

if TYPE_CHECKING:
    from bench.config.run import LoRAConfig, OfflineConfig
    from bench.plugins.protocols import OfflineLoss, TrainingInputs


class Offline:
    """Trains adapter "policy" on groups of responses.

    Args:
        backbone: the SFT model; the reference is its base, adapters off.
        groups: responses to a prompt each, the best first.
        loss: what is learned of them.
        config: budget and learning rate, the same for every loss.
        lora: shape of the policy's adapter.
        seed: source of the adapter's weights and of the order.

    Attributes:
        steps: optimiser steps in all.

    Raises:
        UserError: there is no group, or they are not of one size that the loss takes.
    """

    def __init__(
        self,
        backbone: Backbone,
        groups: Sequence[Group],
        loss: OfflineLoss,
        config: OfflineConfig,
        lora: LoRAConfig,
        seed: int,
    ) -> None:
        check_sizes(groups, f"the policy with {type(loss).__name__}", ranks=loss.ranks)
        self.backbone, self.groups, self.loss, self.config = backbone, groups, loss, config
        torch.manual_seed(seed)  # PEFT draws a new adapter's weights from the global generator
        backbone.add_adapter(POLICY, lora)
        self.parameters = backbone.parameters(POLICY)
        self.steps = config.epochs * -(-len(groups) // config.batch_size)
        self.descent = Descent(
            self.parameters,
            lr=config.lr,
            lr_schedule=config.lr_schedule,
            warmup=config.warmup,
            steps=self.steps,
            max_grad_norm=config.max_grad_norm,
            rng=generator("offline", seed),
        )
        self.best = Best()

    @property
    def tokens(self) -> int:
        """Response tokens that training has seen so far, those of every pass counted."""
        return self.descent.tokens

    def run(
        self,
        validate: Callable[[], dict[str, float]],
        on_row: Callable[[dict[str, float]], None],
        on_checkpoint: Callable[[dict[str, Any]], None] = lambda state: None,
    ) -> Best:
        """Train to the end; the policy ends as the best checkpoint (see `Algorithm.run`).

        Raises:
            Diverged: if the loss is not finite.
        """
        descent, every = self.descent, self.config.eval_every
        if self.best.weights is None:  # a run that goes on has been validated before
            on_row({"step": 0, **self.best.look(validate(), 0, self.parameters)})
        lengths = [group.length for group in self.groups]
        for index in descent.batches(lengths, self.config.batch_size):
            row = self.step([self.groups[i] for i in index])
            due = descent.done % every == 0 or descent.done == self.steps
            if due:
                row |= self.best.look(validate(), descent.done, self.parameters)
            on_row({"step": descent.done, **row})
            if due:
                on_checkpoint(self.state())
        set_values(self.parameters, self.best.weights or [])
        return self.best

    def step(self, groups: Sequence[Group]) -> dict[str, float]:
        """One optimiser step on these groups; returns what was measured before it."""
        lr = self.descent.lr
        parts = microbatches([group.length for group in groups], self.config.microbatch_size)
        measured = self.descent.step(parts, self._measure(groups))
        self.descent.tokens += sum(len(x) for group in groups for x in group.responses)
        return measured | {"lr": lr, "tokens": self.tokens}

    def _measure(self, groups: Sequence[Group]) -> Callable[[list[int]], tuple[Tensor, Measured]]:
        """A micro-batch's part of the batch's mean loss, and of what is logged of it."""
        whole, pairs = self.loss.weight(groups), sum(group.pairs for group in groups)

        def measure(index: list[int]) -> tuple[Tensor, Measured]:
            part = [groups[i] for i in index]
            compared = self.compare(part)
            loss = finite(self.loss.loss(compared), "the policy's loss")
            loss = loss * (self.loss.weight(part) / whole)
            likelihoods = compared.means.detach().sum(dim=0).double() / len(groups)
            measured = {"loss": loss.detach(), "best_logprob": likelihoods[0]}
            if pairs == 0:  # single responses: nothing to be in order
                return loss, measured
            # In float64, so that the parts of 100 % add up to it.
            accuracy = share_in_order(compared.preferences.detach(), part).double()
            accuracy *= sum(group.pairs for group in part) / pairs
            return loss, measured | {"accuracy": accuracy, "worst_logprob": likelihoods[-1]}

        return measure

    def compare(self, groups: Sequence[Group]) -> Compared:
        """What policy and reference say of the groups, as far as the loss reads it."""
        backbone = self.backbone
        batch = joined(backbone.tokens, groups).to(backbone.device)
        if self.loss.reads == "distributions":
            logprobs, reference, kl = backbone.logprobs_and_kl(batch, POLICY)
            return Compared(logprobs, batch.mask, groups, reference, kl)
        logprobs = backbone.logprobs(batch, POLICY)
        if self.loss.reads == "policy":
            return Compared(logprobs, batch.mask, groups)
        with torch.no_grad():
            return Compared(logprobs, batch.mask, groups, backbone.logprobs(batch, None))

    def state(self) -> dict[str, Any]:
        """Everything that `restore` needs to go on exactly here."""
        return {"descent": self.descent.state(), "best": vars(self.best)}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from `state`; the numbers that follow are those of an uninterrupted run."""
        self.descent.restore(state["descent"])
        self.best = Best(**state["best"])


def make_offline(inputs: TrainingInputs) -> Offline:
    """The algorithm "offline" of the registry; its options are an `OfflineConfig`.

    Raises:
        ValueError: the plan named no loss.
    """
    if inputs.loss is None:
        raise ValueError("the algorithm offline is planned with a loss (`stages.offline`)")
    target, options = inputs.loss
    loss: OfflineLoss = import_target(target)(**options)
    return Offline(inputs.backbone, inputs.groups, loss, inputs.options, inputs.lora, inputs.seed)
