"""What every result carries, and how it is written: JSON for programs, Markdown for people."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.files import write_atomically
from bench.records.provenance import code_state, hardware, package_versions

RESULTS = Path(__file__).parent / "results"


def origin(command: str, dtype: str = "float32", threads: int = 1) -> dict[str, Any]:
    """Date, command, code, packages and machine of a result.

    Args:
        command: that gave it.
        dtype: of the model.
        threads: CPU threads that torch uses.
    """
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "command": command,
        "code": code_state(),
        "packages": package_versions(),
        "machine": hardware(dtype, threads) | gpu(),
    }


def gpu() -> dict[str, Any]:
    """What a GPU's numbers depend on beside its name; {}: there is none."""
    import torch

    if not torch.cuda.is_available():
        return {}
    properties = torch.cuda.get_device_properties(0)
    return {
        "gpu_memory_gib": round(properties.total_memory / 2**30, 1),
        "gpu_driver": _driver(),
        "cuda": torch.version.cuda,
    }


def _driver() -> str | None:
    """Version of NVIDIA's driver, which torch does not know."""
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, check=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.partition("\n")[0].strip() or None


def origin_text(result: dict[str, Any]) -> str:
    """One line that says where a result comes from."""
    machine, packages, code = result["machine"], result["packages"], result["code"]
    on = ""
    if machine["gpu"]:
        on = (
            f"{machine['gpu']} of {machine['gpu_memory_gib']} GiB, driver {machine['gpu_driver']}, "
            f"CUDA {machine['cuda']}; "
        )
    commit = (code["commit"] or "no checkout")[:10] + (" with changes" if code["dirty"] else "")
    return (
        f"{result['date']}, `{result['command']}`, {on}{machine['cpu']}, {machine['cores']} cores "
        f"of which {machine['threads']} used, {machine['memory_gib']} GiB; Python "
        f"{packages['python']}, torch {packages['torch']}, transformers "
        f"{packages['transformers']}, peft {packages['peft']}; commit {commit}."
    )


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; the first column is text, the others are numbers."""
    rule = ["---", *("---:" for _ in header[1:])]
    return "\n".join("| " + " | ".join(row) + " |" for row in (header, rule, *rows))


def write(result: dict[str, Any], text: str, path: Path) -> None:
    """Write `result` to `path` as JSON and `text` beside it as Markdown, each whole."""
    write_atomically(path, json.dumps(result, indent=1) + "\n")
    write_atomically(path.with_suffix(".md"), text + "\n")
