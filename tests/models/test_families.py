"""What people load: each family's tokenizer is taken as it is, and its model drawn from rightly."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch

from bench.config.run import ModelConfig
from bench.models.backbone import Backbone
from bench.models.rollout import Sampling, draw_responses
from bench.models.tokens import Tokens
from bench.suites.testbed.suite import Testbed
from tests.models.families import FAMILIES, Family, save
from tests.tiny import LORA, stir, stop_often

TEXTS = ["Name a town.", "What is 17 times 4, and why?\nSay it in full.", "¿Où est Århus? 😀"]


@dataclass
class Loaded:
    """A family, and its folder as a run reads it."""

    family: Family
    backbone: Backbone

    @property
    def tokens(self) -> Tokens:
        return self.backbone.tokens

    def names(self, ids: list[int]) -> list[str]:
        found: list[str] = self.tokens.tokenizer.convert_ids_to_tokens(ids)
        return found


@pytest.fixture(scope="module", params=FAMILIES)
def loaded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    folder = tmp_path_factory.mktemp(request.param)
    family = save(request.param, folder)
    settings = ModelConfig(device="cpu", template=family.template)
    return Loaded(family, Backbone.load(str(folder), settings, Testbed.prompt_template))


@pytest.mark.parametrize("text", TEXTS)
def test_a_prompt_begins_and_a_response_ends_as_the_family_has_it(
    loaded: Loaded, text: str
) -> None:
    """BOS once, where the tokenizer adds one or the chat spells it, and nowhere else."""
    family, tokens = loaded.family, loaded.tokens
    begins = family.adds_bos if family.chat is None else "bos_token" in family.chat
    prompt, response = tokens.prompt(text), tokens.response(text)
    # NeoX's and GPT-2's one special token is BOS, EOS and, where there is one, padding.
    assert [name for name in loaded.names(prompt) if name == family.bos] == [family.bos] * begins
    assert loaded.names(prompt)[0] == family.bos or not begins
    assert tokens.text(response) == text
    assert tokens.offsets(text, response) == tokens.offsets(text)
    assert tokens.ends(torch.tensor(response)).tolist() == [False] * (len(response) - 1) + [True]
    assert set(loaded.names(tokens.eos_ids)) == {family.eos, *family.ends}
    assert response[-1] == tokens.eos_id


def test_what_spells_the_familys_marks_is_text(loaded: Loaded) -> None:
    """Of the prompt's template the marks are marks, of what people write they are not."""
    marks = [*loaded.family.first, *loaded.family.last]
    spelled, tokens = f"Say {' or '.join(marks)}.", loaded.tokens
    special = [name for name in loaded.names(tokens.prompt("Say it.")) if name in marks]
    assert [name for name in loaded.names(tokens.prompt(spelled)) if name in marks] == special
    assert tokens.text(tokens.response(spelled)) == spelled


def test_no_id_is_drawn_that_no_token_has(loaded: Loaded) -> None:
    padded = loaded.backbone.model.config.vocab_size - loaded.backbone.vocabulary
    assert padded == loaded.family.padded
    assert loaded.tokens.size == len(loaded.tokens.tokenizer) == loaded.backbone.vocabulary


@pytest.mark.parametrize("merge", [True, False])
def test_rollouts_are_the_policy_s(loaded: Loaded, merge: bool) -> None:
    """Rows of unlike lengths, windows shorter than they are, packed where the family can be."""
    backbone = loaded.backbone
    stop_often(backbone, bias=4.0)
    backbone.add_adapter("policy", LORA)
    stir(backbone, "policy")
    prompts = [backbone.tokens.prompt(text) for text in TEXTS * 3]
    rng = torch.Generator().manual_seed(0)
    drawn = draw_responses(backbone, "policy", prompts, Sampling(20, merge=merge), rng)
    assert len({len(response.ids) for response in drawn}) > 2
    together = backbone.tokens.join(prompts, [response.ids for response in drawn])
    logprobs = backbone.logprobs(together, "policy").detach()
    for i, (prompt, response) in enumerate(zip(prompts, drawn, strict=True)):
        measured = torch.tensor(response.logprobs)
        alone = backbone.logprobs(backbone.tokens.join([prompt], [response.ids]), "policy")
        for expected in (alone[0].detach(), logprobs[i, : len(measured)]):
            torch.testing.assert_close(measured, expected, rtol=1e-3, atol=1e-3)
