"""The floor: the supervised fine-tuned model as it is, the reference policy of all the others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.config.section import Section

if TYPE_CHECKING:
    from bench.pipeline.stage import Stage
    from bench.stages.planning import Stages


class SFT:
    """No reward, no PPO."""

    name = "sft"

    class Options(Section):
        """None."""

    def __init__(self, options: SFT.Options) -> None:
        self.options = options

    def plan(self, stages: Stages) -> Stage:
        """The SFT model."""
        return stages.sft()
