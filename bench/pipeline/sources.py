"""The code that decides a stage's result: what its modules import, read from their source files.

A stage names its roots: the module of its build function and those of the plug-ins that it uses.
From there the imports are followed, wherever in a module they stand, within the packages of
GrainBench and of the roots. Nothing is imported for it. What is looked up by a name that is made at
run time cannot be seen, which is why a plug-in, found by name in the registry, is a root.

A file is read once a process, when it is first asked for: a key speaks of the code as it was then.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import importlib.util
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.machinery import EXTENSION_SUFFIXES, SOURCE_SUFFIXES
from pathlib import Path

from bench.errors import UserError

# Not the leaderboard: it only reads records, so that no result depends on it.
PROJECT = frozenset({"bench", "methods", "judges"})
_ENDINGS = ("/__init__.py", *EXTENSION_SUFFIXES, *SOURCE_SUFFIXES)  # in Python's order


class Sources:
    """Source files as they were when this process first read them.

    Args:
        read: gives a file's content.
    """

    def __init__(self, read: Callable[[Path], bytes] = Path.read_bytes) -> None:
        self._read = read
        self._texts: dict[Path, bytes] = {}
        self._modules: dict[tuple[str, ...], dict[str, Path]] = {}
        self._given: dict[str, Path] = {}
        self._packages: dict[str, frozenset[str]] = {}

    def give(self, module: str, text: str, packages: Iterable[str] = ()) -> None:
        """Say what is in a module that no file holds, as one of a notebook; again, when it changed.

        Args:
            module: its name, under which it is imported already.
            text: its source.
            packages: whose modules count, too, where it imports them.
        """
        self._given[module] = Path(f"{module}.py")  # a name for it: nothing is there
        self._texts[self._given[module]] = text.encode()
        self._packages[module] = frozenset(packages)
        self._modules.clear()

    def text(self, module: str) -> str:
        """The source of a module, as it was read or given.

        Raises:
            UserError: it has none, or it is not Python.
        """
        return self._texts[self.modules((module,))[module]].decode()

    def modules(self, roots: Iterable[str]) -> dict[str, Path]:
        """Names and files of the modules that the roots reach, themselves and parents included.

        Raises:
            UserError: a root has no source file, or a file is not Python.
        """
        roots = tuple(roots)
        if roots not in self._modules:
            self._modules[roots] = self._follow(roots)
        return self._modules[roots]

    def digest(self, roots: Iterable[str]) -> str:
        """Hash what the code of all `modules` does; comments, docstrings and types do not count."""
        digest = hashlib.sha256()
        for name, file in self.modules(roots).items():
            digest.update(f"{name}\0{self._code(file).digest}\0".encode())
        return digest.hexdigest()

    def changed(self, roots: Iterable[str]) -> list[Path]:
        """Files of the `modules` that now do something else than when they were first read."""
        read = self.modules(roots).items()
        return [file for name, file in read if name not in self._given and self._differs(file)]

    def load(self, roots: Iterable[str]) -> None:
        """Import all `modules`: what runs from now on is what was read, whatever becomes of it."""
        for name in self.modules(roots):
            # What lacks an optional package says so where it is needed, if it ever is.
            with contextlib.suppress(Exception):
                importlib.import_module(name)

    def _follow(self, roots: tuple[str, ...]) -> dict[str, Path]:
        packages = PROJECT | {root.partition(".")[0] for root in roots}
        packages = packages.union(*(self._packages.get(root, ()) for root in roots))
        found: dict[str, Path] = {}
        for root in roots:
            if self._place(root) is None:
                raise UserError(f"no source file for the module {root}, which decides a result")
        names = list(roots)
        seen: set[str] = set()
        while names:
            name = names.pop()
            if name in seen or name.partition(".")[0] not in packages:
                continue
            seen.add(name)
            names.append(name.rpartition(".")[0])  # a module's parents run before it
            if (file := self._place(name)) is not None:
                found[name] = file
                names += _imported(self._code(file), name, file.stem == "__init__")
        return dict(sorted(found.items()))

    def _place(self, module: str) -> Path | None:
        return self._given.get(module) or find_file(module)

    def _code(self, file: Path) -> _Code:
        try:
            if file not in self._texts:
                self._texts[file] = self._read(file)
            return _parse(self._texts[file], file.suffix)
        except OSError as error:
            raise UserError(f"cannot read {file}: {error.strerror}", exit_code=1) from error
        except (SyntaxError, ValueError) as error:
            line = getattr(error, "lineno", None) or 1
            raise UserError(f"{file}, line {line}: not Python: {error}", exit_code=1) from error

    def _differs(self, file: Path) -> bool:
        try:
            return _parse(self._read(file), file.suffix).digest != self._code(file).digest
        except (OSError, SyntaxError, ValueError):
            return True


@dataclass(frozen=True)
class _Code:
    """What a module does, and what it imports: modules as it names them, with names from them."""

    digest: str
    imports: tuple[tuple[str, tuple[str, ...]], ...] = ()


@cache
def _parse(text: bytes, suffix: str) -> _Code:
    if suffix != ".py":  # an extension module
        return _Code(hashlib.sha256(text).hexdigest())
    tree = _WithoutComments().visit(ast.parse(text))
    digest = hashlib.sha256(ast.dump(tree).encode()).hexdigest()
    return _Code(digest, tuple(_imports(tree)))


class _WithoutComments(ast.NodeTransformer):
    """Drops what decides nothing: strings that stand alone, and what type checkers alone see."""

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        is_text = isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        return None if is_text else self.generic_visit(node)

    def visit_If(self, node: ast.If) -> ast.AST | list[ast.stmt]:
        self.generic_visit(node)
        name = node.test.attr if isinstance(node.test, ast.Attribute) else None
        name = node.test.id if isinstance(node.test, ast.Name) else name
        return node.orelse if name == "TYPE_CHECKING" else node


def _imports(tree: ast.AST) -> Iterator[tuple[str, tuple[str, ...]]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, ()) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            yield base, tuple(alias.name for alias in node.names)
        elif isinstance(node, ast.Call) and (name := _imported_by_call(node)):
            yield name, ()


def _imported_by_call(node: ast.Call) -> str | None:
    """The name in `import_module("name")`; None where it is made at run time."""
    called = node.func.attr if isinstance(node.func, ast.Attribute) else None
    called = node.func.id if isinstance(node.func, ast.Name) else called
    if called != "import_module" or not node.args or not isinstance(node.args[0], ast.Constant):
        return None
    return str(node.args[0].value)


def _imported(code: _Code, module: str, is_package: bool) -> Iterator[str]:
    """Absolute names of what a module may import; a name that is no module has no file."""
    package = module if is_package else module.rpartition(".")[0]
    for base, names in code.imports:
        try:
            absolute = importlib.util.resolve_name(base, package)
        except ImportError:  # beyond the top: it fails when it runs, too
            continue
        yield absolute
        yield from (f"{absolute}.{name}" for name in names)


def find_file(module: str) -> Path | None:
    """The file of a module; None where there is none. Imports nothing."""
    top, *rest = module.split(".")
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):  # ValueError: `__main__`
        spec = None
    if spec is None:
        return None
    file = Path(spec.origin) if spec.has_location and spec.origin else None
    folders = [Path(folder) for folder in spec.submodule_search_locations or ()]
    for name in rest:
        candidates = (folder / f"{name}{ending}" for folder in folders for ending in _ENDINGS)
        file = next(filter(Path.is_file, candidates), None)
        folders = [folder / name for folder in folders]
    return file


SOURCES = Sources()
"""Those of this process."""
