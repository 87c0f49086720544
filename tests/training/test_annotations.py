"""Marked errors as labels of tokens and segments, and a model that learns to find them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest
import torch

from bench.config.run import RewardModelConfig
from bench.data import Annotation, Preference, Span
from bench.errors import UserError
from bench.models.heads import RewardModel
from bench.models.segmenters import Segments
from bench.rl import segments_with
from bench.stages.segment_evaluation import detection
from bench.training.annotations import annotated, check_kinds, token_kinds, tokens_of_kinds
from bench.training.objectives import ComparisonLoss, SegmentLabelLoss
from bench.training.reward_model import RewardSpec, train_reward_model
from tests.models.test_segmenters import pieces
from tests.tiny import LORA, tiny_backbone

WORDS = ["red", "blue", "old", "cold", "far", "near", "warm", "small"]


def marked(text: str, *errors: tuple[str, str], ids: list[int] | None = None) -> Annotation:
    """A response with errors: (their text, their kind)."""
    spans = [Span(start=text.index(e), end=text.index(e) + len(e), kind=kind) for e, kind in errors]
    return Annotation(prompt="Go.", response=text, spans=spans, response_ids=ids)


def labels(row: Annotation, kinds: Sequence[str] = (), most: int = 99) -> list[tuple[str, bool]]:
    """The sentences of a response, and which of them have an error."""
    backbone = tiny_backbone()
    (group,), _ = annotated(backbone.tokens, [row], most)
    batch = backbone.tokens.join([group.prompt], group.responses)
    ends = Segments().segmenter(backbone).ends(batch)
    wrong = tokens_of_kinds([group], kinds, batch.mask.shape[1])
    found = segments_with(wrong, ends, batch.mask)[0]
    texts = pieces(backbone, batch, ends, 0)
    where = [*ends[0].nonzero().flatten().tolist(), len(group.responses[0]) - 1]
    return [(text, bool(found[t])) for text, t in zip(texts, where, strict=True)]


THREE = "Red. The blue old town. Far"


def test_a_sentence_has_the_errors_that_overlap_it() -> None:
    one = marked(THREE, ("blue", "colour"))
    assert labels(one) == [("Red.", False), (" The blue old town.", True), (" Far<|eos|>", False)]
    both = marked(THREE, ("town. Far", "rude"))
    assert labels(both) == [("Red.", False), (" The blue old town.", True), (" Far<|eos|>", True)]


def test_other_kinds_are_no_errors() -> None:
    row = marked(THREE, ("Red", "rude"), ("blue", "colour"))
    assert [bad for _, bad in labels(row, ["rude"])] == [True, False, False]
    assert [bad for _, bad in labels(row, ["colour", "x"])] == [False, True, False]
    assert [bad for _, bad in labels(row)] == [True, True, False]


def test_an_empty_response_is_one_segment_without_error() -> None:
    assert labels(marked("")) == [("<|eos|>", False)]


def test_what_is_cut_off_has_no_error_any_more() -> None:
    """The prompt and its first tokens."""
    tokens = tiny_backbone().tokens
    row, prompt = marked(THREE, ("blue", "colour")), len(tokens.prompt("Go."))
    short, more = len(tokens.response("Red. The")) - 1, len(tokens.response("Red. The blue")) - 1
    assert labels(row, most=prompt + short) == [("Red.", False), (" The", False)]
    assert labels(row, most=prompt + more) == [("Red.", False), (" The blue", True)]
    assert annotated(tokens, [row], prompt + more)[1]["truncated"] == 1


def test_drawn_ids_are_kept_and_what_nobody_looked_at_is_left_out() -> None:
    tokens = tiny_backbone().tokens
    drawn = tokens.response("Red old")[:-1]  # cut off: no EOS
    row = marked("Red old", ("old", "age"), ids=drawn)
    groups, counts = annotated(tokens, [row.model_copy(update={"spans": None}), row], 99)
    assert [group.responses for group in groups] == [[drawn]]
    last = len(drawn) - len(tokens.response("Red")[:-1])
    assert list(map(bool, groups[0].kinds)) == [False] * (len(drawn) - last) + [True] * last
    assert counts == {"pairs": 1, "identical": 0, "truncated": 0}
    assert token_kinds([(0, 3), (3, 3), (3, 7)], [Span(start=3, end=4, kind="a")]) == [
        frozenset(), frozenset(), {"a"}
    ]  # fmt: skip
    with pytest.raises(UserError, match=r"an error of the kinds aeg: nothing .* there is age"):
        check_kinds(groups, ["aeg"])


def planted(n: int, seed: int) -> list[Annotation]:
    """Three sentences; in some "lemon" stands, an error, and in some "plum", another."""
    rng = random.Random(seed)
    rows = []
    for _ in range(n):
        text, spans = "", []
        for _ in range(3):
            words = rng.choices(WORDS, k=rng.randint(2, 4))
            if fruit := rng.choice(["", "", "lemon", "plum"]):
                words.insert(rng.randrange(len(words)), fruit)
            sentence = " ".join(words) + "."
            start = len(text) + bool(text)
            if fruit:
                at = start + sentence.index(fruit)
                spans.append(Span(start=at, end=at + len(fruit), kind=fruit))
            text += f" {sentence}" if text else sentence
        rows.append(Annotation(prompt="Go.", response=text, spans=spans))
    return rows


def trained(rows: list[Any], objective: Any) -> tuple[RewardModel, list[dict[str, float]]]:
    curve: list[dict[str, float]] = []
    spec = RewardSpec("segment", objective)
    config = RewardModelConfig(epochs=3, batch_size=16, microbatch_size=8, lr=1e-2)
    model, _ = train_reward_model(tiny_backbone(), rows, spec, config, LORA, 0, curve.append)
    return model, curve


def test_planted_errors_are_found_and_those_of_another_kind_are_not() -> None:
    model, curve = trained(planted(240, 0), SegmentLabelLoss(kinds=["lemon"]))
    held_out = planted(100, 1)
    found = detection(model, held_out, ["lemon"])
    others = detection(model, held_out, ["plum"])
    assert found is not None
    assert others is not None
    assert found.mean > 0.9
    assert others.mean < 0.6
    assert curve[-1]["accuracy"] > 0.9
    assert curve[-1]["loss"] < 0.4


def test_a_model_learns_from_what_its_objective_is_for() -> None:
    pair = Preference(prompt="Go.", chosen="red", rejected="blue")
    with pytest.raises(UserError, match="SegmentLabelLoss learns from annotated responses, and"):
        trained([pair], SegmentLabelLoss())
    with pytest.raises(UserError, match="ComparisonLoss learns from pairs, and the plan gives it"):
        trained(planted(2, 0), ComparisonLoss())


def test_microbatches_add_up() -> None:
    """Responses of unlike numbers of segments weigh the same, however they are divided."""
    rows = [*planted(6, 0), marked("Red lemon", ("lemon", "lemon")), marked("Old.")]
    gradients = []
    for size in (None, 2):
        config = RewardModelConfig(
            epochs=1, batch_size=len(rows), microbatch_size=size, lr=1e-2, max_grad_norm=1e9
        )
        spec = RewardSpec("segment", SegmentLabelLoss(kinds=["lemon"], hidden_by=["plum"]))
        model, _ = train_reward_model(tiny_backbone(), rows, spec, config, LORA, seed=0)
        gradients.append(model.head.weight.detach())
    torch.testing.assert_close(*gradients)
