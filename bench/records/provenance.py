"""Where numbers come from: the code, the packages and the machine."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import subprocess
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.records.packages import PACKAGES

if TYPE_CHECKING:
    import torch

REPO = Path(__file__).resolve().parents[2]
BUILT = Path(__file__).resolve().with_name("built.json")
"""Of a wheel or an sdist, the `code_state` of the checkout that it was made from (setup.py)."""
CPUINFO = Path("/proc/cpuinfo")
# By which a user has a BLAS, or oneDNN, use other kernels than the CPU's best.
_KERNELS = ("MKL_CBWR", "MKL_ENABLE_INSTRUCTIONS", "OPENBLAS_CORETYPE", "ONEDNN_MAX_CPU_ISA")
# Results are what a run writes: they do not change what the next one computes.
_SOURCES = ("--", ".", ":(exclude)results")


def code_state(repo: Path = REPO) -> dict[str, Any]:
    """Return the checkout's commit, whether its sources differ from it, and a hash of how.

    An installed package says what its checkout was when it was built. All three are None where
    neither is known.
    """
    top = _git(repo, "rev-parse", "--show-toplevel")
    commit = _git(repo, "rev-parse", "--verify", "--quiet", "HEAD")
    if top is None or commit is None or Path(os.fsdecode(top.strip())) != repo.resolve():
        return _built(repo / BUILT.relative_to(REPO))
    diff = _git(repo, "diff", "--no-ext-diff", "--binary", "HEAD", *_SOURCES) or b""
    untracked = _git(repo, "ls-files", "-z", "--others", "--exclude-standard", *_SOURCES) or b""
    digest = hashlib.sha256(diff)
    for name in filter(None, untracked.split(b"\0")):
        digest.update(b"\0" + name + b"\0" + _content(repo / os.fsdecode(name)))
    dirty = bool(diff or untracked)
    return {
        "commit": commit.decode().strip(),
        "dirty": dirty,
        "diff_sha": digest.hexdigest() if dirty else None,
    }


def _built(file: Path) -> dict[str, Any]:
    nothing: dict[str, Any] = {"commit": None, "dirty": None, "diff_sha": None}
    if not file.is_file():
        return nothing
    said: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return nothing | said


def package_versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that can move a number."""
    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def hardware(dtype: str, threads: int) -> dict[str, Any]:
    """Return the machine and the arithmetic it does.

    Args:
        dtype: of the model, as "float32".
        threads: CPU threads that torch uses.
    """
    import psutil
    import torch

    asked = [f"{name}={os.environ[name]}" for name in _KERNELS if name in os.environ]
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "cpu": _cpu_name(),
        **cpu_kind(CPUINFO),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "blas": blas(torch.__config__.show()),
        "blas_kernel": " ".join(asked) or None,
        "cores": cores(),
        "gpu": gpu,
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "dtype": dtype,
        "threads": threads,
    }


def device_name(device: torch.device) -> str:
    """Return the model of the GPU or the CPU that a device is."""
    import torch

    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return _cpu_name() if device.type == "cpu" else device.type


def _git(repo: Path, *arguments: str) -> bytes | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(repo), *arguments], capture_output=True, check=False, timeout=30
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def _content(path: Path) -> bytes:
    try:
        return hashlib.sha256(path.read_bytes()).digest()
    except OSError:
        return b"unreadable"


def cpu_kind(cpuinfo: Path) -> dict[str, int | None]:
    """Return family, model and stepping of an x86 CPU: which kernels libraries pick for it.

    Args:
        cpuinfo: Linux's description of the CPU; without it, or of another CPU, all are None.
    """
    found = _first_cpu(cpuinfo)
    names = {"cpu_family": "cpu family", "cpu_model": "model", "cpu_stepping": "stepping"}
    numbers = {name: found.get(key, "") for name, key in names.items()}
    return {name: int(text) if text.isdecimal() else None for name, text in numbers.items()}


def blas(config: str) -> str | None:
    """Return the BLAS that torch was built with and its version, as "mkl 2024.2-Product".

    Args:
        config: what `torch.__config__.show()` says; there is no other way to ask.
    """
    name = re.search(r"\bBLAS_INFO=(\w+)", config)
    version = re.search(r"(?:Math Kernel Library Version|OpenBLAS) (\S+)", config)
    return " ".join(found[1] for found in (name, version) if found) or None


def _first_cpu(cpuinfo: Path) -> dict[str, str]:
    """What the file says of the first CPU, by name."""
    try:
        lines = cpuinfo.read_text().partition("\n\n")[0].splitlines()
    except OSError:
        return {}
    parts = (line.partition(":") for line in lines)
    return {name.strip(): value.strip() for name, _, value in parts}


def _cpu_name() -> str:
    return _first_cpu(CPUINFO).get("model name") or platform.processor() or platform.machine()


def cores() -> int:
    """Cores that this process may use, which a container can limit."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
