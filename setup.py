"""The build's one step of its own: a wheel and an sdist say which commit they were made from.

Everything else is in pyproject.toml.
"""

import json
import sys
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT))  # a build runs with other folders on the path

from bench.records.provenance import BUILT, code_state  # noqa: E402 - imports nothing heavy

STATE = code_state(ROOT)  # now: what a build leaves in the checkout is no change of its sources


def _write(folder: Path) -> None:
    """Say it where an installed package looks for it."""
    path = folder / BUILT.relative_to(ROOT)
    path.write_text(json.dumps(STATE) + "\n", encoding="utf-8")


class BuildPy(build_py):
    """The packages; those of a wheel with their commit."""

    def run(self) -> None:
        """An editable install is the checkout itself, and git knows its commit."""
        super().run()
        if not self.editable_mode:
            _write(Path(self.build_lib))


class Sdist(sdist):
    """The sources with their commit, which a wheel that is built from them passes on."""

    def make_release_tree(self, base_dir: str, files: list[str]) -> None:
        """The tree that is packed."""
        super().make_release_tree(base_dir, files)
        _write(Path(base_dir))


setup(cmdclass={"build_py": BuildPy, "sdist": Sdist})
