"""All granularities score the same tokens, those that were drawn, in training and everywhere else.

Through the stages: samples, preferences, edits, and what a reward model then trains on, is paid for
in a rollout, and is evaluated on.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import pytest
import torch

from bench.config.run import RewardModelConfig, RunConfig
from bench.data import Comparison, Demonstration, Edit, Preference, Ranking, read_rows, write_rows
from bench.models.heads import Granularity, RewardModel, ScalarHead
from bench.models.sequences import Sequences
from bench.models.tokens import Tokens
from bench.stages.edits import edit_of
from bench.stages.pairs import EDITS, RESPONSES, SAMPLES, edited_pair, read_pairs, sft_samples
from bench.stages.preferences import build_preferences
from bench.stages.rm_evaluation import gold_label
from bench.stages.sources.scores import RewardModelSource
from bench.training.comparisons import tokenise
from bench.training.experience import Rollout
from bench.training.reward_model import RewardSpec, batch_loss, preference_accuracy
from tests.tiny import LORA, stir, tiny_backbone

TOKENS = tiny_backbone().tokens
EOS = TOKENS.eos_id


def spelled(text: str) -> list[int]:
    """Ids of a text letter by letter, as no tokenizer would write it."""
    return [i for letter in text for i in TOKENS.response(letter)[:-1]]


FINISHED = TOKENS.response("A red house.")
CUT_OFF = TOKENS.response("The old town. It")[:-1]
OTHERWISE = [*spelled("A red"), EOS]  # its text re-tokenises differently
SPECIAL = [*FINISHED[:2], TOKENS.pad_id, *FINISHED[2:]]  # its text does not show it
DRAWN = [FINISHED, CUT_OFF, OTHERWISE, SPECIAL]


def test_the_drawn_ids_are_others_than_those_of_their_texts() -> None:
    """What the tests below are about is there."""
    for ids in (CUT_OFF, OTHERWISE, SPECIAL):
        assert TOKENS.response(TOKENS.text(ids)) != ids
    assert TOKENS.text(SPECIAL) == TOKENS.text(FINISHED)


def reward_model(granularity: Granularity) -> RewardModel:
    backbone = tiny_backbone()
    backbone.add_adapter("reward", LORA)
    stir(backbone, "reward")
    head = ScalarHead(backbone.hidden_size, generator=torch.Generator().manual_seed(0))
    return RewardModel(backbone, "reward", head, granularity)


def preferences() -> list[Preference]:
    """Each of the drawn responses once on either side."""
    return [
        Preference(
            prompt="Go.",
            chosen=TOKENS.text(chosen),
            rejected=TOKENS.text(rejected),
            chosen_ids=chosen,
            rejected_ids=rejected,
        )
        for chosen, rejected in ((FINISHED, CUT_OFF), (OTHERWISE, SPECIAL))
    ]


@pytest.mark.parametrize("granularity", get_args(Granularity))
def test_a_response_has_one_score_in_training_in_a_rollout_and_in_evaluation(
    granularity: Granularity, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bit for bit in a batch of one shape: the same rows in the same order."""
    model, pairs = reward_model(granularity), preferences()
    seen: list[tuple[torch.Tensor, Sequences]] = []
    score = RewardModel.response_scores

    def watched(self: RewardModel, outputs: torch.Tensor, batch: Sequences) -> torch.Tensor:
        found = score(self, outputs, batch)
        seen.append((found.detach(), batch))
        return found

    monkeypatch.setattr(RewardModel, "response_scores", watched)
    groups, _ = tokenise(model.backbone.tokens, pairs, 512)
    batch_loss(model, groups, RewardSpec(granularity), RewardModelConfig())
    (trained, batch) = seen[0]
    sides = [p.chosen_ids for p in pairs] + [p.rejected_ids for p in pairs]
    assert [batch.responses[i, : batch.lengths[i]].tolist() for i in range(4)] == sides

    ids = [model.backbone.tokens.prompt("Go.")] * 4
    drawn = model.backbone.tokens.join(ids, [list(side or ()) for side in sides])
    nothing = torch.zeros(drawn.mask.shape)
    texts = [TOKENS.text(list(side or ())) for side in sides]
    rollout = Rollout(["Go."] * 4, texts, drawn, torch.ones(4).bool(), nothing, nothing)
    # Rows of like length go together in scoring; one order, and so one shape, for both.
    monkeypatch.setattr("bench.models.heads.chunks_by_length", lambda n, size: [list(range(4))])
    assert torch.equal(RewardModelSource(model).scores(rollout), trained)

    evaluated = model.scores(
        model.backbone.batch_of(
            [(p.prompt, TOKENS.response(p.chosen, p.chosen_ids)) for p in pairs]
            + [(p.prompt, TOKENS.response(p.rejected, p.rejected_ids)) for p in pairs]
        )
    )
    assert torch.equal(evaluated, trained)


@pytest.mark.parametrize("granularity", get_args(Granularity))
def test_held_out_accuracy_is_of_the_drawn_ids(
    granularity: Granularity, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, asked = reward_model(granularity), []
    batch_of = type(model.backbone).batch_of

    def watched(self: Any, rows: Any) -> Sequences:
        rows = list(rows)
        asked.extend(ids for _, ids in rows)
        return batch_of(self, rows)

    monkeypatch.setattr(type(model.backbone), "batch_of", watched)
    preference_accuracy(model, preferences())
    assert asked == [FINISHED, OTHERWISE, CUT_OFF, SPECIAL]


class Second:
    """Prefers the second response; finds it better, too."""

    def prefer(self, *args: Any) -> int:
        return 1

    def score(self, prompt: str, response: str) -> float:
        return float(response == TOKENS.text(FINISHED))


def test_the_ids_go_from_samples_through_preferences_and_edits(tmp_path: Path) -> None:
    row = Comparison(
        prompt="Go.",
        output_1=TOKENS.text(CUT_OFF),
        output_2=TOKENS.text(FINISHED),
        preference=None,
        ids_1=CUT_OFF,
        ids_2=FINISHED,
    )
    write_rows(tmp_path / SAMPLES, [row])
    assert sft_samples(tmp_path, 1, TOKENS) == [("Go.", CUT_OFF)]
    context: Any = SimpleNamespace(config=RunConfig(), suite=Second())
    build_preferences(context, tmp_path, [tmp_path])
    (pair,) = read_pairs(tmp_path, TOKENS)
    assert (pair.chosen_ids, pair.rejected_ids) == (FINISHED, CUT_OFF)
    turned = Preference(
        prompt="Go.",
        chosen=pair.rejected,
        rejected=pair.chosen,
        chosen_ids=CUT_OFF,
        rejected_ids=FINISHED,
    )
    assert gold_label(context.suite, turned) == pair
    edit = edit_of(pair, "The new town. It", "me")
    write_rows(tmp_path / EDITS, [edit])
    (edited,) = read_pairs(tmp_path, TOKENS)
    assert edited.rejected_ids == CUT_OFF
    assert edited.chosen_ids == TOKENS.response("The new town. It")[:-1]


def edited(original: list[int], text: str, tokens: Tokens = TOKENS) -> list[int]:
    """Ids of the edit of a drawn response."""
    row = Edit(
        prompt="Go.",
        original=tokens.text(original),
        edited=text,
        source="me",
        original_ids=original,
    )
    return edited_pair(row, tokens).chosen_ids or []


def test_an_edit_ends_as_its_original_does() -> None:
    """Else EOS alone would tell an edit from a cut-off original, whatever was edited."""
    assert edited(CUT_OFF, "The new town. It") == TOKENS.response("The new town. It")[:-1]
    assert edited(FINISHED, "A new house.") == TOKENS.response("A new house.")
    assert edited(CUT_OFF, "") == [EOS]  # of nothing, there would be nothing to score
    two_ends = Tokens(TOKENS.tokenizer, TOKENS.template, eos_ids=(77,))
    assert edited([*CUT_OFF, 77], "A new house.", two_ends)[-2:] == [TOKENS.response(".")[0], 77]


@pytest.mark.parametrize("ids", DRAWN)
def test_a_response_that_nobody_changed_is_what_was_drawn(ids: list[int]) -> None:
    """Encoded anew it would seem edited."""
    assert edited(ids, TOKENS.text(ids)) == ids


def test_the_tokens_that_an_edit_changed_are_found_among_the_drawn_ones() -> None:
    row = Edit(prompt="Go.", original="A red", edited="A red!", source="me", original_ids=OTHERWISE)
    (group,), _ = tokenise(TOKENS, [edited_pair(row, TOKENS)], 512)
    assert group.responses == [TOKENS.response("A red!"), OTHERWISE]


def test_texts_without_ids_are_complete_as_before() -> None:
    row = Edit(prompt="Go.", original="A red house.", edited="A house.", source="file")
    pair = edited_pair(row, TOKENS)
    (group,), _ = tokenise(TOKENS, [pair], 512)
    assert group.responses == [TOKENS.response("A house."), FINISHED]
    assert FINISHED[-1] == EOS


def test_one_text_drawn_as_two_rows_of_ids_has_no_preference() -> None:
    """The annotator saw the text twice."""
    rows: list[Preference | Ranking] = [
        Preference(prompt="Go.", chosen="A red", rejected="A red", rejected_ids=OTHERWISE),
        Ranking(
            prompt="Go.",
            responses=["A red", "A red house.", "A red"],
            ranks=[0, 1, 2],
            response_ids=[OTHERWISE, FINISHED, TOKENS.response("A red")[:-1]],
        ),
    ]
    (group,), counts = tokenise(TOKENS, rows, 512)
    assert counts == {"pairs": 2, "identical": 2, "truncated": 0}
    assert group.ranks == [0, 0, 1]


def test_what_is_drawn_is_cut_to_the_limit_like_any_text() -> None:
    most = len(TOKENS.prompt("Go.")) + 3
    (group, _), counts = tokenise(TOKENS, preferences(), most)
    assert group.responses == [FINISHED[:3], CUT_OFF[:3]]
    assert counts["truncated"] == 4


def test_rows_with_ids_come_back_from_their_files(tmp_path: Path) -> None:
    rows: list[Any] = [
        Demonstration(prompt="Go.", response="A red", response_ids=OTHERWISE),
        Comparison(
            prompt="Go.", output_1="a", output_2="b", preference=None, ids_1=[1], ids_2=[2, 3]
        ),
        preferences()[0],
        Ranking(prompt="Go.", responses=["a", "b"], ranks=[0, 1], response_ids=[[1], [2]]),
        Edit(prompt="Go.", original="a", edited="b", source="me", original_ids=[1]),
    ]
    for row in rows:
        write_rows(tmp_path / "rows.jsonl", [row])
        assert read_rows(tmp_path / "rows.jsonl", type(row)) == [row]
    write_rows(tmp_path / RESPONSES, rows[:1])
    assert sft_samples(tmp_path, 5, TOKENS) == [("Go.", OTHERWISE)]
