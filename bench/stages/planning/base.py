"""What every stage of a plan has: its key, its build function, what it reads of the suite."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.config.loading import plugin_options
from bench.pipeline.stage import Stage
from bench.plugins.registry import SUITES
from bench.stages.chosen import plugin_modules
from bench.stages.reading import Reads, read_base, read_by_suite

if TYPE_CHECKING:
    from bench.config.run import RunConfig
    from bench.pipeline.stage import Builder, Context

# Whose versions may move a number; rapidfuzz aligns edits.
PACKAGES = ("torch", "transformers", "peft", "tokenizers", "rapidfuzz")


# Modules of stages that use a model, which several processes do together.
_SHARED = frozenset(
    {
        "sft",
        "samples",
        "reward_models",
        "rm_evaluation",
        "segment_evaluation",
        "policy",
        "offline",
        "outputs",
        "best_outputs",
        "best_responses",
        "judgement",
    }
)


class StagesBase:
    """Stages of one run.

    Args:
        config: the run's configuration.
        suite: its world.
        own: where it is not the run's configuration that they see, but one made from it: what
            their names begin with.
    """

    def __init__(self, config: RunConfig, suite: Any, own: str = "") -> None:
        self.config, self.suite, self._own = config, suite, own
        self._read: dict[str, Reads] = {}

    def _stage(
        self,
        name: str,
        build: str,
        parts: dict[str, Any],
        inputs: tuple[Stage, ...],
        summary: str,
        *arguments: Any,
        reads: tuple[str, ...] = (),
        plugins: tuple[str, ...] = (),
    ) -> Stage:
        """A stage whose build function is imported when it runs: plans need no torch.

        Args:
            name: what people read.
            build: "module:function" of a module of `bench.stages`.
            parts: what decides the result, beside suite, packages, inputs and code. Nothing checks
                it: a field that the build function reads and that is not here gives stale results.
            inputs: whose artifacts it reads.
            summary: a line for the plan.
            *arguments: what else the function is called with; `parts` says what they are.
            reads: parts of the suite whose data it uses (`bench.plugins.capabilities.DataSuite`).
            plugins: modules of the plug-ins that it uses, beside the suite.
        """
        module, _, function = build.partition(":")
        module = f"bench.stages.{module}"
        data = {part: self._data(part) for part in reads if self._data(part).key}
        if data:
            parts = parts | {"data": {part: read.key for part, read in data.items()}}
        base = (self._base,) if name == "sft" else ()  # later stages read the whole SFT model
        own = self._own if name != "sft" else ""
        return Stage(
            own + name,
            self._common | parts,
            inputs,
            (module, *self._suite_modules, *plugins),
            _lazy(module, function, *arguments, config=self.config if own else None),
            summary,
            {file: state for read in (*data.values(), *base) for file, state in read.files.items()},
            shared=module.removeprefix("bench.stages.") in _SHARED,
        )

    @cached_property
    def _common(self) -> dict[str, Any]:
        versions = {package: metadata.version(package) for package in PACKAGES}
        options = plugin_options(self.config, "suite").result_fields()
        own = {"suite_options": options} if options else {}
        return {"suite": self.config.suite, **own, "packages": versions}

    @cached_property
    def _suite_modules(self) -> tuple[str, ...]:
        return plugin_modules(SUITES, self.config.suite, type(self.suite))

    @cached_property
    def _base(self) -> Reads:
        return read_base(self.config, self.suite)

    def _data(self, part: str) -> Reads:
        if part not in self._read:
            self._read[part] = read_by_suite(self.suite, part)
        return self._read[part]


def _lazy(module: str, function: str, *arguments: Any, config: RunConfig | None = None) -> Builder:
    """A build function that is imported when it runs; `config`: instead of the run's own."""

    def build(context: Context, out: Path, inputs: list[Path]) -> dict[str, Any]:
        from importlib import import_module

        seen = context if config is None else replace(context, config=config)
        result: dict[str, Any] = getattr(import_module(module), function)(
            seen, out, inputs, *arguments
        )
        context.packed = seen.packed
        return result

    return build
