"""A plug-in that is written in a notebook, made the module that it would be in a package.

What it uses of the cells around it comes along: functions, classes, plain values, imports. The
module is then run from that text alone. So what runs, what is in a stage's key, and what stays
beside a record are the same, whatever becomes of the notebook's names later.
"""

from __future__ import annotations

import ast
import importlib.util
import inspect
import linecache
import pprint
import symtable
import sys
from collections.abc import Iterator
from importlib.abc import InspectLoader
from types import ModuleType
from typing import Any

from bench.errors import UserError

_HEAD = "from __future__ import annotations\n"


def source_of(plugin: Any) -> str:
    """The text of a module with a plug-in of a notebook, and all that it uses there.

    A plug-in is a class, or a function with an attribute `Options` that makes one.
    Decorators that register it are left out.

    Raises:
        UserError: the source of a part is not to be had, or it uses a value that cannot be written
            down.
    """
    return _Module(plugin).text()


def run_module(name: str, text: str) -> ModuleType:
    """Make a module of its text, in the place of one that has its name.

    Raises:
        UserError: it does not run.
    """
    loader = _Loader(text)
    spec = importlib.util.spec_from_loader(name, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    before = sys.modules.get(name)
    sys.modules[name] = module  # pydantic looks types up there
    try:
        loader.exec_module(module)
    except Exception as error:
        sys.modules.pop(name)
        if before is not None:
            sys.modules[name] = before
        what = " ".join(f"{type(error).__name__}: {error}".split())
        raise UserError(f"it does not run from its source alone: {what}") from error
    return module


class _Loader(InspectLoader):
    """Gives the text to Python, tracebacks and debuggers included."""

    def __init__(self, text: str) -> None:
        self._text = text

    def get_source(self, fullname: str) -> str:
        return self._text

    def get_code(self, fullname: str) -> Any:
        return self.source_to_code(self._text, f"{fullname}.py")


class _Module:
    """Collects definitions, each behind those that it uses.

    Args:
        plugin: what the module is for.
    """

    def __init__(self, plugin: Any) -> None:
        self._plugin = plugin
        self._home = plugin.__module__
        self._names: dict[str, Any] = vars(sys.modules[self._home])
        self._seen: set[str] = set()
        self._parts: list[str] = []

    def text(self) -> str:
        """The whole module."""
        name = self._plugin.__name__
        self._add(name, self._plugin)
        if not isinstance(self._plugin, type):  # a function is given its attributes from outside
            options = self._plugin.Options
            self._add(options.__name__, options)
            self._parts.append(f"{name}.Options = {options.__name__}")
        return _HEAD + "\n" + "\n\n".join(self._parts) + "\n"

    def _add(self, name: str, value: Any) -> None:
        if name in self._seen:
            return
        self._seen.add(name)
        if self._is_own(value):
            part = self._definition(value)
            for used in sorted(_outer_names(part) & self._names.keys()):
                if isinstance(self._names[used], ModuleType):
                    self._import(used, part)
                else:
                    self._add(used, self._names[used])
            alias = [] if value.__name__ == name else [f"{name} = {value.__name__}"]
            self._parts += [part, *alias]
        else:
            self._parts.append(_imported(name, value) or self._written(name, value))

    def _is_own(self, value: Any) -> bool:
        """Whether it is a function or a class of the notebook."""
        return getattr(value, "__module__", None) == self._home and hasattr(value, "__qualname__")

    def _import(self, name: str, part: str) -> None:
        """A module, and those below it that a definition names: `import a`, then `a.b.c()`."""
        real = self._names[name].__name__
        lines = {f"import {real} as {name}"}
        for node in ast.walk(ast.parse(part)):
            path = ast.unparse(node) if isinstance(node, ast.Attribute) else ""
            below = f"{real}{path.removeprefix(name)}"
            if path.startswith(f"{name}.") and below in sys.modules:
                lines.add(f"import {below}")
        self._parts += [line for line in sorted(lines) if line not in self._parts]

    def _definition(self, value: Any) -> str:
        if "." in value.__qualname__:
            raise self._refusal(
                value.__name__, "is defined inside a function or a class: define it at the top"
            )
        for text, line in _texts(value, self._names):
            if (found := _find(text, value.__name__, line)) is not None:
                return found
        raise self._refusal(
            value.__name__,
            "has no source here: define it in a cell of its own (no exec, no %%magic above it), or "
            "in a file that is imported",
        )

    def _written(self, name: str, value: Any) -> str:
        """A plain value as Python writes it."""
        text = pprint.pformat(value, sort_dicts=False)
        try:
            is_same = bool(ast.literal_eval(text) == value)
        except (SyntaxError, ValueError, TypeError):
            is_same = False
        if is_same:
            return f"{name} = {text}"
        raise self._refusal(
            name,
            f"is a {type(value).__name__}, which cannot be written down: make it an option (class "
            "Options), or make it inside the class",
        )

    def _refusal(self, name: str, why: str) -> UserError:
        uses = "" if name == self._plugin.__name__ else f"{self._plugin.__name__} uses "
        return UserError(f"{uses}{name}, which {why}" if uses else f"{name} {why}")


def _outer_names(text: str) -> set[str]:
    """Names that a definition takes from around it, whatever its own variables are called."""
    names = set()
    top = symtable.symtable(text, "<definition>", "exec")
    scopes = [top]
    while scopes:
        scope = scopes.pop()
        scopes += scope.get_children()
        for symbol in scope.get_symbols():
            if symbol.is_referenced() and (symbol.is_global() or scope is top):
                names.add(symbol.get_name())
    return names


def _imported(name: str, value: Any) -> str | None:
    """How a name gets what another module holds; None where none says that it does."""
    module = getattr(value, "__module__", None)
    for attribute in ("__name__", "_name"):  # the latter of what `typing` has
        real = getattr(value, attribute, None)
        if isinstance(module, str) and isinstance(real, str):
            holder = sys.modules.get(module)
            if holder is not None and getattr(holder, real, None) is value:
                return f"from {module} import {real} as {name}"
    return None


def _texts(value: Any, names: dict[str, Any]) -> Iterator[tuple[str, int | None]]:
    """Texts that may define a function or a class, with a line within its definition if known."""
    functions = list(vars(value).values()) if isinstance(value, type) else [value]
    for function in functions:
        function = getattr(function, "fget", None) or getattr(function, "__func__", function)
        code = getattr(inspect.unwrap(function), "__code__", None)
        if code is not None:
            yield "".join(linecache.getlines(code.co_filename, names)), code.co_firstlineno
    # A class without functions knows no file: that of the script, or the last cell that defines it.
    if "__file__" in names:
        yield "".join(linecache.getlines(names["__file__"])), None
    for cell in reversed(names.get("In", [])):
        yield cell, None


def _find(text: str, name: str, line: int | None) -> str | None:
    """The last definition of a name at the top of a text, around a line if one is given."""
    try:
        tree = ast.parse(text)
    except SyntaxError:  # a cell with magics
        return None
    for node in reversed(tree.body):
        if not isinstance(node, ast.ClassDef | ast.FunctionDef) or node.name != name:
            continue
        first = min([node.lineno, *(each.lineno for each in node.decorator_list)])
        if line is None or first <= line <= (node.end_lineno or first):
            kept = [each for each in map(ast.unparse, node.decorator_list) if not _registers(each)]
            body = text.splitlines()[node.lineno - 1 : node.end_lineno]
            return "\n".join([*(f"@{each}" for each in kept), *body])
    return None


def _registers(decorator: str) -> bool:
    return decorator.partition("(")[0].endswith("register_method")
