"""Where numbers come from: code, packages, machine."""

import subprocess
from pathlib import Path

import pytest

from bench.records.files import Hardware
from bench.records.provenance import blas, code_state, cpu_kind, hardware, package_versions


def git(repo: Path, *arguments: str) -> None:
    options = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
    subprocess.run(["git", "-C", str(repo), *options, *arguments], check=True, capture_output=True)


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    git(tmp_path, "init", "-q")
    (tmp_path / "a.py").write_text("a = 1\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "first")
    return tmp_path


def test_a_clean_checkout_is_its_commit(repo: Path) -> None:
    state = code_state(repo)
    assert len(state["commit"]) == 40
    assert (state["dirty"], state["diff_sha"]) == (False, None)


def test_results_do_not_make_a_checkout_dirty(repo: Path) -> None:
    (repo / "results").mkdir()
    (repo / "results" / "record.json").write_text("{}")
    assert code_state(repo)["dirty"] is False


def test_changed_and_new_sources_are_told_apart(repo: Path) -> None:
    states = []
    for name, text in [("a.py", "a = 2\n"), ("a.py", "a = 3\n"), ("b.py", "b\n"), ("b.py", "c\n")]:
        (repo / name).write_text(text)
        states.append(code_state(repo))
    assert all(state["dirty"] for state in states)
    assert len({state["diff_sha"] for state in states}) == 4
    assert len({state["commit"] for state in states}) == 1


def test_outside_a_checkout_of_its_own_there_is_no_commit(repo: Path, tmp_path_factory) -> None:
    nothing = {"commit": None, "dirty": None, "diff_sha": None}
    assert code_state(tmp_path_factory.mktemp("plain")) == nothing
    inside = repo / "site-packages"  # an installed package must not report its host's commit
    inside.mkdir()
    assert code_state(inside) == nothing


CPUINFO = """processor	: 0
vendor_id	: AuthenticAMD
cpu family	: 25
model		: 1
model name	: AMD EPYC
stepping	: 1
flags		: fpu avx2

processor	: 1
model		: 9
"""


def test_the_kind_of_cpu_is_that_of_the_first(tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text(CPUINFO)
    kind = {"cpu_family": 25, "cpu_model": 1, "cpu_stepping": 1}
    assert cpu_kind(tmp_path / "cpuinfo") == kind
    unknown = dict.fromkeys(kind)
    assert cpu_kind(tmp_path / "nothing") == unknown
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nCPU implementer\t: 0x41\n")
    assert cpu_kind(tmp_path / "cpuinfo") == unknown


MKL = (
    "  - Intel(R) oneAPI Math Kernel Library Version 2024.2-Product Build 20240605\n"
    "  - Build settings: BLAS_INFO=mkl, BUILD_TYPE=Release, LAPACK_INFO=mkl"
)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (MKL, "mkl 2024.2-Product"),
        ("Build settings: BLAS_INFO=accelerate, BUILD_TYPE=Release", "accelerate"),
        ("PyTorch built with: nothing", None),
    ],
)
def test_the_blas_is_read_from_torchs_own_account(config: str, expected: str | None) -> None:
    assert blas(config) == expected


def test_kernels_that_the_environment_asks_for_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MKL_CBWR", "MKL_ENABLE_INSTRUCTIONS", "OPENBLAS_CORETYPE", "ONEDNN_MAX_CPU_ISA"):
        monkeypatch.delenv(name, raising=False)
    assert hardware("float32", 1)["blas_kernel"] is None
    monkeypatch.setenv("MKL_CBWR", "COMPATIBLE")
    assert hardware("float32", 1)["blas_kernel"] == "MKL_CBWR=COMPATIBLE"


def test_versions_and_machine_are_filled_in() -> None:
    versions = package_versions()
    assert {"python", "torch", "transformers", "peft"} <= versions.keys()
    machine = hardware("float32", 2)
    assert machine["dtype"] == "float32"
    assert machine["threads"] == 2
    assert machine["cores"] >= 1
    assert machine["memory_gib"] > 0
    assert machine["cpu"]
    assert machine["cpu_capability"]
    assert Hardware.model_validate(machine).model_dump() == machine
