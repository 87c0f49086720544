"""A class of a notebook as a module of its own: all that it uses, and nothing else."""

import inspect
import sys

import pytest

from bench.errors import UserError
from bench.plugins.written import run_module, source_of
from tests.api.cells import Notebook


@pytest.fixture
def cells() -> Notebook:
    return Notebook()


def test_what_it_uses_comes_along_in_order_and_nothing_else_does(cells: Notebook) -> None:
    cells.run("import math\nimport os.path\nfrom pathlib import Path as P\nBY = [1, 2]\nother = 5")
    cells.run("def root(x):\n    return math.sqrt(x) + BY[0]  # a comment")
    cells.run("class Base:\n    def at(self):\n        return P('a')")
    cells.run(
        "class Own(Base):\n    def f(self, other):\n"
        "        return root(other), os.path.sep, self.at()"
    )
    text = source_of(cells["Own"])
    module = run_module("tests_written_own", text)
    assert module.Own().f(4) == (3.0, "/", module.P("a"))
    assert "other = 5" not in text  # the notebook's variable; the argument has its name
    assert text.index("class Base") < text.index("class Own")
    assert "import os.path" in text
    assert "# a comment" in text


def test_what_runs_does_not_change_with_the_notebook(cells: Notebook) -> None:
    cells.run("BY = 1")
    cells.run("class Own:\n    def f(self):\n        return BY")
    module = run_module("tests_written_frozen", source_of(cells["Own"]))
    cells.run("BY = 2")
    assert (module.Own().f(), cells["Own"]().f()) == (1, 2)
    assert "BY = 2" in source_of(cells["Own"])


def test_the_last_definition_is_taken(cells: Notebook) -> None:
    for value in (1, 2, 1):
        cells.run(f"class Sizes:\n    size = {value}")  # without a function no file is known
        cells.run("class Own:\n    def f(self):\n        return Sizes.size")
        module = run_module("tests_written_last", source_of(cells["Own"]))
        assert module.Own().f() == value


def test_decorators_stay_but_for_the_registration(cells: Notebook) -> None:
    cells.run("import functools\ndef register_method(c): raise AssertionError")
    cells.run(
        "def twice(f):\n    @functools.wraps(f)\n    def g(*a):\n        return 2 * f(*a)\n"
        "    return g\n\n@twice\ndef one():\n    return 1"
    )
    cells.names["register_method"] = lambda found: found
    cells.run("@register_method\nclass Own:\n    def f(self):\n        return one()")
    text = source_of(cells["Own"])
    assert "register_method" not in text
    assert run_module("tests_written_decorated", text).Own().f() == 2


def test_a_function_keeps_its_options(cells: Notebook) -> None:
    cells.run("class Opts:\n    size = 3\ndef make(options):\n    return options.size")
    cells.run("make.Options = Opts")
    module = run_module("tests_written_function", source_of(cells["make"]))
    assert module.make(module.make.Options()) == 3


def test_a_traceback_shows_the_source(cells: Notebook) -> None:
    cells.run("class Own:\n    def f(self):\n        return 1 / 0")
    module = run_module("tests_written_traced", source_of(cells["Own"]))
    assert "return 1 / 0" in inspect.getsource(module.Own.f)


@pytest.mark.parametrize(
    ("before", "body", "said"),
    [
        ("model = object()", "return model", "Own uses model, which is a object, which cannot be"),
        ("def outer():\n    def inner(): return 1\n    return inner\nf = outer()", "return f()",
         "Own uses inner, which is defined inside a function or a class"),
        ("exec('def g(): return 1')", "return g()", "Own uses g, which has no source here"),
        ("nan = float('nan')", "return nan", "Own uses nan, which is a float"),
    ],
)  # fmt: skip
def test_what_cannot_be_written_down_is_refused(
    before: str, body: str, said: str, cells: Notebook
) -> None:
    cells.run(before)
    cells.run(f"class Own:\n    def f(self):\n        {body}")
    with pytest.raises(UserError, match=said):
        source_of(cells["Own"])


def test_what_does_not_run_alone_leaves_what_was_there() -> None:
    module = run_module("tests_written_kept", "X = 1")
    with pytest.raises(UserError, match="does not run from its source alone: NameError"):
        run_module("tests_written_kept", "X = missing")
    assert sys.modules["tests_written_kept"] is module
