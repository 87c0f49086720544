"""What stages draw from a suite, as many as the configuration asks for."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, TypeVar

from bench.data import Demonstration
from bench.errors import UserError

if TYPE_CHECKING:
    from bench.config.run import RunConfig, SFTConfig
    from bench.models.tokens import Tokens

T = TypeVar("T")


def draw_prompts(suite: Any, split: str, config: RunConfig) -> list[str]:
    """The prompts of a split that a run uses; none where the configuration asks for 0.

    Raises:
        UserError: the split has fewer than the configuration asks for, or one twice.
    """
    pairs, evaluation = pair_fields(config), config.evaluation
    n, field = {
        "preference": (sum(pairs.values()), " + ".join(filter(None, pairs))),
        "ppo": (config.ppo.prompts, "ppo.prompts"),
        "validation": (evaluation.validation_prompts, "evaluation.validation_prompts"),
        "test": (evaluation.test_prompts, "evaluation.test_prompts"),
        "unseen": (evaluation.unseen_prompts, "evaluation.unseen_prompts"),
    }[split]
    if split == "preference" and evaluation.heldout_pairs:
        aside = set(draw_prompts(suite, split, heldout_config(config)))
        # As many more are drawn as may be among those that are set aside.
        field = f"{field} + evaluation.heldout_pairs"
        drawn = prompts_of(suite, split, n + len(aside), config.seed, field)
        return [prompt for prompt in drawn if prompt not in aside][:n]
    if n == 0:  # a split that is not asked for; the suite need not have it
        return []
    return prompts_of(suite, split, n, config.seed, field)


def short_enough(prompts: list[str], tokens: Tokens, most: int | None, field: str) -> list[str]:
    """The prompts of at most so many tokens, the template's included; None: all of them.

    Args:
        prompts: texts.
        tokens: how they are put to the model.
        most: what `field` says.
        field: for the message.

    Raises:
        UserError: none is left.
    """
    if most is None:
        return prompts
    kept = [text for text in prompts if len(tokens.prompt(text)) <= most]
    if prompts and not kept:
        raise UserError(f"none of {len(prompts)} prompts has at most {field}={most} tokens")
    return kept


def pair_fields(config: RunConfig) -> dict[str, int]:
    """The fields that say how many pairs to learn from and to hold out, with their values.

    Of the reward model that no method learns from (`heldout_config`) none are held out.
    """
    wanted = config.preferences
    if wanted.held_out == 0:
        return {"evaluation.heldout_pairs": wanted.pairs, "": 0}
    return {"preferences.pairs": wanted.pairs, "preferences.held_out": wanted.held_out}


def heldout_config(config: RunConfig) -> RunConfig:
    """Of the reward model that no method learns from: pairs of its own, the same for every seed."""
    evaluation = config.evaluation
    pairs = {"pairs": evaluation.heldout_pairs, "held_out": 0, "responses": 2}
    return config.model_copy(
        update={
            "seed": evaluation.seed,
            "sft": config.seeded_sft,  # it reads the run's own SFT model
            "preferences": config.preferences.model_copy(update=pairs),
            "evaluation": evaluation.model_copy(update={"heldout_pairs": 0}),
            # It is trained here, whatever pays the methods.
            "reward_model": config.reward_model.model_copy(update={"path": None}),
        }
    )


def prompts_of(suite: Any, split: str, n: int, seed: int, field: str) -> list[str]:
    """n prompts of a split, for which `field` asks, no two of them the same.

    Raises:
        UserError: there are fewer, or one comes twice: held-out pairs would be about prompts that
            a reward model was trained on.
    """
    prompts = enough(suite, suite.prompts(split, n, seed), n, field, f"prompts of {split!r}")
    if twice := [prompt for prompt, times in Counter(prompts).items() if times > 1]:
        name = getattr(suite, "name", type(suite).__name__)
        raise UserError(
            f"{len(twice)} prompts of {split!r} come twice in the {n} that the suite {name} gives "
            f"for {field}, {twice[0]!r} among them: its `prompts` must give different ones"
        )
    return prompts


def draw_demonstrations(suite: Any, wanted: SFTConfig) -> list[Demonstration]:
    """What SFT imitates, and PPO-ptx mixes in.

    Raises:
        UserError: there are fewer than `sft.demonstrations`.
    """
    n = wanted.demonstrations
    found = suite.demonstrations(n, wanted.seed)
    enough(suite, found, n, "sft.demonstrations", "demonstrations")
    return [Demonstration(prompt=prompt, response=response) for prompt, response in found]


def enough(suite: Any, found: list[T], n: int, field: str, what: str) -> list[T]:
    """The first n of `found`, since `field` asks for n; `what` they are, for the message.

    Raises:
        UserError: there are fewer: a run on what is there would not be the one that was asked for.
    """
    if len(found) < n:
        name = getattr(suite, "name", type(suite).__name__)
        raise UserError(
            f"{field}={n}, but the suite {name} has {len(found)} {what}: lower "
            f"{field.partition(' ')[0]}"
        )
    return found[:n]
