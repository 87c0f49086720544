"""What states are worth: continuations by hand, and what is paid and learned at sampled tokens."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from bench.config.run import PPOConfig, RunConfig
from bench.models.backbone import Backbone
from bench.models.heads import ScalarHead, ValueModel
from bench.models.names import POLICY, VALUE
from bench.pipeline.progress import Progress
from bench.plugins.registry import ADVANTAGES, TOKEN_SOURCES
from bench.rl import gae
from bench.stages import monte_carlo
from bench.stages.chosen import Chosen, ChosenAlgorithm
from bench.stages.credit import paid_and_learned
from bench.stages.monte_carlo import Continued, build_monte_carlo, read_continued
from bench.stages.planned_source import Paid, PlannedSource
from bench.stats.credit import Truth
from bench.suites.testbed.suite import Testbed
from methods.gold_ppo import GoldPPO
from methods.gold_token_ppo import GoldTokenPPO
from tests.tiny import LORA, stir, stop_often, tiny_backbone

MOST = 6
GREEDY = 1e-4  # a temperature at which the most likely token is drawn
PROMPTS = ("Say red.", "Go on, please.", "Name it.")


class Letters(Testbed):
    """Each "e" of a response is worth .5, where it stands."""

    def prompts(self, split: str, n: int, seed: int) -> list[str]:
        return list(PROMPTS)[:n]

    def gold_terms(self, prompt: str, response: str) -> list[tuple[int | None, float]]:
        return [(i + 1, 0.5) for i, letter in enumerate(response) if letter == "e"]

    def score(self, prompt: str, response: str) -> float:
        return sum(amount for _, amount in self.gold_terms(prompt, response))


def settings(temperature: float = 1.0, most: int = MOST) -> RunConfig:
    return RunConfig.model_validate(
        {
            "ppo": {"temperature": temperature},
            "evaluation": {"test_prompts": len(PROMPTS), "max_new_tokens": most},
        }
    )


@pytest.fixture
def backbone(monkeypatch: pytest.MonkeyPatch) -> Backbone:
    model = tiny_backbone()
    stop_often(model)
    monkeypatch.setattr(monte_carlo, "load_sft", lambda context, folder: model)
    return model


def context_of(config: RunConfig) -> Any:
    return SimpleNamespace(config=config, suite=Letters(), progress=Progress(quiet=True))


def build(config: RunConfig, out: Path, *asked: int, inputs: int = 1) -> list[Continued]:
    out.mkdir()
    build_monte_carlo(context_of(config), out, [out] * inputs, *asked)
    return read_continued(out)


def greedily(backbone: Backbone, prompt: list[int], ids: list[int], most: int) -> list[int]:
    """The response that `ids` becomes, a whole pass a token."""
    while len(ids) < most and ids[-1:] != [backbone.tokens.eos_id]:
        batch = backbone.tokens.join([prompt], [[*ids, 1]])
        with torch.no_grad():
            ids = [*ids, int(backbone.logits(batch, None)[0, -1].argmax())]
    return ids


def test_values_are_those_of_the_response_that_each_state_leads_to(backbone: Backbone) -> None:
    """A model that cannot but go on in one way: K equal returns, A is their difference."""
    rng = torch.Generator().manual_seed(4)
    rows = [
        Continued(text, torch.randint(10, 900, (n,), generator=rng).tolist(), [0, n - 2, n - 1], {})
        for text, n in zip(PROMPTS, (3, 4, MOST), strict=True)
    ]
    rows[0].ids[-1] = backbone.tokens.eos_id
    rows[1].ids[-1] = backbone.tokens.eos_id
    monte_carlo._continue(context_of(settings(GREEDY)), backbone, None, rows, 3, rng)
    tokens, suite, values = backbone.tokens, Letters(), []
    for row in rows:
        assert set(row.returns) == {t + i for t in row.tokens for i in (0, 1)}
        for t, returns in row.returns.items():
            whole = greedily(backbone, tokens.prompt(row.prompt), row.ids[:t], MOST)
            expected = suite.score(row.prompt, tokens.text(whole))
            assert returns == [expected] * 3, (row.prompt, t)
            values.append(expected)
        assert returns == [suite.score(row.prompt, tokens.text(row.ids))] * 3  # the end: exactly g
    assert len(set(values)) > 2


def test_a_continuation_ends_where_a_response_would(
    backbone: Backbone, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Of a model that never ends: the whole is as long as an evaluated response may be."""
    head = backbone.model.get_output_embeddings()
    head.bias[backbone.tokens.eos_id] = -1e4
    seen: list[int] = []
    text_of = backbone.tokens.text
    monkeypatch.setattr(backbone.tokens, "text", lambda ids: seen.append(len(ids)) or text_of(ids))
    rows = build(settings(), tmp_path / "out", 4, 3, 2, 0)
    assert set(seen) == {MOST}
    assert [len(row.ids) for row in rows] == [MOST] * 4
    assert [row.prompt for row in rows] == [*PROMPTS, PROMPTS[0]]  # more than there are prompts
    for row in rows:
        assert len(row.tokens) == 3
        assert row.tokens == sorted(set(row.tokens))


def test_a_seed_repeats_it_and_the_policy_draws_its_own(backbone: Backbone, tmp_path: Path) -> None:
    first = build(settings(), tmp_path / "a", 3, 4, 2, 0)
    assert build(settings(), tmp_path / "b", 3, 4, 2, 0) == first
    assert build(settings(), tmp_path / "c", 3, 4, 2, 1) != first
    folder = tmp_path / "d"
    backbone.add_adapter(POLICY, LORA)
    stir(backbone, POLICY, scale=0.5)
    backbone.save_adapter(POLICY, folder / "policy")
    folder_too = tmp_path / "e"
    folder_too.mkdir()
    build_monte_carlo(context_of(settings()), folder_too, [folder, folder], 3, 4, 2, 0)
    assert read_continued(folder_too) != first
    assert backbone.adapters == set()


PPO = PPOConfig(gae_lambda=0.9, gamma=0.98, whiten_advantages=False, missing_eos="subtract")


def paid_by(method: Any, source: str, advantage: str = "gae", **options: Any) -> Paid:
    planned = PlannedSource(source, TOKEN_SOURCES.entry(source).target, {})
    chosen = Chosen.of(ADVANTAGES, advantage, options)
    return Paid(method, planned, ChosenAlgorithm("ppo", PPO, advantage=chosen))


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    """The folder of a policy's stage: policy and value, each an adapter of its own."""
    backbone = tiny_backbone()
    for name in (POLICY, VALUE):
        backbone.add_adapter(name, LORA)
        stir(backbone, name)
    head = ScalarHead(backbone.hidden_size, generator=torch.Generator().manual_seed(3))
    backbone.save_adapter(POLICY, tmp_path / "made" / "policy")
    ValueModel(backbone, VALUE, head).save(tmp_path / "made" / VALUE)
    return tmp_path / "made"


def measured(
    backbone: Backbone, policy: Path, rows: list[Continued], paid: Paid
) -> tuple[Any, Any, str]:
    context = context_of(settings(most=12))
    context.suite = Letters()
    return paid_and_learned(context, backbone, paid, [], policy, rows, adapter=None, seed=0)


def truth_of(rows: list[Continued]) -> Truth:
    before = [row.returns[t] for row in rows for t in row.tokens]
    after = [row.returns[t + 1] for row in rows for t in row.tokens]
    clusters = [i for i, row in enumerate(rows) for _ in row.tokens]
    return Truth(np.array(before), np.array(after), clusters)


def test_gold_in_its_place_follows_the_truth_closer_than_gold_at_the_end(
    backbone: Backbone, policy: Path, tmp_path: Path
) -> None:
    """One sum, two places; what is paid at the end says nothing of any one token but the last."""
    rows = build(settings(most=12), tmp_path / "out", 48, 12, 12, 0)
    truth = truth_of(rows)
    placed, _, _ = measured(backbone, policy, rows, paid_by(GoldTokenPPO(None), "gold_terms"))
    ended, _, _ = measured(backbone, policy, rows, paid_by(GoldPPO(None), "gold"))
    assert placed.sum() == pytest.approx(ended.sum())  # every token was taken
    near, far = truth.correlation(placed), truth.correlation(ended)
    assert near.ci95 is not None
    assert far.value is not None
    assert near.ci95[0] > far.value + 0.1
    assert near.corrected is not None
    assert near.corrected > 0.6  # letters hardly depend on each other; only EOS ends them all


def test_advantages_are_those_of_the_trainer_without_the_kl(
    backbone: Backbone, policy: Path, tmp_path: Path
) -> None:
    rows = build(settings(), tmp_path / "out", 3, MOST, 2, 0)
    shares, learned, note = measured(
        backbone, policy, rows, paid_by(GoldTokenPPO(None), "gold_terms")
    )
    tokens = backbone.tokens
    value = ValueModel.load(backbone, policy / VALUE)
    expected: list[float] = []
    rest = shares.tolist()
    for row in rows:
        own, rest = rest[: len(row.ids)], rest[len(row.ids) :]
        if row.ids[-1] not in tokens.eos_ids:
            own[-1] -= PPO.missing_eos_penalty
        batch = tokens.join([tokens.prompt(row.prompt)], [row.ids])
        with torch.no_grad():
            values: Tensor = value.values(batch)
        advantages, _ = gae(torch.tensor([own]), values, batch.mask, gamma=0.98, gae_lambda=0.9)
        expected += advantages[0].tolist()
    np.testing.assert_allclose(learned, expected, atol=1e-4)
    assert note == ""


def test_group_advantages_compare_with_other_responses_to_the_prompt(
    backbone: Backbone, policy: Path, tmp_path: Path
) -> None:
    """Of K = 2: A = R_1 - R_2, the same at each token of a response; shares are its own."""
    rows = build(settings(), tmp_path / "out", 3, MOST, 2, 0)
    paid = paid_by(GoldPPO(None), "gold", "leave_one_out", samples=2)
    shares, learned, _ = measured(backbone, policy, rows, paid)
    start = 0
    for row in rows:
        own = slice(start, start + len(row.ids))
        start += len(row.ids)
        score = Letters().score(row.prompt, backbone.tokens.text(row.ids))
        assert shares[own].tolist() == [0.0] * (len(row.ids) - 1) + [score]
        assert len(set(learned[own].tolist())) == 1
    assert len(set(learned.tolist())) > 1


def test_what_has_no_advantages_says_why(backbone: Backbone, policy: Path, tmp_path: Path) -> None:
    rows = build(settings(), tmp_path / "out", 2, 2, 2, 0)
    paid = paid_by(GoldPPO(None), "gold")
    (policy / VALUE).rename(policy / "elsewhere")
    shares, learned, note = measured(backbone, policy, rows, paid)
    assert len(shares) == sum(len(row.tokens) for row in rows)
    assert learned is None
    assert note == "its algorithm, ppo, kept no value function"
    other = Paid(paid.method, paid.source, ChosenAlgorithm("reinforce", PPO))
    _, learned, note = measured(backbone, policy, rows, other)
    assert learned is None
    assert note == "its algorithm, reinforce, has no advantages of tokens"
