"""What every result carries, and how it is written: JSON for programs, Markdown for people."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.records.provenance import code_state, hardware, package_versions

RESULTS = Path(__file__).parent / "results"


def origin(command: str) -> dict[str, Any]:
    """Date, command, code, packages and machine of a result."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "command": command,
        "code": code_state(),
        "packages": package_versions(),
        "machine": hardware("float32", threads=1),
    }


def origin_text(result: dict[str, Any]) -> str:
    """One line that says where a result comes from."""
    machine, packages, code = result["machine"], result["packages"], result["code"]
    commit = (code["commit"] or "no checkout")[:10] + (" with changes" if code["dirty"] else "")
    return (
        f"{result['date']}, `{result['command']}`, {machine['cpu']}, {machine['cores']} cores of "
        f"which {machine['threads']} used, {machine['memory_gib']} GiB; Python "
        f"{packages['python']}, torch {packages['torch']}, transformers "
        f"{packages['transformers']}, peft {packages['peft']}; commit {commit}."
    )


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; the first column is text, the others are numbers."""
    rule = ["---", *("---:" for _ in header[1:])]
    return "\n".join("| " + " | ".join(row) + " |" for row in (header, rule, *rows))


def write(result: dict[str, Any], text: str, path: Path) -> None:
    """Write `result` to `path` as JSON and `text` beside it as Markdown."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n")
    path.with_suffix(".md").write_text(text + "\n")
