"""How responses are cut into segments: the built-in segmenters, by name in SEGMENTERS.

The token that ends a response, EOS, is part of the last segment: nobody says anything in it. So is
whatever stands between the last mark and the end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from bench.errors import UserError
from bench.plugins.targets import import_target
from bench.rl.masking import last_counted

if TYPE_CHECKING:
    from bench.models.backbone import Backbone
    from bench.models.sequences import Sequences
    from bench.models.tokens import Tokens
    from bench.plugins.protocols import Segmenter


@dataclass(frozen=True)
class Segments:
    """How responses are cut, as a reward model's files say it.

    Attributes:
        target: where the segmenter is, as ``module:attribute``.
        options: what it is made with; JSON values.
    """

    target: str = "bench.models.segmenters:Sentences"
    options: Mapping[str, Any] = field(default_factory=dict)

    def segmenter(self, backbone: Backbone) -> Segmenter:
        """The segmenter itself."""
        try:
            made: Segmenter = import_target(self.target)(backbone, **self.options)
        except (TypeError, ValueError) as error:
            name = self.target.partition(":")[2]
            raise UserError(
                f"the segmenter {name} cannot be made with {dict(self.options)}: {error}"
            ) from error
        return made


SENTENCES = Segments()


@dataclass(frozen=True)
class Places:
    """How a segment model's raw output depends on the segment's place p = k / K of K segments.

    Equations: ``mu(p) = mean_slope log p + mean_intercept``, and the standard deviation likewise,
    though never below `least_std` (arXiv:2501.02790, Section 3.3). As it is made, all places are
    alike.
    """

    mean_slope: float = 0.0
    mean_intercept: float = 0.0
    std_slope: float = 0.0
    std_intercept: float = 1.0
    least_std: float = 0.0

    def normalised(self, outputs: Tensor, places: Tensor) -> Tensor:
        """The outputs less the mean of their places p, by their standard deviation; one shape."""
        log = places.log()
        std = (self.std_slope * log + self.std_intercept).clamp(min=self.least_std)
        return (outputs - self.mean_slope * log - self.mean_intercept) / std


class Sentences:
    """A segment is a sentence.

    A full stop ends a sentence wherever it stands, in a number or an abbreviation too.
    """

    def __init__(self, backbone: Backbone) -> None:
        self.tokens = backbone.tokens

    def ends(self, batch: Sequences) -> Tensor:
        """(B, T) True = a sentence's last token."""
        ids = self.tokens.sentence_ends.to(batch.ids.device)
        return _before_eos(_last_of_runs(torch.isin(batch.responses, ids)), batch, self.tokens)


class Separators:
    """A segment ends with a token whose text ends in one of the separators.

    Args:
        backbone: has the tokenizer.
        texts: the separators, as a line break between the steps of a solution.
    """

    def __init__(self, backbone: Backbone, texts: Sequence[str]) -> None:
        self.tokens = backbone.tokens
        pieces = self.tokens.pieces(list(range(len(self.tokens.tokenizer))))
        ends = [i for i, piece in enumerate(pieces) if piece.endswith(tuple(texts))]
        self.ids = torch.tensor(ends, dtype=torch.long)

    def ends(self, batch: Sequences) -> Tensor:
        """(B, T) True = a segment's last token."""
        marked = torch.isin(batch.responses, self.ids.to(batch.ids.device))
        return _before_eos(_last_of_runs(marked), batch, self.tokens)


class Subsentences:
    """A segment ends with a sentence, or inside one with "," or ";" where both sides are long.

    The sub-sentences of arXiv:2306.01693, whose code asks for five words on both sides. A part that
    is too short is one with what follows.

    Args:
        backbone: has the tokenizer.
        least: tokens of each part of a sentence.
    """

    def __init__(self, backbone: Backbone, least: int = 5) -> None:
        self.tokens, self.least = backbone.tokens, least
        self.sentences = Sentences(backbone)
        self.marks = Separators(backbone, [",", ";"])

    def ends(self, batch: Sequences) -> Tensor:
        """(B, T) True = a segment's last token."""
        whole, inside = self.sentences.ends(batch), self.marks.ends(batch)
        found = [
            self._row(*(row[:length].tolist() for row in rows))
            for *rows, length in zip(whole, inside, batch.lengths.tolist(), strict=True)
        ]
        ends = torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in found], True)
        return torch.nn.functional.pad(ends, (0, whole.shape[1] - ends.shape[1])).to(whole.device)

    def _row(self, whole: list[bool], inside: list[bool]) -> list[bool]:
        """One response's ends, of those of its sentences and of what may end a part of one."""
        ends, start = list(whole), 0
        stops = [i + 1 for i, end in enumerate(whole) if end] + [len(whole)]
        for i, mark in enumerate(inside):
            stop = next(stop for stop in stops if stop > i)
            if mark and i + 1 - start >= self.least and stop - i - 1 >= self.least:
                ends[i] = True
            if ends[i]:
                start = i + 1
        return ends


class NGrams:
    """Segments of n tokens each; the last may be shorter.

    Args:
        backbone: has the tokenizer.
        n: tokens, 1 or more.
    """

    def __init__(self, backbone: Backbone, n: int) -> None:
        if n < 1:
            raise ValueError(f"segments of {n} tokens")
        self.tokens, self.n = backbone.tokens, n

    def ends(self, batch: Sequences) -> Tensor:
        """(B, T) True = a segment's last token."""
        place = torch.arange(1, batch.mask.shape[1] + 1, device=batch.mask.device)
        return _before_eos((place % self.n == 0).expand(batch.mask.shape), batch, self.tokens)


class Entropy:
    """A segment ends where the SFT model is unsure of what follows (arXiv:2501.02790, Section 3.1).

    Token t ends one if the entropy of the distribution of token t + 1 is above the cutoff.

    Args:
        backbone: the SFT model, its adapters off.
        cutoff: nats; 0 makes nearly every token a segment, a very large one none. The paper has
            1.75 for Phi-3-mini and 2.0 for Llama-3-8B.
    """

    def __init__(self, backbone: Backbone, cutoff: float) -> None:
        self.backbone, self.cutoff = backbone, cutoff
        # A reward model asks twice about a batch, where to read and whom to pay.
        self._last: tuple[Tensor, Tensor] | None = None

    @torch.no_grad()
    def ends(self, batch: Sequences) -> Tensor:
        """(B, T) True = a segment's last token."""
        if self._last is None or self._last[0] is not batch.ids:
            unsure = self.backbone.entropies(batch, None) > self.cutoff  # of what token t is of
            follows = torch.nn.functional.pad(unsure[:, 1:], (0, 1))
            self._last = batch.ids, _before_eos(follows, batch, self.backbone.tokens)
        return self._last[1]


def _last_of_runs(marked: Tensor) -> Tensor:
    """(B, T) of several marked tokens in a row, as in "?!", the last one alone."""
    return marked & ~torch.nn.functional.pad(marked[:, 1:], (0, 1))


def _before_eos(ends: Tensor, batch: Sequences, tokens: Tokens) -> Tensor:
    """(B, T) `ends` without padding's, and without one directly before an EOS."""
    eos = last_counted(batch.mask) & tokens.ends(batch.responses)
    return ends & batch.mask & ~torch.nn.functional.pad(eos[:, 1:], (0, 1))
