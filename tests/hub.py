"""A cache of the Hugging Face hub as huggingface_hub lays it out."""

from __future__ import annotations

from pathlib import Path

OLD, NEW = "a" * 40, "b" * 40  # commits


def cache(root: Path, folder: str, refs: dict[str, str]) -> None:
    """A repository's revisions and the commits that they stand for, each with a file."""
    for revision, sha in refs.items():
        snapshot = root / folder / "snapshots" / sha
        snapshot.mkdir(parents=True, exist_ok=True)
        (snapshot / "config.json").write_text("{}")
        ref = root / folder / "refs" / revision
        ref.parent.mkdir(exist_ok=True)
        ref.write_text(sha)
