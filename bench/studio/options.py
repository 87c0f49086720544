"""The options of an editor or a judge who reads a study."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field, PrivateAttr

from bench.config.section import Section
from bench.studio.results import Results, read_results
from bench.studio.tasks import TaskName


class StudyOptions(Section):
    """Which study. It is read here, so that a stage uses what its key holds, while people go on.

    Attributes:
        task: whose results are read.
    """

    task: ClassVar[TaskName]
    db: str = Field(description="file of a study (docs/studio.md)")
    _results: Results = PrivateAttr()

    def model_post_init(self, _context: Any) -> None:
        """Read the study as it is now.

        Raises:
            UserError: it cannot be read.
        """
        self._results = read_results(Path(self.db), self.task)

    @property
    def results(self) -> Results:
        """What people said when the options were made."""
        return self._results

    def result_fields(self) -> dict[str, Any]:
        """What the study says, and not what it is called."""
        return {"study": self._results.sha}
