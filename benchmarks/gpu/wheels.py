"""`python -m benchmarks.gpu.wheels`: what a machine with torch and transformers alone still lacks.

Run it where there is a package index. It fills a folder with wheels for the other machine's Python,
which installs them without one. Nothing here may import what it is there to fetch.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
FOLDER = REPO / "benchmarks" / ".wheels"  # ignored by git
MOST_MIB = 64.0  # what such machines take at once, the working tree along with it
# Distribution -> the module that is imported. A test runs the benchmark on these and on what torch
# and transformers bring, and on nothing else.
PACKAGES = {
    "peft": "peft",
    "accelerate": "accelerate",  # peft
    "psutil": "psutil",
    "pydantic": "pydantic",
    "pydantic_core": "pydantic_core",
    "annotated-types": "annotated_types",
    "typing-inspection": "typing_inspection",  # pydantic
    "typing_extensions": "typing_extensions",  # pydantic asks for a newer one than torch does
    "rapidfuzz": "rapidfuzz",
    "jaxtyping": "jaxtyping",
    "wadler_lindig": "wadler_lindig",  # jaxtyping
    "platformdirs": "platformdirs",
    "filelock": "filelock",
    "typer": "typer",
}
PYTHON = "3.12"
# pip takes these literally: a wheel for an older Linux is found under its own name alone.
LINUX = ("_2_28", "_2_27", "_2_26", "_2_24", "_2_17", "_2_12", "2014", "2010", "1")
PLATFORMS = tuple(f"manylinux{version}_x86_64" for version in LINUX)


def missing() -> list[str]:
    """The packages that this Python cannot import."""
    return [name for name, module in PACKAGES.items() if find_spec(module) is None]


def advice(lacking: Iterable[str]) -> str:
    """One line that says what is missing and how it gets here."""
    return (
        f"this Python lacks {', '.join(lacking)}: where there is a package index, run python -m "
        f"benchmarks.gpu.wheels, and bring the folder {FOLDER.relative_to(REPO)} here; then "
        f"{there()}"
    )


def there() -> str:
    """The command that installs the wheels on the machine without an index."""
    wheels = FOLDER.relative_to(REPO)
    return (
        "python3 -m pip install -q --no-index --no-deps --target /tmp/wheels "
        f"{wheels}/*.whl && export PYTHONPATH=/tmp/wheels"
    )


def download(folder: Path, python: str = PYTHON) -> float:
    """Fill `folder` with the wheels, in the versions of constraints.txt; returns their MiB."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.whl"):  # two versions of one package would stop the installation
        old.unlink()
    where = [option for name in PLATFORMS for option in ("--platform", name)]
    kind = ["--no-deps", "--only-binary=:all:", "--python-version", python, *where]
    pinned = ["--constraint", str(REPO / "constraints.txt"), "--dest", str(folder)]
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--implementation", "cp"]
    subprocess.run([*pip, *kind, *pinned, *PACKAGES], check=True)
    return sum(wheel.stat().st_size for wheel in folder.glob("*.whl")) / 2**20


def main() -> None:
    """Download, and say what to do on the other machine."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", default=PYTHON, help="version there, as 3.12")
    size = download(FOLDER, parser.parse_args().python)
    print(f"{FOLDER.relative_to(REPO)}: {size:.1f} MiB of {MOST_MIB:.0f}. There:\n  {there()}")  # noqa: T201


if __name__ == "__main__":
    main()
