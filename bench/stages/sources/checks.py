"""What the tests of a token source call, a third party's too: that it pays what it declares."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, get_args

import torch
from torch import Tensor

from bench.plugins.protocols import RowSum
from bench.stages.sources.paying import checked, checked_scores
from bench.training.experience import Rollout

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.models.tokens import Tokens
    from bench.plugins.protocols import TokenSource


def rollouts_to_check(
    tokens: Tokens, prompts: Sequence[str], outputs: Sequence[str]
) -> dict[str, Rollout]:
    """The same responses in the forms in which a source meets them.

    Args:
        tokens: of the model.
        prompts: (B,) texts, one of them twice at least (see `check_token_source`).
        outputs: (B,) texts of unequal lengths, of two tokens at least.

    Returns:
        "finished": each ends in EOS; "cut off": none does; "one token": all but the first are cut
        off after their first token.
    """
    whole = [tokens.response(text) for text in outputs]
    forms = {
        "finished": whole,
        "cut off": [ids[:-1] for ids in whole],
        "one token": [whole[0], *(ids[:1] for ids in whole[1:])],
    }
    prompt_ids = [tokens.prompt(text) for text in prompts]
    made = {name: Rollout.of(tokens, prompts, prompt_ids, ids) for name, ids in forms.items()}
    return {name: replace(one, entropies=one.logprobs) for name, one in made.items()}


def check_token_source(
    source: TokenSource, rollout: Rollout, *, rtol: float = 1e-4, atol: float = 1e-5
) -> None:
    """Hold a source to its protocol on one rollout.

    Args:
        source: what is checked.
        rollout: responses of unequal lengths; of a source that declares a constant, two to one
            prompt at least, since the constant is the prompt's.
        rtol: how far a row's sum may be from what is declared, relative to that.
        atol: likewise, reward units; what is allowed is the sum of both.

    Raises:
        UserError: the form of `paid` or `scores` is wrong (`checked`).
        Diverged: one of them is not finite.
        AssertionError: a row does not sum to what `row_sum` says, or it says nothing known.
        ValueError: the rollout cannot show it.
    """
    who, mask = f"the token source {source.name!r}", rollout.batch.mask
    if mask.all():
        raise ValueError("the rollout has no padding: take responses of unequal lengths")
    paid = checked(source.paid(rollout), mask, who)
    scores = checked_scores(source.scores(rollout), mask, who)
    known = get_args(RowSum)
    assert source.row_sum in known, f"{who} declares {source.row_sum!r}, which is none of {known}"
    if source.row_sum == "nothing in particular":
        return
    expected = scores
    if source.row_sum == "score up to a constant":
        expected = scores + _constants(paid.sum(dim=1) - scores, rollout.prompts)
    apart = (paid.sum(dim=1) - expected).abs()
    row = int((apart - rtol * expected.abs()).argmax())
    assert bool((apart <= atol + rtol * expected.abs()).all()), (
        f"{who} declares that a row sums to its {source.row_sum}; row {row} sums to "
        f"{paid[row].sum().item():g} instead of {expected[row].item():g}"
    )


def _constants(apart: Tensor, prompts: list[str]) -> Tensor:
    """(B,) for each row, by how much the first response to its prompt is apart."""
    first = [prompts.index(prompt) for prompt in prompts]
    if len(set(first)) == len(prompts):
        raise ValueError("no two responses to one prompt: a constant of each cannot be told")
    return apart[torch.tensor(first, device=apart.device)]
