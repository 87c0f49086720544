"""Reward model training: each spec must find a planted preference."""

from __future__ import annotations

import random

import pytest
import torch

from bench.config.run import RewardModelConfig
from bench.data import Preference, Ranking
from bench.errors import UserError
from bench.models import backbone as backbone_module
from bench.models.heads import Granularity, RewardModel, ScalarHead
from bench.models.layout import Padded
from bench.models.sequences import Sequences, microbatches
from bench.rl import (
    bradley_terry_loss,
    divergence_preference_loss,
    ranking_loss,
    token_preference_loss,
)
from bench.training.comparisons import Group, tokenise
from bench.training.objectives import ChangedTokensLoss, DivergenceLoss
from bench.training.reward_model import (
    RewardSpec,
    _measure,
    batch_loss,
    normalise,
    preference_accuracy,
    train_reward_model,
)
from tests.tiny import LORA, stir, tiny_backbone

WORDS = ["red", "blue", "green", "old", "new", "warm", "cold", "near", "far", "tall"]
OBJECTIVES = [
    RewardSpec("sequence"),
    RewardSpec("segment"),
    RewardSpec("token"),
    RewardSpec("token", ChangedTokensLoss()),
    RewardSpec("token", DivergenceLoss()),
]
IDS = ["sequence", "segment", "eq3", "eq4", "divergence"]


def planted_pairs(n: int, seed: int) -> list[Preference]:
    """Sentences, rejected where one word was replaced by "lemon"."""
    rng = random.Random(seed)
    pairs = []
    for _ in range(n):
        words = rng.choices(WORDS, k=rng.randint(3, 8))
        spoilt = list(words)
        spoilt[rng.randrange(len(words))] = "lemon"
        pairs.append(Preference(prompt="Go.", chosen=" ".join(words), rejected=" ".join(spoilt)))
    return pairs


@pytest.mark.parametrize("spec", OBJECTIVES, ids=IDS)
def test_a_planted_preference_is_learned(spec: RewardSpec) -> None:
    backbone = tiny_backbone()
    config = RewardModelConfig(epochs=2, batch_size=16, lr=1e-2)
    model, counts = train_reward_model(backbone, planted_pairs(240, 0), spec, config, LORA, seed=0)
    accuracy = preference_accuracy(model, planted_pairs(100, 1))
    assert sum(accuracy) / len(accuracy) > 0.9
    assert counts["pairs"] == 240
    assert counts["steps"] == 30


def test_a_token_model_blames_the_right_token() -> None:
    backbone = tiny_backbone()
    config = RewardModelConfig(epochs=2, batch_size=16, lr=1e-2)
    model, _ = train_reward_model(
        backbone, planted_pairs(240, 0), RewardSpec("token"), config, LORA, seed=0
    )
    pairs = planted_pairs(40, 1)
    batch = batch_of_rejected(backbone.tokens, pairs)
    normalise(model, batch)
    scores = model.token_scores(batch)
    hits = 0
    for i, pair in enumerate(pairs):
        pieces = backbone.tokens.pieces(batch.responses[i, : int(batch.lengths[i])].tolist())
        worst = int(scores[i, : len(pieces)].argmin())
        start = len("".join(pieces[:worst]))
        lemon = pair.rejected.index("lemon")
        hits += lemon - 1 <= start <= lemon + 5
    assert hits > 30


def batch_of_rejected(tokens: object, pairs: list[Preference]) -> Sequences:
    """The rejected responses as a batch."""
    from bench.models.tokens import Tokens

    assert isinstance(tokens, Tokens)
    return tokens.join(
        [tokens.prompt(pair.prompt) for pair in pairs],
        [tokens.response(pair.rejected) for pair in pairs],
    )


def test_identical_pairs_are_left_out_and_counted() -> None:
    backbone = tiny_backbone()
    same = Preference(prompt="Go.", chosen="red", rejected="red")
    pairs = [same, *planted_pairs(7, 0)]
    config = RewardModelConfig(epochs=1, batch_size=4)
    _, counts = train_reward_model(backbone, pairs, RewardSpec("token"), config, LORA, seed=0)
    assert (counts["pairs"], counts["identical"]) == (7, 1)


def test_equal_scores_count_one_half() -> None:
    backbone = tiny_backbone()
    config = RewardModelConfig(epochs=1, batch_size=4)
    model, _ = train_reward_model(
        backbone, planted_pairs(4, 0), RewardSpec("sequence"), config, LORA, seed=0
    )
    same = Preference(prompt="Go.", chosen="red", rejected="red")
    assert preference_accuracy(model, [same]) == [0.5]


def test_training_leaves_the_reference_alone_and_repeats_itself() -> None:
    found = []
    for _ in range(2):
        backbone = tiny_backbone()
        batch = batch_of_rejected(backbone.tokens, planted_pairs(4, 2))
        before = backbone.logprobs(batch, None)
        config = RewardModelConfig(epochs=1, batch_size=4)
        model, _ = train_reward_model(
            backbone, planted_pairs(16, 0), RewardSpec("token"), config, LORA, seed=3
        )
        assert torch.equal(backbone.logprobs(batch, None), before)
        found.append(model.token_scores(batch))
    assert torch.equal(found[0], found[1])


def stirred_model(granularity: Granularity) -> RewardModel:
    backbone = tiny_backbone()
    backbone.add_adapter("reward", LORA)
    stir(backbone, "reward")
    head = ScalarHead(backbone.hidden_size, scale=3.0, generator=torch.Generator().manual_seed(0))
    return RewardModel(backbone, "reward", head, granularity)


def groups_of(
    model: RewardModel, rows: list[Preference] | list[Ranking], max_length: int = 512
) -> list[Group]:
    return tokenise(model.backbone.tokens, rows, max_length)[0]


def plain_sides(model: RewardModel, groups: list[Group]) -> list[tuple[Sequences, torch.Tensor]]:
    """Batch and outputs of the chosen and of the rejected side, padded, a pass each."""
    model.backbone.lay_out = Padded
    tokens = model.backbone.tokens
    prompts = [group.prompt for group in groups]
    batches = [
        tokens.join(prompts, [group.responses[i] for group in groups])
        for i in range(len(groups[0].responses))
    ]
    return [(batch, model.outputs(batch)) for batch in batches]


def gradient(model: RewardModel, loss: torch.Tensor) -> torch.Tensor:
    parameters = [*model.backbone.parameters("reward"), *model.head.parameters()]
    found = torch.autograd.grad(loss, parameters)
    return torch.cat([part.flatten() for part in found])


def reference_loss(
    model: RewardModel, groups: list[Group], spec: RewardSpec, config: RewardModelConfig
) -> torch.Tensor:
    """What the loss is without packing, narrowing, shared prompts and shared passes."""
    (chosen, chosen_outputs), (rejected, rejected_outputs) = plain_sides(model, groups)
    margins = torch.tensor([config.margin * group.margin for group in groups])
    sides = chosen_outputs, chosen.mask, rejected_outputs, rejected.mask
    if spec.granularity != "token":
        scores = (
            model.response_scores(chosen_outputs, chosen),
            model.response_scores(rejected_outputs, rejected),
        )
        return bradley_terry_loss(*scores, margins=margins, label_smoothing=config.label_smoothing)
    if isinstance(spec.objective, DivergenceLoss):
        first = torch.tensor([group.first_divergence for group in groups])
        return divergence_preference_loss(
            *sides, first, margins=margins, label_smoothing=config.label_smoothing
        )
    changed: list[torch.Tensor] = []
    for side, batch in enumerate(
        (chosen, rejected) if isinstance(spec.objective, ChangedTokensLoss) else ()
    ):
        changed.append(torch.zeros_like(batch.mask))
        for i, group in enumerate(groups):
            changed[-1][i, : len(group.changed[side])] = torch.tensor(group.changed[side])
    return token_preference_loss(
        *sides, *changed, margins=margins, label_smoothing=config.label_smoothing
    )


def varied_pairs(n: int) -> list[Preference]:
    """Pairs of several sentences, with unlike prompts and margins."""
    rng = random.Random(5)

    def text() -> str:
        return " ".join(
            rng.choice(WORDS) + rng.choice(["", "", "."]) for _ in range(rng.randint(2, 9))
        )

    margins = [None, 0.5, 2.0]
    return [
        Preference(
            prompt=rng.choice(WORDS) * (i % 3 + 1),
            chosen=text(),
            rejected=text(),
            margin=margins[i % 3],
        )
        for i in range(n)
    ]


CONFIGS = [
    RewardModelConfig(),
    RewardModelConfig(margin=0.7),
    RewardModelConfig(label_smoothing=0.2),
]


@pytest.mark.parametrize("spec", OBJECTIVES, ids=IDS)
@pytest.mark.parametrize("config", CONFIGS, ids=["plain", "margin", "smoothed"])
def test_loss_and_gradients_are_those_of_the_plain_path(
    spec: RewardSpec, config: RewardModelConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = stirred_model(spec.granularity)
    groups = groups_of(model, varied_pairs(8))
    loss, _ = batch_loss(model, groups, spec, config)
    found = gradient(model, loss)
    monkeypatch.setattr(backbone_module, "last_mlp_at", lambda *args: torch.enable_grad())
    plain = reference_loss(model, groups, spec, config)
    torch.testing.assert_close(loss, plain, rtol=1e-5, atol=0)
    wanted = gradient(model, plain)
    assert (found - wanted).norm() <= 1e-5 * wanted.norm()


@pytest.mark.parametrize("spec", OBJECTIVES, ids=IDS)
def test_eight_pairs_at_once_are_eight_pairs_one_by_one(spec: RewardSpec) -> None:
    model = stirred_model(spec.granularity)
    groups = groups_of(model, varied_pairs(8))
    config = RewardModelConfig(margin=0.3, label_smoothing=0.1)
    whole = gradient(model, batch_loss(model, groups, spec, config)[0])
    single = [gradient(model, batch_loss(model, [g], spec, config)[0]) for g in groups]
    mean = torch.stack(single).mean(0)
    assert (whole - mean).norm() <= 1e-5 * mean.norm()


def ranked(n: int, k: int = 4) -> list[Ranking]:
    rng = random.Random(2)
    return [
        Ranking(
            prompt=rng.choice(WORDS),
            responses=[
                " ".join(rng.choices(WORDS, k=rng.randint(1, 5))) + f" {i}" for i in range(k)
            ],
            ranks=[[3, 0, 2, 1], [0, 1, 1, 2]][row % 2],
        )
        for row in range(n)
    ]


@pytest.mark.parametrize("spec", OBJECTIVES, ids=IDS)
@pytest.mark.parametrize("rankings", [False, True])
def test_micro_batches_gradients_and_accuracy_are_the_whole_batch_s(
    spec: RewardSpec, rankings: bool
) -> None:
    """Seven groups of unlike lengths, as 7 and as 3 + 3 + 1; rankings with ties and without."""
    if rankings and not spec.objective.ranks:
        return
    model = stirred_model(spec.granularity)
    groups = groups_of(model, ranked(7) if rankings else varied_pairs(7))
    found = []
    for size in (None, 7, 3):
        config = RewardModelConfig(label_smoothing=0.1, microbatch_size=size)
        measure = _measure(model, groups, spec, config)
        measured = [measure(part) for part in microbatches([g.length for g in groups], size)]
        assert len(measured) == (3 if size == 3 else 1)
        loss = sum(part for part, _ in measured)
        accuracy = sum(part["accuracy"].item() for _, part in measured)
        found.append((gradient(model, loss), loss.item(), accuracy))
    whole, same, parts = found
    assert torch.equal(whole[0], same[0])
    assert (parts[0] - whole[0]).norm() <= 1e-5 * whole[0].norm()
    assert parts[1:] == pytest.approx(whole[1:], rel=1e-5)


def test_a_whole_training_in_micro_batches_learns_the_same() -> None:
    scores = []
    for size in (None, 3):
        backbone = tiny_backbone()
        config = RewardModelConfig(epochs=1, batch_size=8, microbatch_size=size)
        model, _ = train_reward_model(
            backbone, planted_pairs(24, 0), RewardSpec("token"), config, LORA, seed=0
        )
        scores.append(model.scores(batch_of_rejected(backbone.tokens, planted_pairs(6, 1))))
    torch.testing.assert_close(scores[0], scores[1], rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("granularity", ["sequence", "segment", "token"])
def test_a_ranking_in_one_pass_is_the_mean_over_its_pairs(granularity: Granularity) -> None:
    model = stirred_model(granularity)
    groups = groups_of(model, ranked(4))
    spec, config = RewardSpec(granularity), RewardModelConfig(label_smoothing=0.1)
    loss, accuracy = batch_loss(model, groups, spec, config)
    losses, right = [], []
    for group in groups:
        pairs = [
            Group(group.prompt, [group.responses[i], group.responses[j]], [0, 1])
            for i in range(4)
            for j in range(4)
            if group.ranks[i] < group.ranks[j]
        ]
        single = [batch_loss(model, [pair], spec, config) for pair in pairs]
        losses.append(torch.stack([each[0] for each in single]).mean())
        right += [each[1].item() for each in single]
    torch.testing.assert_close(loss, torch.stack(losses).mean(), rtol=1e-5, atol=1e-6)
    assert accuracy.item() == pytest.approx(sum(right) / len(right))


def test_rankings_score_each_response_once_and_are_learned(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """More lemons are worse; a step is one pass over 16 x 3 responses."""
    passes: list[int] = []
    outputs = RewardModel.outputs

    def counted(self: RewardModel, batch: Sequences, *args: torch.Tensor) -> torch.Tensor:
        passes.append(len(batch))
        return outputs(self, batch, *args)

    monkeypatch.setattr(RewardModel, "outputs", counted)
    rng = random.Random(0)
    rows = []
    for _ in range(160):
        words = rng.choices(WORDS, k=6)
        texts = [" ".join(["lemon"] * lemons + words[lemons:]) for lemons in range(3)]
        order = rng.sample(range(3), 3)
        rows.append(Ranking(prompt="Go.", responses=[texts[i] for i in order], ranks=order))
    config = RewardModelConfig(epochs=2, batch_size=16, lr=1e-2)
    model, counts = train_reward_model(
        tiny_backbone(), rows, RewardSpec("sequence"), config, LORA, seed=0
    )
    assert passes == [48] * 20
    assert (counts["pairs"], counts["steps"]) == (480, 20)
    accuracy = preference_accuracy(model, planted_pairs(60, 1))
    assert sum(accuracy) / len(accuracy) > 0.9


def test_ties_in_a_ranking_teach_nothing() -> None:
    model = stirred_model("sequence")
    (group,) = groups_of(model, [ranked(1, 3)[0].model_copy(update={"ranks": [0, 1, 1]})])
    batch_scores = torch.cat(
        [model.response_scores(o, b) for b, o in plain_sides(model, [group])]
    ).unsqueeze(0)
    expected = ranking_loss(batch_scores, torch.tensor([[0, 1, 1]]))
    loss, _ = batch_loss(model, [group], RewardSpec("sequence"), RewardModelConfig())
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-6)


def test_what_asks_too_much_of_rankings_is_refused() -> None:
    def train(rows: list[Ranking] | list[Preference], spec: RewardSpec, **options: float) -> None:
        config = RewardModelConfig(**options)  # type: ignore[arg-type]
        train_reward_model(tiny_backbone(), rows, spec, config, LORA, seed=0)

    with pytest.raises(UserError, match=r"compares pairs: set preferences\.responses=2"):
        train(ranked(2), RewardSpec("token", ChangedTokensLoss()))
    with pytest.raises(UserError, match=r"set reward_model\.margin=0"):
        train(ranked(2), RewardSpec("sequence"), margin=1.0)
    with pytest.raises(UserError, match=r"rankings of \[3, 4\] responses"):
        train(
            [*ranked(1), Ranking(prompt="a", responses=list("abc"), ranks=[0, 1, 2])], OBJECTIVES[0]
        )
    with pytest.raises(UserError, match="nothing to train"):
        train([Preference(prompt="a", chosen="red", rejected="red")], OBJECTIVES[0])


def test_margin_and_smoothing_by_hand() -> None:
    """One pair of margin 2 under margin .5: the loss is that of R_w - R_l - 1, smoothed by .1."""
    model = stirred_model("sequence")
    pair = Preference(prompt="Go.", chosen="red", rejected="blue", margin=2.0)
    groups = groups_of(model, [pair])
    chosen, rejected = (
        model.response_scores(outputs, batch) for batch, outputs in plain_sides(model, groups)
    )
    z = (chosen - rejected).item() - 1.0
    expected = 0.9 * torch.tensor(-z).exp().log1p() + 0.1 * torch.tensor(z).exp().log1p()
    config = RewardModelConfig(margin=0.5, label_smoothing=0.1)
    loss, _ = batch_loss(model, groups, RewardSpec("sequence"), config)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
