"""Where numbers come from: the code, the packages and the machine."""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.util
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

REPO = Path(__file__).resolve().parents[1]
PACKAGES = (
    "grainbench",
    "torch",
    "transformers",
    "peft",
    "accelerate",
    "tokenizers",
    "safetensors",
    "datasets",
    "anthropic",
    "alpaca-eval",
    "numpy",
    "scipy",
    "pandas",
)
# Results are what a run writes: they do not change what the next one computes.
_SOURCES = ("--", ".", ":(exclude)results")


def code_state(repo: Path = REPO) -> dict[str, Any]:
    """Return the checkout's commit, whether its sources differ from it, and a hash of how.

    Outside a checkout of its own (an installed package, say) all three are None.
    """
    nothing: dict[str, Any] = {"commit": None, "dirty": None, "diff_sha": None}
    top = _git(repo, "rev-parse", "--show-toplevel")
    commit = _git(repo, "rev-parse", "--verify", "--quiet", "HEAD")
    if top is None or commit is None or Path(os.fsdecode(top.strip())) != repo.resolve():
        return nothing
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

    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "cpu": _cpu_name(),
        "cores": _cores(),
        "gpu": gpu,
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "dtype": dtype,
        "threads": threads,
    }


@functools.cache
def source_digest(modules: tuple[str, ...]) -> str:
    """Hash what the code of modules and packages does; comments and docstrings do not count.

    Nothing is imported. A package stands for all modules below it.

    Args:
        modules: dotted names, as "bench.rl" or "methods.token_ppo".

    Raises:
        ModuleNotFoundError: there is no source file for one of them.
    """
    digest = hashlib.sha256()
    for module in sorted(set(modules)):
        for name, path in _source_files(module):
            digest.update(f"{name}\0{_file_digest(path)}\0".encode())
    return digest.hexdigest()


def _source_files(module: str) -> list[tuple[str, Path]]:
    top, *rest = module.split(".")
    spec = importlib.util.find_spec(top)
    if spec is None:
        raise ModuleNotFoundError(f"no module named {module!r}")
    if spec.submodule_search_locations is None:
        bases = [Path(spec.origin).with_suffix("")] if spec.origin else []
    else:
        bases = [Path(folder) for folder in spec.submodule_search_locations]
    for base in bases:
        target = base.joinpath(*rest)
        if target.is_dir():
            files = sorted(target.rglob("*.py"))
            return [(f"{module}/{f.relative_to(target).as_posix()}", f) for f in files]
        if target.with_suffix(".py").is_file():
            return [(module, target.with_suffix(".py"))]
    raise ModuleNotFoundError(f"no source file for {module!r}")


@functools.cache
def _file_digest(path: Path) -> str:
    tree = _NoDocstrings().visit(ast.parse(path.read_bytes(), filename=str(path)))
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()


class _NoDocstrings(ast.NodeTransformer):
    """Drops strings that stand alone: docstrings of modules, classes, functions, attributes."""

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        is_text = isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        return None if is_text else self.generic_visit(node)


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


def _cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _cores() -> int:
    """Cores that this process may use, which a container can limit."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
