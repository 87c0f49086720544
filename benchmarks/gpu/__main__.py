"""`python -m benchmarks.gpu`: what one GPU does, beside the goals.

Imports nothing that may be missing before it has looked for it.
"""

import sys

from benchmarks.gpu.wheels import advice, missing


def main() -> None:
    """Say what this Python lacks, or measure."""
    if lacking := missing():
        sys.stderr.write(f"error: {advice(lacking)}\n")
        raise SystemExit(2)
    import typer

    from benchmarks.gpu.command import command

    typer.run(command)


if __name__ == "__main__":
    main()
