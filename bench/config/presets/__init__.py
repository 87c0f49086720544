"""The presets: complete configurations by name, each value with its source."""

from pathlib import Path

FOLDER = Path(__file__).parent
# Of suites that are not measured with the testbed's values unless somebody asks for it.
_USUAL = {"alpacafarm": "paper"}


def preset_names() -> list[str]:
    """Return the names of the presets that come with GrainBench."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def default_preset(suite: str) -> str:
    """Return the preset that a suite's labels start from."""
    return _USUAL.get(suite, "testbed")
