"""What the rules find: a verdict for each, and what comes of all."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Verdict = Literal["ok", "differs", "refused"]
REFUSED = 3  # the exit code
_ORDER: tuple[Verdict, ...] = ("ok", "differs", "refused")


@dataclass(frozen=True)
class Finding:
    """One rule's verdict, and the reason."""

    rule: str
    verdict: Verdict
    text: str


@dataclass(frozen=True)
class Review:
    """What all rules say of a row.

    Attributes:
        label: of the row.
        table: that it would join, in words.
        seeds: of its runs.
        findings: one or more of each rule.
    """

    label: str
    table: str
    seeds: list[int]
    findings: list[Finding]

    @property
    def verdict(self) -> Verdict:
        """The worst of all."""
        return max((one.verdict for one in self.findings), key=_ORDER.index)

    def having(self, verdict: Verdict) -> list[str]:
        """The rules with this verdict, each once."""
        return list(dict.fromkeys(f.rule for f in self.findings if f.verdict == verdict))


def each(rule: str, verdict: Verdict, texts: Iterable[str], otherwise: str) -> list[Finding]:
    """A finding for each text; where there is none, that all is well."""
    return [Finding(rule, verdict, text) for text in texts] or [Finding(rule, "ok", otherwise)]
