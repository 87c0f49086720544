"""What the command line needs around its verbs: errors as lines, quiet libraries, tables."""

from __future__ import annotations

import functools
import os
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, ParamSpec, TypeVar

import typer

from bench.errors import UserError
from bench.grid import Grid, to_rich
from bench.models import processes

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

P = ParamSpec("P")
R = TypeVar("R")
INTERRUPTED = 130
_WIDE = 160  # where no terminal says how wide it is
_NOISY = r"(torch|transformers|peft|accelerate|huggingface_hub|datasets)(\..*)?"


def guarded(verb: Callable[P, R]) -> Callable[P, R]:
    """End a verb's errors as one line on standard error and an exit code."""

    @functools.wraps(verb)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return verb(*args, **kwargs)
        except (typer.Exit, typer.BadParameter):
            raise
        except UserError as error:
            if processes.is_told(error):  # its exit code, too, is the first process's to give
                raise typer.Exit from None
            fail(f"error: {error}", error.exit_code)
        except KeyboardInterrupt:
            if not processes.is_first():
                raise typer.Exit from None
            fail(
                "interrupted: what is finished is kept, run the same command again to go on",
                INTERRUPTED,
            )
        except BrokenPipeError:  # `| head` has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(0) from None
        except Exception as error:  # noqa: BLE001 (the last resort: the traceback goes to a file)
            place = _save_traceback(kwargs.get("store"))
            what = " ".join(f"{type(error).__name__}: {error}".split())
            fail(f"error: {what[:500]} (unexpected; traceback in {place})", 1)

    return wrapper


def fail(line: str, code: int) -> NoReturn:
    """Print a line on standard error and end with `code`."""
    typer.echo(line, err=True)
    raise typer.Exit(code)


def quiet_libraries() -> None:
    """Silence what torch and transformers say to developers; what users set themselves stays."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TQDM_DISABLE", "1")  # the bar of a GGUF file's conversion
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    if not sys.warnoptions:
        for category in (FutureWarning, UserWarning, DeprecationWarning):
            warnings.filterwarnings("ignore", category=category, module=_NOISY)


def use_threads(threads: int | None) -> None:
    """Give torch this many CPU threads; before torch is imported."""
    if threads is not None:
        for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
            os.environ[name] = str(threads)


def show(*things: Grid | RenderableType) -> None:
    """Print to standard output, which holds results alone."""
    for thing in things:
        _console().print(to_rich(thing) if isinstance(thing, Grid) else thing)


def complain(lines: Iterable[str]) -> None:
    """Print warnings on standard error."""
    for line in lines:
        typer.echo(f"warning: {line}", err=True)


def _console() -> Console:
    from rich.console import Console

    measured = sys.stdout.isatty() or "COLUMNS" in os.environ
    return Console(width=None if measured else _WIDE, highlight=False)


def _save_traceback(store: Any) -> Path | str:
    from bench.pipeline.store import default_root

    name = f"{datetime.now():%Y%m%d-%H%M%S}-{os.getpid()}.txt"
    for root in (store or default_root(), tempfile.gettempdir()):
        folder = Path(root) / "tracebacks"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(traceback.format_exc(), encoding="utf-8")
        except OSError:
            continue
        return folder / name
    return "no file: neither the store nor the temporary folder can be written"
