"""Scalar heads on an adapter's hidden states: the reward model and the value function."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from bench.models import processes
from bench.models.backbone import Backbone
from bench.models.names import ADAPTER, CONSTANTS, POLICY, VALUE, VALUE_CONSTANTS
from bench.models.segmenters import SENTENCES, Places, Segments
from bench.models.sequences import Sequences, chunks_by_length
from bench.rl import segment_rewards, segment_score, sequence_rewards
from bench.rl.masking import last_counted, masked_mean

if TYPE_CHECKING:
    from bench.plugins.protocols import Segmenter

Granularity = Literal["sequence", "segment", "token"]

SCORING_CHUNK = 16  # responses of like length scored together


class ScalarHead(nn.Module):
    """A linear map to one number, without bias, in float32.

    Args:
        hidden_size: d.
        scale: factor on the output.
        zero: start at 0 instead of std 1/sqrt(d+1) (arXiv:2009.01325, Appendix).
        generator: source of the initial weights.
    """

    def __init__(
        self,
        hidden_size: int,
        *,
        scale: float = 1.0,
        zero: bool = False,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        std = 0.0 if zero else (hidden_size + 1) ** -0.5
        self.weight = nn.Parameter(torch.randn(hidden_size, generator=generator) * std)
        self.scale = scale

    def forward(self, hidden: Tensor) -> Tensor:
        """(..., d) hidden states to (...) numbers."""
        return hidden.float() @ self.weight * self.scale


class Scorer(Protocol):
    """What every reward model is, wherever it was trained: a score for each response.

    Attributes:
        backbone: the policy's base, whose ids responses are given in.
        mean, std: of R over SFT samples.
    """

    backbone: Backbone
    mean: float
    std: float

    def scores(self, batch: Any) -> Tensor:
        """(B,) normalised R of what the model reads: a batch of ids, or texts."""
        ...

    def rate(self, asked: Sequence[tuple[str, list[int]]]) -> Tensor:
        """(B,) normalised R of responses that are given as prompt and ids."""
        ...


class RewardModel:
    """A reward for the response, for each of its segments or tokens, from adapter and head.

    Attributes:
        granularity: "sequence": R is the output at the last token; "segment": the mean of the
            outputs at the ends of segments; "token": every output r_t counts and R is their mean
            (arXiv:2406.02756, Eq. 1).
        segments: of a segment model, how it cuts responses.
        mean, std: of R over SFT samples; `scores` and `token_scores` are normalised with them.
        places: of a segment model, how its outputs depend on a segment's place.
    """

    def __init__(
        self,
        backbone: Backbone,
        adapter: str,
        head: ScalarHead,
        granularity: Granularity,
        segments: Segments = SENTENCES,
    ) -> None:
        self.backbone, self.adapter, self.granularity = backbone, adapter, granularity
        self.head = head.to(backbone.device)
        self.segments = segments
        self.mean, self.std = 0.0, 1.0
        self.places = Places()

    @cached_property
    def segmenter(self) -> Segmenter:
        """Cuts responses."""
        return self.segments.segmenter(self.backbone)

    def outputs(self, batch: Sequences, read: Tensor | None = None) -> Tensor:
        """(B, T) the head's raw output after each response token, or where `read` (B, T) is True.

        What stands elsewhere means nothing; leaving it out saves time.
        """
        states = None if read is None else torch.nn.functional.pad(read, (1, 0))
        return self.head(self.backbone.hidden(batch, self.adapter, states)[:, 1:])

    def read(self, batch: Sequences) -> Tensor:
        """(B, T) True = a response token whose output R is made of."""
        if self.granularity == "token":
            return batch.mask
        last = last_counted(batch.mask)
        return last if self.granularity == "sequence" else last | self.segment_ends(batch)

    def segment_ends(self, batch: Sequences) -> Tensor:
        """(B, T) True = a segment's last token; an EOS is part of the last segment."""
        return self.segmenter.ends(batch)

    def response_scores(self, outputs: Tensor, batch: Sequences) -> Tensor:
        """(B,) R of each response from the raw outputs (B, T)."""
        if self.granularity == "token":
            return masked_mean(outputs, batch.mask, dim=1)
        if self.granularity == "segment":
            return segment_score(outputs, self.segment_ends(batch), batch.mask)
        last = batch.mask.sum(dim=1, keepdim=True) - 1
        return outputs.gather(1, last).squeeze(1)

    def scores(self, batch: Sequences) -> Tensor:
        """(B,) normalised R, without gradient."""
        outputs = map_rows(lambda rows: self.outputs(rows, self.read(rows)), batch)
        return (self.response_scores(outputs, batch) - self.mean) / self.std

    def rate(self, asked: Sequence[tuple[str, list[int]]]) -> Tensor:
        """(B,) the same of responses that are given as prompt and ids."""
        return self.scores(self.backbone.batch_of(asked))

    def token_scores(self, batch: Sequences) -> Tensor:
        """(B, T) normalised r_t for people and for localisation, without gradient; 0 at padding.

        Of a token model the outputs, (r_t - mean) / std. Of a segment model each sentence's output
        spread over its tokens, T / (K len_k) times itself with K sentences (`segment_rewards`).
        The mean over a response's tokens is its R, of both. Of a sequence model the outputs: what
        R would be, had the response ended there.
        """
        if self.granularity != "segment":
            return self._normalised(batch)
        return self.paid(batch) * batch.lengths.unsqueeze(1)

    def prefix_scores(self, batch: Sequences) -> Tensor:
        """(B, T + 1) what a sequence model's normalised R would be after 0, 1, ..., T tokens.

        Without gradient; 0 where there is no such token.
        """
        states = map_rows(
            lambda rows: self.head(self.backbone.hidden(rows, self.adapter)), batch, columns=1
        )
        counted = torch.nn.functional.pad(batch.mask, (1, 0), value=True)
        return (states - self.mean) / self.std * counted

    def paid(self, batch: Sequences) -> Tensor:
        """(B, T) what each token is paid, without gradient; 0 at padding; a row sums to `scores`.

        Sequence: R on the last token. Segment: r_k / (K len_k) on each token of sentence k of K.
        Token: r_t / T on token t.
        """
        if self.granularity == "sequence":
            return sequence_rewards(self.scores(batch), batch.mask)
        outputs = self._normalised(batch)
        if self.granularity == "segment":
            return segment_rewards(outputs, self.segment_ends(batch), batch.mask)
        return outputs / batch.lengths.unsqueeze(1)

    def _normalised(self, batch: Sequences) -> Tensor:
        """(B, T) (output - mean) / std, 0 at padding."""
        return (map_rows(self.outputs, batch) - self.mean) / self.std * batch.mask

    def save(self, folder: Path, base: Mapping[str, str]) -> None:
        """Write the adapter (PEFT format), the head and the constants to `folder`.

        Args:
            folder: where to.
            base: hashes of the weights of the SFT model below, by file: how another run knows
                whether it stands on the same one.
        """
        self.backbone.save_adapter(self.adapter, folder / ADAPTER)
        save_file({"weight": self.head.weight.detach().cpu()}, folder / "head.safetensors")
        constants = {
            "granularity": self.granularity,
            "mean": self.mean,
            "std": self.std,
            "scale": self.head.scale,
            "segments": asdict(self.segments),
            "places": asdict(self.places),
            "base": dict(base),
        }
        (folder / CONSTANTS).write_text(json.dumps(constants, indent=1) + "\n")

    @classmethod
    def load(cls, backbone: Backbone, adapter: str, folder: Path) -> RewardModel:
        """Read what `save` wrote; the PEFT adapter gets the name `adapter`."""
        constants = json.loads((folder / CONSTANTS).read_text())
        backbone.add_adapter(adapter, folder=folder / ADAPTER)
        head = ScalarHead(backbone.hidden_size, scale=constants["scale"], zero=True)
        head.load_state_dict(load_file(folder / "head.safetensors"))
        segments = Segments(**constants.get("segments", {}))  # older ones knew sentences alone
        model = cls(backbone, adapter, head, constants["granularity"], segments)
        model.mean, model.std = constants["mean"], constants["std"]
        model.places = Places(**constants.get("places", {}))
        return model


class ValueModel:
    """The expected return from each state of a response, from adapter and head.

    Attributes:
        offset: added to the head's output; not 0 where it started as a reward model's.
    """

    def __init__(self, backbone: Backbone, adapter: str, head: ScalarHead) -> None:
        self.backbone, self.adapter = backbone, adapter
        self.head = head.to(backbone.device)
        self.offset = 0.0

    def start_from(self, model: RewardModel) -> None:
        """Start as the reward model's normalised output; the adapter is copied by the caller."""
        with torch.no_grad():
            self.head.weight.copy_(model.head.weight)
        self.head.scale = model.head.scale / model.std
        self.offset = -model.mean / model.std

    def save(self, folder: Path) -> None:
        """Write head and constants to `folder`, and the adapter (PEFT format) if it is its own."""
        if self.adapter != POLICY:
            self.backbone.save_adapter(self.adapter, folder / ADAPTER)
        folder.mkdir(exist_ok=True)
        save_file({"weight": self.head.weight.detach().cpu()}, folder / "head.safetensors")
        constants = {"scale": self.head.scale, "offset": self.offset}
        (folder / VALUE_CONSTANTS).write_text(json.dumps(constants, indent=1) + "\n")

    @classmethod
    def load(cls, backbone: Backbone, folder: Path) -> ValueModel:
        """Read what `save` wrote; one without an adapter stands on adapter "policy"."""
        constants = json.loads((folder / VALUE_CONSTANTS).read_text())
        adapter = POLICY
        if (folder / ADAPTER).is_dir():
            adapter = VALUE
            backbone.add_adapter(VALUE, folder=folder / ADAPTER)
        head = ScalarHead(backbone.hidden_size, scale=constants["scale"], zero=True)
        head.load_state_dict(load_file(folder / "head.safetensors"))
        value = cls(backbone, adapter, head)
        value.offset = constants["offset"]
        return value

    def read(self, hidden: Tensor) -> Tensor:
        """(..., d) hidden states to (...) values."""
        return self.head(hidden) + self.offset

    def states(self, batch: Sequences) -> Tensor:
        """(B, T + 1) values: of the state before each response token, and behind the last."""
        return self.read(self.backbone.hidden(batch, self.adapter))

    def values(self, batch: Sequences) -> Tensor:
        """(B, T) values of the states in which the response tokens were drawn."""
        return self.states(batch)[:, :-1]


@torch.no_grad()
def map_rows(
    function: Callable[[Sequences], Tensor], batch: Sequences, *, columns: int = 0
) -> Tensor:
    """`function` (rows to (b, t)) over chunks of like length, gathered into (B, T), 0 at padding.

    With `columns` = 1 it gives (b, t + 1), of states, and (B, T + 1) comes back. The result does
    not depend on the chunks (a test holds this); the time does. Several processes share them out.
    """
    rows_total, width = batch.mask.shape
    result = torch.zeros(rows_total, width + columns, device=batch.ids.device)
    chunks = chunks_by_length(batch.attention.sum(dim=1).tolist(), SCORING_CHUNK)

    def work(own: list[list[int]]) -> list[Tensor]:
        found = []
        for index in own:
            rows = batch.rows(index)
            counted = torch.nn.functional.pad(rows.mask, (columns, 0), value=True)
            found.append(processes.portable(function(rows) * counted))
        return found

    for index, found in zip(chunks, processes.share_out(chunks, work), strict=True):
        result[index, : found.shape[1]] = found.to(result.device)
    return result
