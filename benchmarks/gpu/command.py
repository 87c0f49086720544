"""All questions one behind the other; what is known is written after each."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from transformers.utils.logging import disable_progress_bar

from bench.errors import UserError
from bench.files import check_writable
from bench.records.provenance import device_name
from benchmarks.gpu.agreement import agreement
from benchmarks.gpu.attention import attention
from benchmarks.gpu.copies import copies
from benchmarks.gpu.decoding import decoding
from benchmarks.gpu.hours import hours
from benchmarks.gpu.memory import memory
from benchmarks.gpu.rates import rates
from benchmarks.gpu.sections import Section, answer, pending
from benchmarks.gpu.setting import PRESET, SHAPES, Setting
from benchmarks.report import RESULTS, origin, origin_text, table, write

SECTIONS = (
    Section("agreement", "Numbers, on the testbed's own base", 90, agreement),
    Section("attention", "Kernels of attention, grouped queries", 20, attention),
    Section("memory", "Memory of a token_ppo step", 110, memory),
    Section("decoding", "Decoding", 60, decoding),
    Section("rates", "Updates and scoring", 45, rates),
    Section("hours", "The paper's experiment on this device", 45, hours),
    Section("copies", "A base each, as the peers have it", 45, copies),
)
TOTAL_S = 335.0  # for all questions together: with what Python imports, under six minutes


def command(
    shape: Annotated[str, typer.Option(help=f"of {', '.join(SHAPES)}")] = "7b",
    out: Annotated[Path | None, typer.Option(help="JSON file; a .md stands beside it")] = None,
) -> None:
    """Measure one GPU; print and write what was found, with the goals."""
    try:
        disable_progress_bar()  # of loading weights
        setting = Setting(shape)
        path = out or RESULTS / f"gpu-{shape}-{_slug(device_name(setting.device))}.json"
        check_writable(path)
        result = measure(setting, shape, path, SECTIONS)
    except UserError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(error.exit_code) from error
    typer.echo(as_markdown(result))


def measure(
    setting: Setting, shape: str, path: Path, sections: Sequence[Section]
) -> dict[str, Any]:
    """Ask every question; the file holds all answers so far, whatever ends the command."""
    started, patience = time.perf_counter(), setting.shape.patience
    dtype = str(setting.dtype).removeprefix("torch.")
    result = origin(f"python -m benchmarks.gpu --shape {shape}", dtype, torch.get_num_threads())
    result |= {"shape": shape, "preset": PRESET, "work": asdict(setting.work)}
    result["sections"] = {section.name: pending(section) for section in sections}
    write(result, as_markdown(result), path)
    for section in sections:
        left = patience * TOTAL_S - (time.perf_counter() - started)
        budget = min(patience * section.budget_s, left)
        found = result["sections"][section.name] = answer(section, setting, budget)
        write(result, as_markdown(result), path)
        typer.echo(f"{section.name}: {found['error'] or 'done'} ({found['seconds']} s)", err=True)
    return result


def as_markdown(result: dict[str, Any]) -> str:
    """A table, a row a measurement."""
    work = result["work"]
    sizes = (
        f"Random weights: Llama, hidden {work['hidden']}, {work['layers']} layers, "
        f"{work['heads']} heads, ffn {work['ffn']}, vocabulary {work['vocabulary']}; lengths, "
        f"adapters and batches of preset {result['preset']}. "
    )
    notes = [sizes + origin_text(result)]
    if result["shape"] == "tiny":
        notes.append("**Tiny shape: these numbers say nothing but that the command runs.**")
    rows = [
        ["" if i else section["title"], row["what"], row["measured"], row["goal"], _verdict(row)]
        for section in result["sections"].values()
        for i, row in enumerate(section["rows"])
    ]
    shown = table(["question", "what", "measured", "goal", "verdict"], rows)
    return "\n\n".join(["# On a GPU", *notes, shown])


def _verdict(row: dict[str, Any]) -> str:
    status = "" if row["status"] == "no goal" else row["status"]
    return ": ".join(filter(None, (status, row["why"]))).replace("|", "/")


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
