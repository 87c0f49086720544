"""`import bench` is quick, and in no stage's key but by its own few lines."""

import subprocess
import sys

import pytest

import bench.api


def test_the_import_loads_nothing_and_a_name_nothing_heavy() -> None:
    code = (
        "import sys, bench\n"
        "print(*(n for n in sys.modules if n.startswith('bench.')))\n"
        "bench.run, bench.compare, bench.plot\n"
        "print('heavy:', *({'torch', 'transformers', 'pandas', 'matplotlib'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["", "heavy:"]


def test_its_names_are_listed_and_no_other_is_there() -> None:
    assert set(bench.__all__) == set(bench.api.__all__) <= set(dir(bench))
    for name in bench.__all__:
        assert getattr(bench, name) is getattr(bench.api, name)
    with pytest.raises(AttributeError, match="module 'bench' has no attribute 'rum'"):
        bench.rum  # noqa: B018
