"""A sequence classifier from elsewhere: what it is given to read, and what it says of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from bench.errors import UserError
from bench.models import classifier
from bench.models.backbone import Backbone
from bench.models.classifier import Classifier, load_reward_model
from bench.suites.testbed.suite import Testbed
from bench.training.reward_model import normalise
from tests.tiny import CHAT, tiny_backbone, tiny_classifier

TEMPLATE = Testbed.prompt_template
TEXTS = [("Name a town.", "Aldby."), ("Go.", "A red house stands by the old wall."), ("Why?", "")]


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return tiny_backbone()


def asked(backbone: Backbone) -> list[tuple[str, list[int]]]:
    return [(prompt, backbone.tokens.response(text)) for prompt, text in TEXTS]


def test_with_a_chat_template_it_reads_a_question_and_its_answer(
    backbone: Backbone, tmp_path: Path
) -> None:
    """The ids and the output of the library's own way, to the line break behind the last turn."""
    path = tiny_classifier(tmp_path, chat=CHAT)
    model = Classifier.read(str(path), backbone, TEMPLATE)
    tokenizer = AutoTokenizer.from_pretrained(path)
    plain = AutoModelForSequenceClassification.from_pretrained(path).eval()
    expected = []
    for prompt, response in TEXTS:
        turns = [{"role": "user", "content": prompt}, {"role": "assistant", "content": response}]
        ids = tokenizer.apply_chat_template(turns, return_tensors="pt", return_dict=True)
        assert model.ids(prompt, response) == ids["input_ids"][0].tolist()
        with torch.no_grad():
            expected.append(plain(**ids).logits[0, 0])
    torch.testing.assert_close(model.rate(asked(backbone)), torch.stack(expected))


def test_without_one_the_suites_template_puts_the_prompt(
    backbone: Backbone, tmp_path: Path
) -> None:
    model = Classifier.read(str(tiny_classifier(tmp_path)), backbone, "Q: {prompt} A: ")
    whole = model.tokenizer("Q: Name a town. A: Aldby.")["input_ids"]
    assert model.ids("Name a town.", "Aldby.") == whole


@pytest.mark.parametrize("chat", [None, CHAT])
def test_what_spells_a_special_token_is_text(
    chat: str | None, backbone: Backbone, tmp_path: Path
) -> None:
    model = Classifier.read(str(tiny_classifier(tmp_path, chat=chat)), backbone, "{prompt} ")
    special = model.tokenizer.convert_tokens_to_ids("<|user|>")
    count = [model.ids(prompt, "a <|user|> b").count(special) for prompt in ("Go.", "<|user|>")]
    assert count == ([1, 1] if chat else [0, 0])


@pytest.mark.parametrize("chat", [None, CHAT])
def test_a_long_response_loses_its_end_and_nothing_else(
    chat: str | None, backbone: Backbone, tmp_path: Path
) -> None:
    model = Classifier.read(str(tiny_classifier(tmp_path, chat=chat)), backbone, TEMPLATE)
    short, long = model.ids("Go.", "red"), model.ids("Go.", "red " * 400)
    end = len(model.conversation.end) if model.conversation else 0
    assert len(long) == 160
    assert long[-end:] == short[-end:] if end else True
    assert long[: len(short) - end] == short[: len(short) - end]


def test_a_score_does_not_depend_on_its_batch(
    backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor on whether the configuration has an id for padding, without which rows go singly."""
    rows, found = asked(backbone), []
    for pad, size in ((True, 16), (True, 1), (False, 16)):
        path = tiny_classifier(tmp_path / f"{pad}", pad=pad)
        monkeypatch.setattr(classifier, "SCORING_CHUNK", size)
        found.append(Classifier.read(str(path), backbone, TEMPLATE).rate(rows))
    torch.testing.assert_close(found[0], found[1])
    torch.testing.assert_close(found[0], found[2])
    assert found[0].unique().numel() == len(rows)


def test_it_is_normalised_and_kept(backbone: Backbone, tmp_path: Path) -> None:
    model = Classifier.read(str(tiny_classifier(tmp_path / "a", chat=CHAT)), backbone, TEMPLATE)
    normalise(model, asked(backbone))
    scores = model.rate(asked(backbone))
    assert scores.mean().item() == pytest.approx(0, abs=1e-5)
    assert scores.std(unbiased=False).item() == pytest.approx(1, abs=1e-5)
    model.save(tmp_path / "b")
    again = load_reward_model(backbone, "reward", tmp_path / "b", TEMPLATE)
    assert isinstance(again, Classifier)
    assert torch.equal(again.rate(asked(backbone)), scores)


def test_weights_that_would_be_random_are_refused(backbone: Backbone, tmp_path: Path) -> None:
    path = tiny_classifier(tmp_path)
    weights = load_file(path / "model.safetensors")
    del weights["score.weight"]
    save_file(weights, path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"lack score\.weight, which would be random"):
        Classifier.read(str(path), backbone, TEMPLATE)


@pytest.mark.parametrize("chat", ["{{ messages[0].content }}", "{{ raise_exception('no') }}"])
def test_a_chat_template_that_shows_no_answer_is_refused(
    chat: str, backbone: Backbone, tmp_path: Path
) -> None:
    path = tiny_classifier(tmp_path, chat=chat)
    with pytest.raises(UserError, match="its chat template cannot show a prompt and its response"):
        Classifier.read(str(path), backbone, TEMPLATE)


def test_pickled_weights_are_not_read(backbone: Backbone, tmp_path: Path) -> None:
    path = tiny_classifier(tmp_path)
    torch.save(load_file(path / "model.safetensors"), path / "pytorch_model.bin")
    (path / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"cannot load reward_model\.path") as error:
        Classifier.read(str(path), backbone, TEMPLATE)
    assert "\n" not in str(error.value)
    assert json.loads((path / "config.json").read_text())["architectures"]
