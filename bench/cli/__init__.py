"""The verbs of `python -m bench`: arguments in, calls out, results printed.

Heavy libraries are imported inside the verbs that need them, so that help and `list` are quick.
"""

import sys

from bench.cli import runs, models, records, exports, credit, reward_models, submissions  # isort: skip (the order of the verbs in the help)
from bench.cli import studio, studio_pages  # isort: skip (likewise)
from bench.cli.app import app
from bench.cli.terminal import answer, exit_code, signals_end
from bench.models.processes import leave
from bench.running.quiet import libraries_quiet

__all__ = [
    "app",
    "credit",
    "exports",
    "main",
    "models",
    "records",
    "reward_models",
    "runs",
    "studio",
    "studio_pages",
    "submissions",
]


def main() -> None:
    """Run the command line."""
    try:
        with libraries_quiet():
            code = answer(app, sys.argv[1:])
    except KeyboardInterrupt as error:  # a second one, while the first was being answered
        code = exit_code(error)
    finally:
        signals_end()
        leave()
    sys.exit(code)
