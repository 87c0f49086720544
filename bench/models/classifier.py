"""A reward model that somebody else trained: a sequence classifier with one output.

It is no adapter on the policy's base: it has weights, a tokenizer and a vocabulary of its own, and
so it is given texts. It scores a whole response and nothing smaller, and it is never trained.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from bench.errors import UserError
from bench.hub import HubRepo
from bench.models.backbone import Backbone
from bench.models.context import context_length
from bench.models.heads import SCORING_CHUNK, Granularity, RewardModel
from bench.models.names import CONSTANTS
from bench.models.sequences import chunks_by_length
from bench.models.templates import PROMPT, Template, rendered
from bench.models.tokens import Tokens

FOLDER = "classifier"  # of a reward model's artifact: weights and tokenizer
_ANSWER = "{response}"


@dataclass(frozen=True)
class Conversation:
    """A tokenizer's chat template with one question and one answer.

    Attributes:
        tokens: puts a prompt into the user's turn, with the assistant's opened behind it.
        end: ids of what the template writes behind the answer.
    """

    tokens: Tokens
    end: list[int]

    @classmethod
    def of(cls, tokenizer: Any, path: str) -> Conversation | None:
        """That of a tokenizer; None: it has no chat template.

        Args:
            tokenizer: of the classifier.
            path: of the classifier, for the message.

        Raises:
            UserError: the template does not show a question and its answer once each.
        """
        if not getattr(tokenizer, "chat_template", None):
            return None
        turns = [{"role": "user", "content": PROMPT}, {"role": "assistant", "content": _ANSWER}]
        try:
            text = rendered(tokenizer, turns, opens=False)
        except UserError:
            text = ""
        if (text.count(PROMPT), text.count(_ANSWER)) != (1, 1):
            raise UserError(
                f"reward_model.path={path}: its chat template cannot show a prompt and its "
                "response, once each; choose another reward model, or take the template out of it"
            )
        head, _, end = text.partition(_ANSWER)
        ids = tokenizer.encode(end, add_special_tokens=False)
        return cls(Tokens(tokenizer, Template(head, whole=True)), ids)


class Classifier:
    """R of a response, of texts.

    Args:
        model: a sequence classifier of the transformers library, with one output.
        tokenizer: its own.
        backbone: the policy's base, whose tokens are read back as texts.
        template: the suite's; it puts the prompt where the tokenizer has no chat template.
        path: for messages.

    Attributes:
        mean, std: of R over SFT samples, as `RewardModel` has them.
    """

    granularity: Granularity = "sequence"

    def __init__(
        self, model: Any, tokenizer: Any, backbone: Backbone, template: str, path: str
    ) -> None:
        self.model = model.to(backbone.device).eval().requires_grad_(False)
        self.tokenizer, self.backbone, self.template = tokenizer, backbone, template
        self.conversation = Conversation.of(tokenizer, path)
        self.mean, self.std = 0.0, 1.0
        limits = [context_length(model.config), getattr(tokenizer, "model_max_length", None)]
        self._most = min((limit for limit in limits if limit), default=None)

    @classmethod
    def read(cls, path: str, backbone: Backbone, template: str) -> Classifier:
        """The classifier of a folder or of the hub (ID@COMMIT), in the base's precision.

        Raises:
            UserError: it cannot be read, or not all of its weights are there.
        """
        tokenizer = _loaded(AutoTokenizer, path)
        model, told = _loaded(
            AutoModelForSequenceClassification,
            path,
            dtype=backbone.model.dtype,
            use_safetensors=True,
            output_loading_info=True,
        )
        if missing := sorted(told["missing_keys"]):
            raise UserError(
                f"reward_model.path={path}: its weights lack {', '.join(missing[:3])}, which would "
                "be random: a classifier has to be saved with its head"
            )
        return cls(model, tokenizer, backbone, template, path)

    def save(self, folder: Path) -> None:
        """Write weights, tokenizer and constants to `folder`."""
        self.model.save_pretrained(str(folder / FOLDER))
        self.tokenizer.save_pretrained(str(folder / FOLDER))
        constants = {"granularity": self.granularity, "mean": self.mean, "std": self.std}
        (folder / CONSTANTS).write_text(json.dumps(constants, indent=1) + "\n")

    def ids(self, prompt: str, response: str) -> list[int]:
        """Ids of a prompt and its response; where they are too many, the response loses its end.

        Both texts are text: what spells a special token in them is none.
        """
        if self.conversation is None:
            text = self.template.replace(PROMPT, prompt) + response
            cut = {} if self._most is None else {"truncation": True, "max_length": self._most}
            found: list[int] = self.tokenizer(text, split_special_tokens=True, **cut)["input_ids"]
            return found
        ids, end = self.conversation.tokens.joined(prompt, response), self.conversation.end
        return [*ids[: None if self._most is None else self._most - len(end)], *end]

    @torch.no_grad()
    def scores(self, asked: Sequence[tuple[str, list[int]]]) -> Tensor:
        """(B,) normalised R of responses, given as prompt and the ids that the policy's base has.

        Whether a response ended is not seen by a reader of texts; PPO prices it for all alike.
        """
        text = self.backbone.tokens.text
        rows = [self.ids(prompt, text(response)) for prompt, response in asked]
        raw = torch.empty(len(rows), device=self.backbone.device)
        # The library finds a row's last token by the id of padding; without one it takes one row.
        pad = getattr(self.model.config.get_text_config(), "pad_token_id", None)
        size = 1 if pad is None else SCORING_CHUNK
        for index in chunks_by_length([len(row) for row in rows], size):
            raw[index] = self._outputs([rows[i] for i in index], pad or 0)
        return (raw - self.mean) / self.std

    rate = scores

    def _outputs(self, rows: list[list[int]], pad: int) -> Tensor:
        """(b,) the model's output for each row."""
        ids = pad_sequence([torch.tensor(row) for row in rows], batch_first=True, padding_value=pad)
        lengths = torch.tensor([len(row) for row in rows])
        attention = torch.arange(ids.shape[1]) < lengths.unsqueeze(1)
        device = self.backbone.device
        output = self.model(ids.to(device), attention_mask=attention.long().to(device))
        return output.logits[:, 0].float()


def check_tokenizer(path: str) -> None:
    """Find out before anything runs that a classifier cannot be given texts.

    Raises:
        UserError: its tokenizer cannot be loaded, or its chat template not be used.
    """
    Conversation.of(_loaded(AutoTokenizer, path), path)


def _loaded(kind: Any, path: str, **options: Any) -> Any:
    """What a class of the transformers library reads from a folder or the hub (ID@COMMIT)."""
    repo = HubRepo.model(path)
    name, revision = (path, None) if repo is None else (repo.name, repo.revision)
    try:
        return kind.from_pretrained(name, revision=revision, trust_remote_code=False, **options)
    except (OSError, ValueError) as error:
        why = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"cannot load reward_model.path={path}: {why}") from error


def load_reward_model(
    backbone: Backbone, adapter: str, folder: Path, template: str
) -> RewardModel | Classifier:
    """The reward model of an artifact, whichever kind it is; arguments as theirs."""
    if not (folder / FOLDER).is_dir():
        return RewardModel.load(backbone, adapter, folder)
    model = Classifier.read(str(folder / FOLDER), backbone, template)
    constants = json.loads((folder / CONSTANTS).read_text())
    model.mean, model.std = constants["mean"], constants["std"]
    return model
