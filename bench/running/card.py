"""The model card of an exported policy: a README.md whose header the hub reads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jinja2 import Environment, StrictUndefined

from bench.grid import to_markdown
from bench.plugins.registry import METHODS

if TYPE_CHECKING:
    from bench.grid import Grid
    from bench.records.files import Record
    from bench.running.export import Export

_POLICY = """\
# {{ record.label }}, seed {{ record.seed }}

A policy that the method `{{ record.method }}` of GrainBench trained{{ summary }}{{ paper }}. It was
paid {{ paid }}. It is a LoRA adapter on {{ base or "the run's SFT model, in `sft/`" }}.

    from peft import AutoPeftModelForCausalLM
    model = AutoPeftModelForCausalLM.from_pretrained("{{ repo or "FOLDER" }}")
{% if not base %}
PEFT looks for `sft/` where it was written. A folder that was moved is loaded in two steps:

    base = AutoModelForCausalLM.from_pretrained("FOLDER/sft")
    model = PeftModel.from_pretrained(base, "FOLDER")
{% endif %}
## Data

- suite: {{ record.suite }}
{% if record.editor %}
- edits: {{ record.editor.source }}
{% endif %}
{% for stage in record.stages if "pairs" in stage.counts %}
- {{ stage.name }}: {{ stage.counts["pairs"] }} pairs
{% endfor %}
{% for name, split in record.data.items() %}
- {{ name }}: {{ split.n }} prompts [{{ split.sha }}]
{% endfor %}
{% for stage, model in record.brought.items() %}
- brought along and not trained here, {{ stage }}: {{ model.name }} ({{ model.kind }})
{% endfor %}

{{ licence }}

## Numbers

Judged by {{ record.judge.name }}{% if record.judge.model %} ({{ record.judge.model }}){% endif %}
against {{ record.reference.name }} [{{ record.reference.sha }}].

{{ numbers }}

Commit {{ record.code.commit or "unknown" }}{{ ", with local changes" if record.code.dirty }};
configuration {{ record.config_sha[:16] }}. All of it is in `record.json`.
"""
_BASE = """\
# SFT model of {{ record.label }}

What policies of GrainBench stand on: configuration {{ record.config_sha[:16] }}, suite
{{ record.suite }}, commit {{ record.code.commit or "unknown" }}. {{ licence }}
"""


def policy_card(
    found: Export, numbers: Grid, licence: str | None, base: str | None, repo: str | None
) -> str:
    """The card of a policy.

    Args:
        found: what is exported.
        numbers: the run's metrics.
        licence: as the hub spells it; None: nobody said it.
        base: id of the base on the hub; None: it is beside the card.
        repo: id of the policy there; None: it is not for the hub.
    """
    record = found.record
    known = {entry.name: entry.summary for entry in METHODS.entries()}
    summary = known.get(record.method, "")
    header = {
        "base_model": base,
        "base_model_relation": None if base is None else "adapter",
        "library_name": "peft",
        "tags": ["grainbench", "lora", "rlhf", record.method],
    }
    return _rendered(
        _POLICY,
        header,
        record,
        licence,
        summary=f" ({summary})" if summary else "",
        paper=f", {record.paper}" if record.paper else "",
        paid=f"a reward a {found.granularity}" if found.granularity else "by no reward model",
        base=base,
        repo=repo,
        numbers=to_markdown(numbers),
    )


def base_card(record: Record, licence: str | None) -> str:
    """The card of the model that the policy stands on; arguments as `policy_card`."""
    return _rendered(_BASE, {"library_name": "transformers"}, record, licence)


def _rendered(
    text: str, header: dict[str, Any], record: Record, licence: str | None, **values: Any
) -> str:
    from huggingface_hub import ModelCardData

    data = ModelCardData(**header, license=licence, pipeline_tag="text-generation")
    said = "not said; those of the base model and of the data hold" if licence is None else licence
    template = Environment(
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    ).from_string(text)
    body = template.render(record=record, licence=f"Licence: {said}.", **values)
    return f"---\n{data.to_yaml()}\n---\n\n{body}\n"
