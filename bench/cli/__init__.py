"""The verbs of `python -m bench`: arguments in, calls out, results printed.

Heavy libraries are imported inside the verbs that need them, so that help and `list` are quick.
"""

from bench.cli import runs, models, records  # isort: skip (the order of the verbs in the help)
from bench.cli.app import app
from bench.cli.terminal import quiet_libraries

__all__ = ["app", "main", "models", "records", "runs"]


def main() -> None:
    """Run the command line."""
    quiet_libraries()
    app()
