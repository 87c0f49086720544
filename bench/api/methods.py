"""`bench.register_method`: a method that no package holds, for as long as the process lives."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import re
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, overload

from bench.config.section import Section
from bench.errors import UserError
from bench.pipeline.sources import PROJECT, SOURCES, find_file
from bench.plugins.entries import SESSION, Entry
from bench.plugins.registry import METHODS
from bench.plugins.written import run_module, source_of

M = TypeVar("M", bound=Callable[..., Any])
_PACKAGE = "grainbench_session"


@overload
def register_method(
    method: M, *, name: str | None = None, paper: str = "", replace: bool = False
) -> M: ...
@overload
def register_method(
    method: None = None, *, name: str | None = None, paper: str = "", replace: bool = False
) -> Callable[[M], M]: ...
def register_method(
    method: M | None = None, *, name: str | None = None, paper: str = "", replace: bool = False
) -> M | Callable[[M], M]:
    """Make a method known to `bench.run`: a class as CONTRIBUTING.md has one, or what makes it.

    Its source decides the keys of its stages, as that of an installed method does, and stays with
    each record as `method.py`. Of a class of a notebook or a script, that source is the class and
    all that it uses from around it. It is read, and run, now: after an edit, register it again.

    Also a decorator: `@bench.register_method`, or `@bench.register_method(name="mine")`.

    Args:
        method: called with the method's options, and with a class `Options` as an attribute.
        name: for `bench.run`; None: the attribute `name`.
        paper: what it implements, as "arXiv:2406.02756".
        replace: take the place of another method of this name.

    Returns:
        `method` itself.

    Raises:
        UserError: the name is taken or missing, there are no `Options`, or the source is not to be
            had.
    """
    if method is None:
        return lambda given: register_method(given, name=name, paper=paper, replace=replace)
    own = name or getattr(method, "name", None)
    if not isinstance(own, str) or not re.fullmatch(r"[A-Za-z][\w.-]*", own):
        raise UserError(f"method name {own!r}: give it letters, digits and _, as name = 'my_ppo'")
    who = f"the method {own}"
    if not callable(method) or not hasattr(method, "__qualname__"):
        raise UserError(f"{who}: register the class, not {type(method).__name__} made of it")
    options = getattr(method, "Options", None)
    if not (inspect.isclass(options) and issubclass(options, Section)):
        raise UserError(
            f"{who} has no class Options: `class Options(Section)` with its fields, or `Options = "
            "NoOptions`, both of bench.config.section"
        )
    doc = (inspect.getdoc(method) or "").partition("\n")[0]
    module, text = _module_of(method, own, who)
    entry = Entry(own, f"{module}:{method.__qualname__}", doc, paper, SESSION)
    if not replace:
        METHODS.check_free(entry)
    if text is not None:
        try:
            run_module(module, text)
        except UserError as error:
            raise UserError(f"{who}: {error}") from error
        SOURCES.give(module, text, _packages_here(text))
    METHODS.register(entry)
    return method


def _module_of(method: Any, name: str, who: str) -> tuple[str, str | None]:
    """The module that decides what a method does, and its text where no file holds it."""
    home = method.__module__
    if home != "__main__" and find_file(home) is not None:
        if "<locals>" in method.__qualname__:
            raise UserError(f"{who} is defined inside a function: define it at the top of a module")
        return home, None
    try:
        return f"{_PACKAGE}.{re.sub('[^A-Za-z0-9_]', '_', name)}", source_of(method)
    except UserError as error:
        raise UserError(f"{who}: {error}") from error


def _packages_here(text: str) -> set[str]:
    """Packages that a text imports and that are not installed: the user's own, beside a notebook.

    What is installed has a version, and counts for installed methods as little.
    """
    tops = {
        name.partition(".")[0]
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([node.module or ""] if isinstance(node, ast.ImportFrom) else _names(node))
    }
    return {top for top in tops - PROJECT - {"", "__future__"} if not _is_installed(top)}


def _names(node: ast.Import) -> list[str]:
    return [alias.name for alias in node.names]


def _is_installed(top: str) -> bool:
    spec = importlib.util.find_spec(top)
    if spec is None or not spec.has_location or spec.origin is None:
        return True  # of Python itself
    file = Path(spec.origin)
    is_python = file.is_relative_to(sysconfig.get_path("stdlib"))
    return is_python or not {"site-packages", "dist-packages"}.isdisjoint(file.parts)
