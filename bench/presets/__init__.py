"""The presets: complete configurations by name, each value with its source."""

from pathlib import Path

FOLDER = Path(__file__).parent


def preset_names() -> list[str]:
    """Return the names of the presets that come with GrainBench."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))
