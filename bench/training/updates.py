"""PPO's updates: minibatches of a rollout to steps of the policy's and the value's weights."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor

from bench.models import processes
from bench.models.backbone import Backbone
from bench.models.heads import ValueModel
from bench.models.names import POLICY
from bench.models.sequences import microbatches
from bench.rl import (
    kl_estimate,
    masked_mean,
    masked_sum,
    ppo_policy_loss,
    ppo_value_loss,
    ratio_statistics,
)
from bench.training.experience import Experience
from bench.training.optimisation import (
    Measured,
    adamw,
    add_gradients,
    finite,
    rate_factor,
    set_values,
    step,
)

if TYPE_CHECKING:
    from bench.config.run import PPOConfig

T = TypeVar("T")
Demonstrations = Sequence[tuple[list[int], list[int]]]


@dataclass(frozen=True)
class Part:
    """Rows that go through the model together, and what the losses' means divide by.

    Attributes:
        rows: a micro-batch of a minibatch.
        tokens, states: of the whole minibatch, so that micro-batches add up to its mean; with
            `count_padding` both are all its places.
        counted: response tokens of the whole minibatch.
    """

    rows: Experience
    tokens: int
    states: int
    counted: int

    @property
    def token_share(self) -> float:
        """Factor from a mean over these rows' tokens to their part of the minibatch's mean."""
        return int(self.rows.batch.mask.sum()) / self.tokens

    @property
    def state_share(self) -> float:
        """The same for states."""
        return int(self.rows.states.sum()) / self.states


Forward = Callable[[Part], tuple[Tensor, Measured]]


class Learner:
    """The weights that PPO moves, their optimisers, and the two losses.

    Args:
        backbone: the SFT model with adapter "policy".
        value: the value function; on adapter "policy" it shares the policy's trunk; None: there
            is none, and the policy alone learns.
        config: hyperparameters.
        demonstrations: (prompt ids, response ids) for PPO-ptx.
        rng: source of the minibatches' order.

    Raises:
        ValueError: PPO-ptx is asked for without demonstrations.
    """

    def __init__(
        self,
        backbone: Backbone,
        value: ValueModel | None,
        config: PPOConfig,
        demonstrations: Demonstrations,
        rng: torch.Generator,
    ) -> None:
        if config.ptx_coef > 0 and not demonstrations:
            raise ValueError("ppo.ptx_coef is set, but there are no demonstrations")
        self.backbone, self.value, self.config, self.rng = backbone, value, config, rng
        self.demonstrations = demonstrations
        self.shared = value is not None and value.adapter == POLICY
        self.policy_parameters = backbone.parameters(POLICY)
        adam = {"eps": config.adam_eps, "beta2": config.adam_beta2}
        self.policy_optimiser = adamw([(self.policy_parameters, config.lr)], **adam)
        self.value_parameters: list[torch.nn.Parameter] = []
        if value is not None:
            trunk = [] if self.shared else backbone.parameters(value.adapter)
            self.value_parameters = [*trunk, *value.head.parameters()]
        # Without a value there is nothing in it to optimise.
        self.value_optimiser = adamw([(self.value_parameters, config.value_lr)], **adam)

    @property
    def parameters(self) -> list[torch.nn.Parameter]:
        """All weights that move, of the policy and of the value."""
        return [*self.policy_parameters, *self.value_parameters]

    def update(
        self, experience: Experience, *, policy: bool, done: int, kl_coef: float
    ) -> dict[str, float]:
        """Optimise on minibatches of a rollout.

        Args:
            experience: the rollout.
            policy: False: the value alone learns.
            done: policy steps so far, for the learning rates.
            kl_coef: the coefficient now, for `kl_penalty: loss`.

        Returns:
            What was measured, averaged over the minibatches (a maximum stays one).
        """
        self._set_rates(done)
        log = _Log()
        # Once the policy is further than `stop_kl` from the one that drew the tokens it rests until
        # the next rollout; the value is not bounded by it and keeps training to the last epoch.
        learning = policy
        for _ in range(self.config.epochs):
            # A list: value and policy each go through the same minibatches.
            minibatches = [self._parts(experience, i) for i in self._order(experience)]
            if self.shared:
                for parts in minibatches:
                    learning = self._update_both(parts, learning, kl_coef, log)
                continue
            # No weight is shared: the order of value and policy steps does not matter.
            for parts in minibatches if self.value is not None else ():
                self._update_value(parts, log)
            for parts in minibatches:
                learning = learning and self._update_policy(parts, kl_coef, log)
        return log.summary() | (
            {"lr": self.policy_optimiser.param_groups[0]["lr"]} if policy else {}
        )

    def _there(self) -> ValueModel:
        """The value, where there is one."""
        if self.value is None:
            raise RuntimeError("no value function learns here")
        return self.value

    def _set_rates(self, done: int) -> None:
        config = self.config
        ends = config.lr_schedule_steps or config.steps
        factor = rate_factor(config.lr_schedule, done, ends, config.warmup_steps)
        for optimiser, rate in (
            (self.policy_optimiser, self.config.lr),
            (self.value_optimiser, self.config.value_lr),
        ):
            optimiser.param_groups[0]["lr"] = rate * factor

    def _order(self, experience: Experience) -> Iterator[Tensor]:
        """Minibatches of row indices in random order, by number of responses or of tokens."""
        order = torch.randperm(len(experience.batch), generator=self.rng)
        if self.config.minibatch_tokens is None:
            yield from order.split(self.config.minibatch_size)
            return
        lengths = experience.batch.lengths.cpu()[order].tolist()
        yield from order.split(_runs(lengths, self.config.minibatch_tokens))

    def _parts(self, experience: Experience, index: Tensor) -> list[Part]:
        """A minibatch as micro-batches of like length."""
        rows = experience.rows(index)
        # Each micro-batch divides by the minibatch's tokens and not by its own, so that the sum of
        # their gradients is the gradient of the minibatch's mean however it was cut.
        counted = int(rows.batch.mask.sum())
        tokens, states = counted, int(rows.states.sum())
        if self.config.count_padding:
            tokens = states = len(rows.batch) * experience.states.shape[1]
        chunks = microbatches(rows.batch.lengths.tolist(), self.config.microbatch_size)
        if len(chunks) == 1:
            return [Part(rows, tokens, states, counted)]
        return [Part(rows.rows(torch.tensor(chunk)), tokens, states, counted) for chunk in chunks]

    def _update_value(self, parts: list[Part], log: _Log) -> None:
        """One step of the value."""
        value = self._there()

        def forward(part: Part) -> tuple[Tensor, Measured]:
            return self._value_loss(value.states(part.rows.batch), part)

        _add_gradients(parts, forward, "the value loss", log)
        self._step_value(log)

    def _update_policy(self, parts: list[Part], kl_coef: float, log: _Log) -> bool:
        """One step of the policy; False if it is too far from the old one to go on."""

        def forward(part: Part) -> tuple[Tensor, Measured]:
            temperature = self.config.temperature
            logprobs = self.backbone.logprobs(part.rows.batch, POLICY, temperature)
            return self._policy_loss(logprobs, part, kl_coef)

        return self._descend(parts, forward, log)

    def _update_both(self, parts: list[Part], policy: bool, kl_coef: float, log: _Log) -> bool:
        """One step of the shared trunk and the value's head; of the head alone without `policy`."""
        value = self._there()

        def forward(part: Part) -> tuple[Tensor, Measured]:
            with torch.set_grad_enabled(policy):
                logprobs, hidden = self.backbone.logprobs_and_hidden(
                    part.rows.batch, POLICY, self.config.temperature
                )
            loss, measured = self._value_loss(value.read(hidden), part)
            if policy:
                surrogate, more = self._policy_loss(logprobs, part, kl_coef)
                loss, measured = loss + surrogate, measured | more
            return loss, measured

        if policy:
            policy = self._descend(parts, forward, log)
        else:
            _add_gradients(parts, forward, "the value loss", log)
        self._step_value(log)
        return policy

    def _descend(self, parts: list[Part], forward: Forward, log: _Log) -> bool:
        """Gradients of all parts and one step of the policy; False ends this rollout's updates."""
        _add_gradients(parts, forward, "the policy loss", log)
        # A minibatch's KL is known once it went through; too far, its gradients are thrown away.
        stop = self.config.stop_kl
        if stop is not None and float(sum(log.open["approx_kl"])) > stop:
            self.policy_optimiser.zero_grad(set_to_none=True)
            log.end()
            return False
        if self.config.ptx_coef > 0:
            self._pretrain(log)
        processes.sum_gradients(self.policy_parameters)
        norm = step(self.policy_optimiser, self.policy_parameters, self.config.max_grad_norm)
        log.end(policy_grad_norm=norm)
        return True

    def _step_value(self, log: _Log) -> None:
        processes.sum_gradients(self.value_parameters)
        norm = step(self.value_optimiser, self.value_parameters, self.config.max_grad_norm)
        log.end(value_grad_norm=norm)

    def _policy_loss(self, logprobs: Tensor, part: Part, kl_coef: float) -> tuple[Tensor, Measured]:
        """This part's share of the clipped surrogate, and of the KL where it is a loss."""
        rows, config, mask = part.rows, self.config, part.rows.batch.mask
        loss = ppo_policy_loss(
            logprobs, rows.logprobs, rows.advantages, mask, clip_range=config.clip_range
        )
        if config.kl_penalty == "loss":
            kl = kl_estimate(logprobs, rows.ref_logprobs, config.kl_kind)
            loss = loss + kl_coef * masked_mean(kl, mask)
        loss = loss * part.token_share
        measured = ratio_statistics(logprobs, rows.logprobs, mask, clip_range=config.clip_range)
        share = int(mask.sum()) / part.counted  # of what counts, whatever the loss divides by
        # Means add up to the minibatch's; `ratio_std` becomes the mean of its parts' own.
        scaled = {k: v if k.endswith("_max") else v * share for k, v in measured.items()}
        return loss, scaled | {"policy_loss": loss.detach()}

    def _value_loss(self, values: Tensor, part: Part) -> tuple[Tensor, Measured]:
        """This part's share of the clipped value loss (of (b, T + 1) values), times its factor."""
        rows, clip = part.rows, self.config.value_clip_range
        values, clip = values[:, : rows.states.shape[1]], torch.inf if clip is None else clip
        loss = part.state_share * ppo_value_loss(
            values, rows.values, rows.returns, rows.states, clip_range=clip
        )
        moved = (values.detach() - rows.values).abs() > clip
        fraction = part.state_share * masked_mean(moved.float(), rows.states)
        measured = {"value_loss": loss.detach(), "value_clip_fraction": fraction}
        return self.config.value_coef * loss, measured

    def _pretrain(self, log: _Log) -> None:
        """Add the gradient of PPO-ptx's term: -gamma log pi of demonstrations, a token's mean."""
        size, config = self.config.ptx_batch_size, self.config
        index = torch.randint(len(self.demonstrations), (size,), generator=self.rng).tolist()
        rows = [self.demonstrations[i] for i in index]
        tokens = sum(len(response) for _, response in rows)

        def forward(chunk: list[int]) -> tuple[Tensor, Measured]:
            prompts, responses = [rows[i][0] for i in chunk], [rows[i][1] for i in chunk]
            batch = self.backbone.tokens.join(prompts, responses).to(self.backbone.device)
            loss = -masked_sum(self.backbone.logprobs(batch, POLICY), batch.mask) / tokens
            return config.ptx_coef * loss, {"ptx_loss": loss.detach()}

        chunks = microbatches([len(r) for _, r in rows], config.microbatch_size)
        _add_gradients(chunks, forward, "the PPO-ptx loss", log)

    def state(self) -> dict[str, Any]:
        """Weights and optimisers, for `restore`."""
        return {
            "policy": [p.detach() for p in self.policy_parameters],
            "value": [p.detach() for p in self.value_parameters],
            "policy_optimiser": self.policy_optimiser.state_dict(),
            "value_optimiser": self.value_optimiser.state_dict(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from `state`."""
        set_values(self.policy_parameters, state["policy"])
        set_values(self.value_parameters, state["value"])
        self.policy_optimiser.load_state_dict(state["policy_optimiser"])
        self.value_optimiser.load_state_dict(state["value_optimiser"])


def _add_gradients(
    parts: Sequence[T], forward: Callable[[T], tuple[Tensor, Measured]], what: str, log: _Log
) -> None:
    """Gradients of a minibatch, micro-batch by micro-batch; `what` names a loss that diverges."""

    def checked(part: T) -> tuple[Tensor, Measured]:
        loss, measured = forward(part)
        return finite(loss, what), measured

    for measured in add_gradients(parts, checked):
        log.add(measured)


class _Log:
    """What minibatches measured; micro-batches of one minibatch add up."""

    def __init__(self) -> None:
        self.open: dict[str, list[Tensor]] = defaultdict(list)
        self.rows: dict[str, list[float]] = defaultdict(list)

    def add(self, measured: Measured) -> None:
        """One micro-batch's part."""
        for name, value in measured.items():
            self.open[name].append(value)

    def end(self, **numbers: float) -> None:
        """The minibatch is through."""
        for name, values in self.open.items():
            stacked = torch.stack(values)
            total = stacked.max() if name.endswith("_max") else stacked.sum()
            self.rows[name].append(float(total))
        for name, number in numbers.items():
            self.rows[name].append(number)
        self.open.clear()

    def summary(self) -> dict[str, float]:
        """Means over minibatches, maxima of what is a maximum."""
        return {
            name: max(values) if name.endswith("_max") else sum(values) / len(values)
            for name, values in self.rows.items()
        }


def _runs(lengths: Sequence[int], most: int) -> list[int]:
    """How many of the next rows fit into `most` tokens, again and again; at least one each."""
    runs, used = [0], 0
    for length in lengths:
        if runs[-1] > 0 and used + length > most:
            runs.append(0)
            used = 0
        runs[-1] += 1
        used += length
    return runs
