"""The judge `human`: preferences that people stated in a study."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.judging.marks import account
from bench.judging.pairs import Pair, pairs_of
from bench.plugins.protocols import Verdict
from bench.preference import TIE, exchanged
from bench.studio.options import StudyOptions
from bench.studio.results import Answered

_STATUSES = {"skip": "refusal", "unanswered": "api_error"}


class HumanJudgeOptions(StudyOptions):
    """The study with the preferences."""

    task = "prefer"


class HumanJudge:
    """Looks verdicts up, by prompt and both outputs. Of several people's the mean is taken.

    Both orders are balanced over people, so that no item has two orders of one person.

    Args:
        suite: not needed; every judge is given it.
        options: which study.
        answers: not needed.
        say: receives a line about outputs that nobody compared.
    """

    name = "human"
    Options = HumanJudgeOptions
    model: str | None = None
    template_sha: str | None = None

    def __init__(
        self,
        suite: Any,
        options: HumanJudgeOptions,
        *,
        answers: Path | None = None,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self._options, self._say = options, say
        self._judged: list[tuple[Pair, Verdict]] = []
        self._people: Counter[str] = Counter()

    def ready(self) -> None:
        """Nothing can stop it: the study has been read."""

    def compare(
        self, prompts: list[str], outputs: list[str], references: list[str]
    ) -> list[Verdict]:
        """Verdicts of people; what nobody compared has the status "api_error"."""
        known = self._options.results.by_texts()
        pairs = pairs_of(prompts, outputs, references)
        verdicts = [self._verdict(pair, known) for pair in pairs]
        missing = sum(verdict.status == "api_error" for verdict in verdicts)
        if missing:
            where = self._options.db
            self._say(f"{missing} of {len(pairs)} outputs have no preference in {where}")
        self._judged += zip(pairs, verdicts, strict=True)
        return verdicts

    def about(self) -> dict[str, Any]:
        """Nothing was paid; answers by person, counts, diagnostics and marks of `compare`."""
        models = dict(sorted(self._people.items()))
        return {"cost_usd": 0.0, "models": models, **account(self._judged)}

    def _verdict(self, pair: Pair, known: dict[tuple[str, ...], Answered]) -> Verdict:
        prompt, reference, output, _ = pair
        if reference == output:
            return Verdict(TIE, "identical")
        found = [
            (known[key], turned)
            for key, turned in (
                ((prompt, reference, output), False),
                ((prompt, output, reference), True),
            )
            if key in known
        ]
        if not found:
            return Verdict(None, "api_error")
        answered, turned = next((one for one in found if one[0].values), found[0])
        preference = answered.preference
        if preference is None:
            return Verdict(None, _STATUSES[answered.status])
        self._people.update(one.person for one in answered.counted if one.value is not None)
        if preference == TIE:
            return Verdict(TIE, "tie")
        return Verdict(exchanged(preference) if turned else preference, "ok")
